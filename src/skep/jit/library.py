"""The vm's C functions as IR text, cut into pieces: a program is compiled with what it uses and nothing else.

Parsing and verifying all of the runtime would cost more than compiling a small program. Functions that the C says are
never inlined are not compiled again for each program either: they become declarations, and their addresses come from
the runtime that is compiled once for the process. Those that call ``skep_program`` (the loops) are the exception.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from skep import llvm
from skep.cache import cache_key, read_entry, write_entry
from skep.errors import InternalError

ENTRY = "skep_program"
_VERSION = "library 1"
_NAME = re.compile(r'@("[^"]+"|[\w.$-]+)')
_GROUP = re.compile(r"#(\d+)")
_CPU_ATTRIBUTES = re.compile(r'"(?:target-cpu|target-features|tune-cpu|min-legal-vector-width|probe-stack)"="[^"]*" ?')
_NO_OPTIMISATION = re.compile(r"\b(optnone|uwtable(\([a-z]+\))?)\b ?")
_LINKAGE = re.compile(r"^define (?:internal |private |hidden |dso_local |weak |linkonce_odr )*")


@dataclass(frozen=True, slots=True)
class Function:
    """One C function.

    Attributes:
        text: its definition, or "" for one that is only declared (libc, intrinsics).
        declaration: the same without body.
        uses: globals and functions that its body names.
        outlined: it is called, never inlined, and does not depend on the program.
        type: LLVM's ``result (parameters)``, without attributes.
    """

    text: str
    declaration: str
    uses: tuple[str, ...]
    outlined: bool
    type: str


@dataclass(frozen=True, slots=True)
class Library:
    """The runtime in pieces. ``frame``: types, global data, attributes and metadata that any piece may refer to."""

    frame: str
    functions: Mapping[str, Function]

    @property
    def outlined(self) -> tuple[str, ...]:
        """Functions that programs call in the runtime of the process."""
        return tuple(name for name, function in self.functions.items() if function.outlined)

    def uses_of(self, text: str) -> list[str]:
        """Functions of the runtime that a piece of IR names."""
        return [name for name in sorted(set(_NAME.findall(text))) if name in self.functions]

    def closure(self, names: Iterable[str], already: Iterable[str] = ()) -> str:
        """IR text of these functions and all that they use.

        Args:
            already: what the program's own text declares; ``skep_program`` itself it defines.

        Raises:
            InternalError: no such function.
        """
        pieces: list[str] = []
        work, seen = list(names), {ENTRY, *already}
        while work:
            name = work.pop()
            if name in seen:
                continue
            seen.add(name)
            function = self.functions.get(name)
            if function is None:
                raise InternalError(f"the runtime has no function {name}")
            if function.outlined or not function.text:
                pieces.append(function.declaration)
            else:
                pieces.append(function.text)
                work += [used for used in function.uses if used in self.functions]
        return "\n".join([self.frame, *pieces, ""])


@lru_cache(maxsize=4)
def read_library(bitcode: bytes) -> Library:
    """Cut bitcode into pieces; kept in the cache, because taking it apart needs LLVM."""
    key = cache_key(_VERSION, llvm.host().version, "library", bitcode)
    cached = read_entry("jit", key)
    if cached is not None:
        frame, rows = json.loads(cached)
        return Library(frame, {name: Function(r[0], r[1], tuple(r[2]), r[3], r[4]) for name, r in rows.items()})
    library = parse_library(llvm.disassemble(bitcode), llvm.function_types(bitcode))
    rows = {name: (f.text, f.declaration, f.uses, f.outlined, f.type) for name, f in library.functions.items()}
    write_entry("jit", key, json.dumps([library.frame, rows]).encode())
    return library


def prepared_text(bitcode: bytes) -> str:
    """All of the runtime as IR text, fit to be compiled for this machine; without a declaration of ``skep_program``."""
    lines = llvm.disassemble(bitcode).split("\n")
    return "\n".join(_clean(line) for line in lines if not (line.startswith("declare") and f"@{ENTRY}(" in line))


def _clean(line: str) -> str:
    """Without the CPU that clang wrote into every function: LLVM inlines only into code for the same CPU features."""
    if not line.startswith("attributes #"):
        return line
    return _NO_OPTIMISATION.sub("", _CPU_ATTRIBUTES.sub("", line))


def parse_library(text: str, types: Mapping[str, str]) -> Library:
    """Cut IR text into pieces. ``types``: LLVM type of each function."""
    frame: list[str] = []
    found: dict[str, tuple[str, str]] = {}
    lines = iter(text.split("\n"))
    for line in lines:
        if line.startswith("define "):
            body = [line]
            while body[-1] != "}":
                body.append(next(lines))
            found[_defined_name(line)] = ("\n".join(body), line)
        elif line.startswith("declare "):
            found[_defined_name(line)] = ("", line)
        elif line and not line.startswith((";", "source_filename", "target ", "!llvm.")):
            frame.append(_clean(line))
    never_inlined = _groups_with(frame, "noinline")
    functions = {
        name: _function(name, body, head, types, never_inlined) for name, (body, head) in found.items() if name != ENTRY
    }
    return Library("\n".join(frame), functions)


def _function(name: str, text: str, head: str, types: Mapping[str, str], never_inlined: frozenset[str]) -> Function:
    if not text:
        return Function("", head, (), False, types[name])
    uses = tuple(sorted({match.strip('"') for match in _NAME.findall(text.partition("\n")[2])}))
    groups = set(_GROUP.findall(head.rpartition(")")[2]))
    outlined = bool(groups & never_inlined) and ENTRY not in uses
    declaration = _LINKAGE.sub("declare ", head).removesuffix("{").strip()
    return Function(text, declaration, uses, outlined, types[name])


def _defined_name(head: str) -> str:
    match = _NAME.search(head)
    if match is None:
        raise InternalError(f"no name in {head[:80]!r}")
    return match.group(1).strip('"')


def _groups_with(frame: Iterable[str], attribute: str) -> frozenset[str]:
    """Numbers of the attribute groups that contain an attribute."""
    word = re.compile(rf"\b{attribute}\b")
    groups = (line.partition(" = ") for line in frame if line.startswith("attributes #"))
    return frozenset(name.removeprefix("attributes #") for name, _, body in groups if word.search(body))
