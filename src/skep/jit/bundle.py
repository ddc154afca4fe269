"""Many programs as one LLVM module: what a compiler costs per module is then paid once for all of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from skep import llvm
from skep.jit.compile import complete_text
from skep.jit.library import ENTRY, read_library
from skep.jit.module import INTRINSICS, Module
from skep.jit.unit import map_symbol

_OWN = re.compile(rf'@({ENTRY}\b|sub_\d+\b|"constant\.[^"]*")')


@dataclass(frozen=True, slots=True)
class Bundle:
    """Programs in one module.

    Attributes:
        entries: the symbol of each program, in the order given.
        maps: the symbols that stand for the memory of maps.
    """

    text: str = field(repr=False)
    declared: Mapping[str, str]
    entries: tuple[str, ...]
    maps: frozenset[str]


def bundle(parts: Sequence[tuple[Module, Mapping[str, str]]]) -> Bundle:
    """Put modules together.

    Args:
        parts: each module, and for each map it names the name that the map has in the bundle: programs share a map by
            giving it the same one.
    """
    shared: dict[str, None] = {}
    bodies: list[str] = []
    declared: dict[str, str] = {}
    maps: set[str] = set()
    for number, (module, names) in enumerate(parts):
        text = _OWN.sub(lambda found, n=number: f'@"{_own(found[1], n)}"', module.text)  # type: ignore[misc]
        for name in module.maps:
            text = text.replace(f'@"{map_symbol(name)}"', f'@"{map_symbol(names[name])}"')
            maps.add(names[name])
        for line in text.splitlines():
            if line.startswith(("declare ", "!", '@"map.')):
                shared[line] = None
            else:
                bodies.append(line)
        declared |= module.declared
    entries = tuple(_own(ENTRY, number) for number in range(len(parts)))
    return Bundle("\n".join([*shared, *bodies, ""]), declared, entries, frozenset(maps))


def _own(name: str, number: int) -> str:
    return f"{name.strip(chr(34))}.{number}"


def compile_bundle(made: Bundle, runtime: bytes, *, optimised: bool) -> bytes:
    """Object code of a bundle.

    Args:
        runtime: bitcode of the C functions it calls.
        optimised: as programs are compiled, with the C functions inlined. False: in a tenth of the time, without any
            optimisation, and the C functions are called where the process has them.
    """
    if optimised:
        text = complete_text(made.text, made.declared, runtime, ())
        return llvm.compile_module(text, made.entries).object_code
    library = read_library(runtime)
    declarations = [library.functions[symbol].declaration for symbol in made.declared if symbol not in INTRINSICS]
    text = "\n".join([library.frame, *declarations, made.text])
    return llvm.compile_module(text, made.entries, level=0, quick=True).object_code


def load_bundle(
    made: Bundle, object_code: bytes, map_addresses: Mapping[str, int], host: Mapping[str, int]
) -> llvm.Library:
    """Put a bundle's code into memory; addresses by entry symbol.

    Args:
        map_addresses: where each map's memory is, by its name in the bundle.
        host: addresses of the runtime's functions in this process.
    """
    called = {name: address for name, address in host.items() if name.encode() in object_code}
    symbols = {map_symbol(name): map_addresses[name] for name in made.maps}
    return llvm.link_object(object_code, called | symbols, made.entries)
