"""The one door to llvmlite: host facts, IR to optimised object code, object code to addresses.

llvmlite is imported on first use, because loading LLVM takes a tenth of a second that reading or linking an object does
not need. Everything native that skep makes goes through here, so the rule "writable or executable, never both" has one
place: LLJIT with JITLink writes code to memory that is not executable and then changes the protection of whole pages.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from skep.errors import InternalError

if TYPE_CHECKING:
    from types import ModuleType

_lock = threading.RLock()
_names = itertools.count(1)
_binding: ModuleType | None = None


@dataclass(frozen=True, slots=True)
class Host:
    """What code is made for: LLVM's names of this machine.

    Attributes:
        version: LLVM's version, ``22.1.0``.
    """

    triple: str
    cpu: str
    features: str
    data_layout: str
    version: str


class Library:
    """Native code in this process, with the addresses of its exported symbols. Gone after :meth:`close`."""

    def __init__(self, compiler: Any, tracker: Any, addresses: Mapping[str, int]) -> None:
        self._compiler = compiler
        self._tracker = tracker
        self.addresses = addresses

    def close(self) -> None:
        """Unmap the code; a second call does nothing. Nobody may be running in it."""
        with _lock:
            if self._tracker is not None:
                self._tracker.close()
                self._compiler.close()
            self._tracker = self._compiler = None
            self.addresses = {}


def _load() -> Any:
    """llvmlite.binding, imported and initialised once."""
    global _binding
    with _lock:
        if _binding is None:
            import llvmlite.binding as binding

            binding.initialize_native_target()
            binding.initialize_native_asmprinter()
            _binding = binding
        return _binding


_host: Host | None = None


def host() -> Host:
    """Facts about this machine, as LLVM sees it."""
    global _host
    with _lock:
        if _host is None:
            binding = _load()
            triple = binding.get_default_triple()
            cpu = binding.get_host_cpu_name()
            features = binding.get_host_cpu_features().flatten()
            machine = binding.Target.from_triple(triple).create_target_machine(cpu=cpu, features=features)
            version = ".".join(str(part) for part in binding.llvm_version_info)
            _host = Host(triple, cpu, features, str(machine.target_data), version)
        return _host


def _target_machine(level: int) -> Any:
    binding, facts = _load(), host()
    target = binding.Target.from_triple(facts.triple)
    return target.create_target_machine(
        cpu=facts.cpu, features=facts.features, opt=level, reloc="pic", codemodel="small"
    )


def disassemble(bitcode: bytes) -> str:
    """Bitcode as IR text; InternalError when it is not bitcode."""
    with _lock:
        try:
            return str(_load().parse_bitcode(bitcode))
        except RuntimeError as error:
            raise InternalError(f"LLVM cannot read the runtime's bitcode: {error}") from error


def function_types(bitcode: bytes) -> dict[str, str]:
    """LLVM types (``result (parameters)``, without attributes) of all functions in bitcode."""
    with _lock:
        return {function.name: str(function.global_value_type) for function in _load().parse_bitcode(bitcode).functions}


def assemble(text: str) -> bytes:
    """IR text as bitcode."""
    with _lock:
        return bytes(_parse(text).as_bitcode())


def _parse(text: str) -> Any:
    try:
        return _load().parse_assembly(text)
    except RuntimeError as error:
        raise InternalError(f"LLVM rejects generated IR: {error}") from error


@dataclass(frozen=True, slots=True)
class Compiled:
    """Machine code of a module, before it is put anywhere: relocatable object code, and the optimised IR on demand."""

    object_code: bytes
    llvm_ir: str
    assembly: str


def compile_module(
    text: str, exports: Iterable[str], level: int = 2, listings: bool = False, *, quick: bool = False
) -> Compiled:
    """Optimise IR text for this machine and make object code of it.

    Args:
        text: the module's IR.
        exports: symbols that stay visible; what they do not reach is dropped before optimising, so it costs little.
        level: 0 to 3, as clang's -O; 0 is for IR that is optimised already.
        listings: also give the optimised IR and assembly.
        quick: nothing is optimised, and instructions are selected the fast way.
    """
    with _lock:
        binding, facts = _load(), host()
        module = _parse(text)
        module.triple, module.data_layout = facts.triple, facts.data_layout
        machine = _target_machine(0 if quick else max(level, 1))
        _internalize(module, frozenset(exports))
        options = binding.create_pipeline_tuning_options(speed_level=level)
        options.loop_vectorization = options.slp_vectorization = level >= 2
        options.loop_interleaving = options.loop_unrolling = level >= 2
        builder = binding.create_pass_builder(machine, options)
        prune = binding.create_new_module_pass_manager()
        prune.add_global_dead_code_eliminate_pass()
        prune.run(module, builder)
        _verify(module)
        if not quick:
            builder.getModulePassManager().run(module, builder)
        return Compiled(
            object_code=bytes(machine.emit_object(module)),
            llvm_ir=str(module) if listings else "",
            assembly=machine.emit_assembly(module) if listings else "",
        )


def _internalize(module: Any, exports: frozenset[str]) -> None:
    for item in itertools.chain(module.functions, module.global_variables):
        if not item.is_declaration and not item.name.startswith("llvm."):
            item.linkage = "external" if item.name in exports else "internal"


def _verify(module: Any) -> None:
    try:
        module.verify()
    except RuntimeError as error:
        raise InternalError(f"generated IR is not well formed: {error}") from error


def link_object(object_code: bytes, symbols: Mapping[str, int], exports: Iterable[str]) -> Library:
    """Put object code into memory of this process.

    Args:
        symbols: addresses of what it refers to; other undefined symbols are looked up in the process (libc).
        exports: symbols whose addresses are wanted.

    Raises:
        InternalError: the object code is damaged, or refers to something unknown.
    """
    with _lock:
        binding = _load()
        compiler = binding.create_lljit_compiler(_target_machine(2), use_jit_link=True, suppress_errors=True)
        builder = binding.JITLibraryBuilder().add_object_img(object_code).add_current_process()
        for name, address in symbols.items():
            builder.import_symbol(name, address)
        wanted = tuple(exports)
        for name in wanted:
            builder.export_symbol(name)
        try:
            tracker = builder.link(compiler, f"skep{next(_names)}")
        except RuntimeError as error:
            compiler.close()
            raise InternalError(f"LLVM cannot link native code: {error}") from error
        return Library(compiler, tracker, {name: tracker[name] for name in wanted})
