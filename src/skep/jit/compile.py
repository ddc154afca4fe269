"""From a verified program to code in memory: IR, object code (from the cache if possible), addresses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from skep import llvm
from skep.errors import InternalError
from skep.jit.cache import cache_key, read_cached, write_cached
from skep.jit.module import Module, build_module
from skep.jit.unit import Rows, map_symbol
from skep.model.programs import VerifiedProgram

ENTRY = "skep_program"
CACHE_VERSION = "1"


@dataclass(frozen=True, slots=True)
class Code:
    """A program's object code, not yet in memory, and what it wants from the outside.

    Attributes:
        ir: the IR as generated, before linking and optimising.
        maps: names of the maps whose addresses it needs.
        from_cache: the optimiser did not run.
    """

    ir: str
    object_code: bytes
    exports: tuple[str, ...]
    maps: tuple[str, ...]
    from_cache: bool


class NativeProgram:
    """A program's code in this process.

    Attributes:
        addresses: of the exported symbols: ``skep_program``, and the runtime's loops around it.
    """

    def __init__(self, library: llvm.Library, code: Code, runtime: bytes | None) -> None:
        self._library = library
        self._code = code
        self._runtime = runtime
        self._listing: llvm.Compiled | None = None
        self.addresses: Mapping[str, int] = dict(library.addresses)

    @property
    def from_cache(self) -> bool:
        """Whether the object code came from the cache."""
        return self._code.from_cache

    @property
    def object_size(self) -> int:
        """Bytes of object code."""
        return len(self._code.object_code)

    @property
    def llvm_ir(self) -> str:
        """The optimised IR. Optimises again: only for people who look."""
        return self._listings().llvm_ir

    @property
    def assembly(self) -> str:
        """The machine code as assembly text."""
        return self._listings().assembly

    def _listings(self) -> llvm.Compiled:
        if self._listing is None:
            runtime = None if self._runtime is None else prepare_runtime(self._runtime)
            self._listing = llvm.compile_module(self._code.ir, runtime, (ENTRY,), listings=True)
        return self._listing

    def close(self) -> None:
        """Unmap the code; nobody may be running in it. A second call does nothing."""
        self._library.close()
        self.addresses = {}


def compile_module(module: Module, runtime: bytes | None, exports: tuple[str, ...] = (ENTRY,), level: int = 2) -> Code:
    """Machine code of a program, linked with the runtime's bitcode.

    Args:
        module: the program's IR.
        runtime: bitcode of the C functions it calls; None: it calls none.
        exports: what is wanted: ``skep_program``, or functions of the runtime that call it, with it inlined.
        level: LLVM's optimisation level.
    """
    host = llvm.host()
    facts = (CACHE_VERSION, host.version, host.triple, host.cpu, host.features, str(level), *exports)
    key = cache_key(*facts, _identity(runtime), module.text)
    cached = read_cached(key)
    if cached is not None:
        return Code(module.text, cached, exports, module.maps, from_cache=True)
    prepared = None if runtime is None else prepare_runtime(runtime)
    compiled = llvm.compile_module(
        module.text, prepared, exports, level, check=lambda linked: _check_types(linked, module.declared)
    )
    write_cached(key, compiled.object_code)
    return Code(module.text, compiled.object_code, exports, module.maps, from_cache=False)


def compile_program(
    verified: VerifiedProgram,
    rows: Rows,
    runtime: bytes | None,
    map_sizes: Mapping[str, int],
    exports: tuple[str, ...] = (ENTRY,),
    memory_size: int | None = None,
    level: int = 2,
) -> Code:
    """Both steps at once: :func:`build_module`, :func:`compile_module`."""
    return compile_module(build_module(verified, rows, map_sizes, memory_size), runtime, exports, level)


@lru_cache(maxsize=4)
def _identity(runtime: bytes | None) -> str:
    return cache_key(runtime or b"")


def load_code(
    code: Code, map_addresses: Mapping[str, int], host: Mapping[str, int], runtime: bytes | None
) -> NativeProgram:
    """Put code into memory.

    Args:
        map_addresses: where each map's memory is.
        host: addresses of further functions that the runtime calls (libc is found without).
    """
    symbols = {map_symbol(name): map_addresses[name] for name in code.maps}
    return NativeProgram(llvm.link_object(code.object_code, {**host, **symbols}, code.exports), code, runtime)


_CPU_ATTRIBUTES = re.compile(r'"(?:target-cpu|target-features|tune-cpu|min-legal-vector-width|probe-stack)"="[^"]*" ?')
_NO_OPTIMISATION = re.compile(r"\b(optnone|uwtable(\([a-z]+\))?)\b ?")


@lru_cache(maxsize=4)
def prepare_runtime(bitcode: bytes) -> bytes:
    """The runtime's bitcode without the CPU that clang wrote into every function.

    LLVM inlines a function only into code for the same CPU features, and ours is for this machine.
    """
    host = llvm.host()
    key = cache_key(CACHE_VERSION, host.version, "runtime", bitcode)
    cached = read_cached(key)
    if cached is not None:
        return cached
    lines = llvm.disassemble(bitcode).split("\n")
    for number, line in enumerate(lines):
        if line.startswith("attributes #"):
            lines[number] = _NO_OPTIMISATION.sub("", _CPU_ATTRIBUTES.sub("", line))
    prepared = llvm.assemble("\n".join(lines))
    write_cached(key, prepared)
    return prepared


def _check_types(module: Any, declared: Mapping[str, str]) -> None:
    """The C functions must have the types that the tables say: a call with another type would be undefined."""
    for symbol, prototype in declared.items():
        function = module.get_function(symbol)
        actual = str(function.global_value_type)
        if actual != prototype:
            raise InternalError(f"{symbol} is {actual} in the runtime, but a table of natives says {prototype}")
        if function.is_declaration:
            raise InternalError(f"{symbol} is named by a table of natives, but is not in the runtime")
