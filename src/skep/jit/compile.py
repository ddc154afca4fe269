"""From a verified program to code in memory: IR, object code (from the cache if possible), addresses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from skep import llvm
from skep.cache import cache_key, read_entry, write_entry
from skep.errors import InternalError
from skep.jit.library import ENTRY, prepared_text, read_library
from skep.jit.module import INTRINSICS, Module, build_module
from skep.jit.specialise import specialise
from skep.jit.unit import Rows, map_symbol
from skep.model.programs import VerifiedProgram

CACHE_VERSION = "2"


@dataclass(frozen=True, slots=True)
class Code:
    """A program's object code, not yet in memory, and what it wants from the outside.

    Attributes:
        module: the IR it was made from.
        from_cache: the optimiser did not run.
    """

    module: Module
    object_code: bytes
    exports: tuple[str, ...]
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
            text = _whole_text(self._code.module, self._runtime, (ENTRY,))
            self._listing = llvm.compile_module(text, (ENTRY,), listings=True)
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
    key = cache_key(*_machine(), str(level), *exports, _identity(runtime), module.text)
    cached = read_entry("jit", key)
    if cached is not None:
        return Code(module, cached, exports, from_cache=True)
    compiled = llvm.compile_module(_whole_text(module, runtime, exports), exports, level)
    write_entry("jit", key, compiled.object_code)
    return Code(module, compiled.object_code, exports, from_cache=False)


def _machine() -> tuple[str, ...]:
    """What the code depends on beside its source."""
    host = llvm.host()
    return (CACHE_VERSION, host.version, host.triple, host.cpu, host.features)


def _whole_text(module: Module, runtime: bytes | None, exports: tuple[str, ...]) -> str:
    """The program's IR with the C functions that it needs and that need it."""
    loops = [name for name in exports if name != ENTRY]
    if runtime is None:
        if module.declared or loops:
            raise InternalError("a program that calls C functions is compiled without them")
        return module.text
    return complete_text(module.text, module.declared, runtime, loops)


def complete_text(text: str, declared: Mapping[str, str], runtime: bytes, loops: Iterable[str]) -> str:
    """IR of programs with that of the C functions they need.

    Args:
        declared: the C functions that ``text`` names, with their LLVM types.
        loops: functions of the runtime that call the program.
    """
    library = read_library(runtime)
    for symbol, prototype in declared.items():
        function = library.functions.get(symbol)
        if function is None:
            raise InternalError(f"{symbol} is named by a table of natives, but is not in the runtime")
        if function.type != prototype:
            raise InternalError(f"{symbol} is {function.type} in the runtime, but a table of natives says {prototype}")
    text, copies = specialise(text, library)
    used = [symbol for symbol in declared if f"@{symbol}(" in text]
    # The library comes first: LLVM wants to know structures before they are used.
    return library.closure([*used, *library.uses_of(copies), *loops], INTRINSICS) + copies + text


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
        host: addresses of the runtime's functions that are not compiled with each program (libc is found without).
    """
    symbols = {map_symbol(name): map_addresses[name] for name in code.module.maps}
    called = {
        name: address
        for name, address in host.items()
        if name not in code.exports and name.encode() in code.object_code
    }
    return NativeProgram(llvm.link_object(code.object_code, called | symbols, code.exports), code, runtime)


def compile_runtime(bitcode: bytes, stub: str, exports: Iterable[str]) -> tuple[bytes, tuple[str, ...]]:
    """The whole runtime, compiled once for the process (and kept in the cache).

    Args:
        stub: IR that defines ``skep_program`` for the runtime's own loops.
        exports: functions that Python calls.

    Returns:
        object code, and the names it defines: ``exports`` and the functions that programs call there.
    """
    wanted = tuple(exports)
    key = cache_key(*_machine(), "runtime", stub, bitcode, *wanted)
    cached = read_entry("jit", key)
    if cached is not None:
        names, _, code = cached.partition(b"\n")
        return code, tuple(names.decode().split())
    defined = tuple(dict.fromkeys((*wanted, *read_library(bitcode).outlined)))
    # It is optimised already, by the clang that made it; what is left is to make machine code of it.
    compiled = llvm.compile_module(prepared_text(bitcode) + stub, defined, level=0)
    write_entry("jit", key, " ".join(defined).encode() + b"\n" + compiled.object_code)
    return compiled.object_code, defined
