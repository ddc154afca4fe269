"""The native half of the vm, as Python sees it: the bitcode that programs are linked with, and the same code compiled
once for Python's own calls (map operations, the packet loop around interpreted programs, tests).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import secrets
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skep import llvm
from skep.cache import cache_directory
from skep.diagnostics import Diagnostic
from skep.errors import EngineError, UnsupportedError
from skep.jit import compile_runtime
from skep.jit.native import Lowering, Native, Returns
from skep.vm.helpers.kfuncs import KFUNCS
from skep.vm.helpers.table import CONTEXT, FIELDS, LOAD_PACKET, NATIVES
from skep.vm.native import bitcode as native

#: Functions of libc that the bitcode calls. LLVM finds them in the process; listed so that a test can tell a new one.
HOST_SYMBOLS = frozenset(
    {"clock_gettime", "sched_yield", "kill", "__errno_location", "getuid", "getgid", "getpid", "syscall", "prctl"}
    | {"process_vm_readv", "memcpy", "memmove", "memset", "memcmp", "bcmp", "read", "write", "sendmmsg"}
)

TABLE_SIZE = 65536  # SKEP_TABLE_SIZE in skep.h

_P, _U64, _S64, _U32 = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_int64, ctypes.c_uint32
_U32P, _U64P = ctypes.POINTER(ctypes.c_uint32), ctypes.POINTER(ctypes.c_uint64)

#: What Python calls: result, parameters. Every function releases the GIL while it runs.
PROTOTYPES: dict[str, tuple[Any, ...]] = {
    "skep_user_lookup": (_S64, _P, _P, _P, _P),
    "skep_user_update": (_S64, _P, _P, _P, _P, _U64),
    "skep_user_delete": (_S64, _P, _P, _P, _P),
    "skep_user_next_key": (_S64, _P, _P, _P, _P),
    "skep_user_batch": (_U64, _P, _P, _U32P, _U64, _P, _P),
    "skep_map_layout": (_U64, _P, _U64, _U64, _U32),
    "skep_ring_take": (_U64, _P, _P, _U64, _U64P),
    "skep_user_ring_submit": (_S64, _P, _P, _P, _U64),
    "skep_capture_list": (_U64, _P, _P, _U64),
    "skep_loop_xdp": (_S64, _P, _P),
    "skep_loop_xdp_inplace": (_S64, _P, _P),
    "skep_loop_skb": (_S64, _P, _P),
    "skep_loop_skb_inplace": (_S64, _P, _P),
    "skep_live_xdp": (_S64, _P, _P),
    "skep_live_xdp_inplace": (_S64, _P, _P),
    "skep_live_skb": (_S64, _P, _P),
    "skep_live_skb_inplace": (_S64, _P, _P),
    "skep_sizeof_live": (_U64,),
    "skep_sizeof_sender": (_U64,),
    "skep_test_context": (_S64, _P, _P),
    "skep_test_packet": (_S64, _P, _P),
    "skep_sizeof_run": (_U64,),
}

_TOKENS = {"run": _P, "ctx": _P, "map": _P}
_RESULTS = {Returns.I64: _U64, Returns.PTR: _U64, Returns.VOID: None}


def _rows() -> dict[str, Native]:
    """Every C function that a table names, by symbol."""
    rows = [*NATIVES.values(), *KFUNCS.values(), *FIELDS.values(), LOAD_PACKET, CONTEXT]
    return {native.symbol: native for native in rows if native.lowering is not Lowering.INLINE_LOOP}


def _prototype(native: Native) -> tuple[Any, ...]:
    """The ctypes of a row; pointers as numbers, both ways."""
    sizes = {"key_size", "value_size", "max_entries", "map_flags"}
    return (_RESULTS[native.returns], *(_U32 if p in sizes else _TOKENS.get(p, _U64) for p in native.params))


# Where no program is linked in, the loops call through the first field of skep_run.
_STUB = """
define i64 @skep_program(ptr %run, ptr %ctx) {
  %program = load ptr, ptr %run
  %result = call i64 %program(ptr %run, ptr %ctx)
  ret i64 %result
}
"""


class Run(ctypes.Structure):
    """struct skep_run: the state of one run at a time. One per thread; see skep.h for the fields."""

    _fields_ = (
        ("program", ctypes.c_void_p),
        ("data", ctypes.c_void_p),
        ("data_end", ctypes.c_void_p),
        ("data_meta", ctypes.c_void_p),
        ("hard_start", ctypes.c_void_p),
        ("hard_end", ctypes.c_void_p),
        ("ctx", ctypes.c_void_p),
        ("prog_type", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
        ("ncpus", ctypes.c_uint32),
        ("tail_calls", ctypes.c_uint32),
        ("pid", ctypes.c_uint32),
        ("net", ctypes.c_uint32),
        ("random", ctypes.c_uint64),
        ("now_ns", ctypes.c_uint64),
        ("maps", ctypes.c_void_p),
        ("programs", ctypes.c_void_p),
        ("trace", ctypes.c_void_p),
        ("redirect_ifindex", ctypes.c_uint32),
        ("redirect_flags", ctypes.c_uint32),
        ("hash_is_set", ctypes.c_uint32),
        ("link", ctypes.c_uint32),
    )


class Test(ctypes.Structure):
    """struct skep_test: one input for skep_test_packet() and skep_test_context()."""

    __test__ = False  # pytest: not a test class
    _fields_ = (
        ("work", ctypes.c_void_p),
        ("work_size", ctypes.c_uint64),
        ("data", ctypes.c_void_p),
        ("length", ctypes.c_uint64),
        ("ctx", ctypes.c_void_p),
        ("has_ctx", ctypes.c_uint32),
        ("repeat", ctypes.c_uint32),
        ("retval", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
        ("duration_ns", ctypes.c_uint64),
        ("out_at", ctypes.c_uint64),
        ("out_length", ctypes.c_uint64),
    )


def architecture() -> str:
    """This machine's, as in native.ARCHITECTURES.

    Raises:
        UnsupportedError: the vm has no native half for it.
    """
    name = platform.machine().lower()
    name = {"amd64": "x86_64", "arm64": "aarch64"}.get(name, name)
    if name not in native.ARCHITECTURES:
        known = ", ".join(native.ARCHITECTURES)
        raise UnsupportedError(
            Diagnostic(
                code="E0101",
                what=f"the vm engine does not run on {name} machines",
                why=(f"its native half is made for {known}",),
                help='use engine="kernel"',
            )
        )
    return name


_bitcode: bytes | None = None
_lock = threading.RLock()


def bitcode() -> bytes:
    """The native half as LLVM bitcode: the package's, or compiled on first use (a source checkout), then cached.

    Raises:
        EngineError: E0102: neither is there, and it cannot be compiled.
    """
    global _bitcode
    with _lock:
        if _bitcode is None:
            arch = architecture()
            _bitcode = native.read(native.SOURCES / native.file_name(arch), arch) or _compiled(arch)
        return _bitcode


def _compiled(arch: str) -> bytes:
    kept = cache_directory()
    with contextlib.ExitStack() as stack:
        directory = kept or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        path = directory / native.file_name(arch)
        return native.read(path, arch) or _build(arch, path)


def _build(arch: str, path: Path) -> bytes:
    clang = native.find_clang()
    if clang is None:
        raise _no_bitcode("there is no clang to compile it with", "pip install 'skep[clang]', or set SKEP_CLANG")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        native.build(arch, clang, path)
    except OSError as error:
        advice = "set SKEP_CACHE to a directory you may write to"
        raise _no_bitcode(f"{path.parent}: {error.strerror}", advice) from error
    except native.BuildError as error:
        raise _no_bitcode(
            str(error), "pip install 'skep[clang]', or set SKEP_CLANG to a clang of LLVM 15..22"
        ) from error
    found = native.read(path, arch)
    if found is None:
        raise _no_bitcode("clang made something that is not bitcode", "set SKEP_CLANG to a clang of LLVM 15..22")
    return found


def _no_bitcode(why: str, advice: str) -> EngineError:
    what = "the native half of the vm engine is not built"
    return EngineError(Diagnostic(code="E0102", what=what, why=(why,), help=advice))


class Runtime:
    """The native half compiled for this process: functions by name, and the process-wide tables.

    Attributes:
        functions: what PROTOTYPES names, and the C function of every row of helpers.table (numbers in and out).
        symbols: addresses of functions that programs call here instead of having a copy of their own.
        host: a run state for calls from Python that touch no per-CPU state; its pid marks locks.
    """

    def __init__(self) -> None:
        prototypes = {**PROTOTYPES, **{name: _prototype(native) for name, native in _rows().items()}}
        code, names = compile_runtime(bitcode(), _STUB, prototypes)
        self._library = llvm.link_object(code, {}, names)
        self.symbols: Mapping[str, int] = self._library.addresses
        self.functions: dict[str, Any] = {
            name: ctypes.CFUNCTYPE(*prototype)(self._library.addresses[name]) for name, prototype in prototypes.items()
        }
        if self.functions["skep_sizeof_run"]() != ctypes.sizeof(Run):
            raise EngineError(Diagnostic(code="E0103", what="the native half does not fit this version of skep"))
        self.maps = Table()
        self.programs = Table()
        self.ncpus = possible_cpus()
        self._trace_address: int | None = None
        self.host = self._make_run(0)
        self.host_address = ctypes.addressof(self.host)
        os.register_at_fork(after_in_child=self._after_fork)

    def new_run(self, cpu: int = 0) -> Run:
        """A run state for one thread. ``cpu``: its slot, which no other run may have at the same time."""
        if self._trace_address is None:
            from skep.vm.trace import trace_ring  # it is a map, and maps are built on the runtime

            self._trace_address = trace_ring().address
        return self._make_run(cpu)

    def _make_run(self, cpu: int) -> Run:
        return Run(
            cpu=cpu,
            ncpus=self.ncpus,
            pid=os.getpid(),
            random=secrets.randbits(64),
            maps=self.maps.address,
            programs=self.programs.address,
            trace=self._trace_address,
        )

    def _after_fork(self) -> None:
        self.host.pid = os.getpid()


class Table:
    """Pointers by small number, for map values that mean a map or a program of this process. Number 0 is nothing."""

    def __init__(self) -> None:
        self._slots = (ctypes.c_void_p * TABLE_SIZE)()
        self._owners: dict[int, object] = {}
        self._lock = threading.Lock()
        self._next = 1
        self.address = ctypes.addressof(self._slots)

    def add(self, address: int, owner: object) -> int:
        """Give an address a number. ``owner`` is kept alive while it has one.

        Raises:
            EngineError: E0104: all numbers are taken.
        """
        with self._lock:
            for _ in range(TABLE_SIZE):
                number = self._next
                self._next = number % (TABLE_SIZE - 1) + 1
                if number not in self._owners:
                    self._owners[number] = owner
                    self._slots[number] = address
                    return number
        what = f"more than {TABLE_SIZE - 1} maps or programs are in use inside other maps"
        raise EngineError(Diagnostic(code="E0104", what=what, help="close objects that are no longer used"))

    def remove(self, number: int) -> None:
        """Take a number back."""
        with self._lock:
            self._slots[number] = None
            self._owners.pop(number, None)

    def owner(self, number: int) -> object | None:
        """What a number stands for."""
        with self._lock:
            return self._owners.get(number)


def possible_cpus() -> int:
    """How many values an element of a per-CPU map has."""
    return os.cpu_count() or 1


_runtime: Runtime | None = None


def runtime() -> Runtime:
    """The one of this process, made on first use."""
    global _runtime
    with _lock:
        if _runtime is None:
            _runtime = Runtime()
        return _runtime
