"""A program loaded on the vm: native code for each use of it, and single runs with the rules of BPF_PROG_TEST_RUN."""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from skep import jit
from skep.abi.contexts import CONTEXTS
from skep.abi.prog_types import ProgType
from skep.diagnostics import Diagnostic
from skep.engine import RunResult
from skep.errors import ClosedError, EngineError, UsageError
from skep.model.programs import VerifiedProgram
from skep.vm.helpers.kfuncs import KFUNCS
from skep.vm.helpers.table import CONTEXT, FIELDS, LOAD_PACKET, NATIVES, VALUE_OFFSET
from skep.vm.runs import Runs, runs
from skep.vm.runtime import PROTOTYPES, Run, Test, bitcode, runtime

#: Program types that see a packet (native/packet.h, test_skb_bounds()).
PACKET_TYPES = frozenset(
    {
        ProgType.XDP,
        ProgType.SCHED_CLS,
        ProgType.SCHED_ACT,
        ProgType.SOCKET_FILTER,
        ProgType.CGROUP_SKB,
        ProgType.LWT_IN,
        ProgType.LWT_OUT,
        ProgType.LWT_XMIT,
        ProgType.LWT_SEG6LOCAL,
    }
)
MAX_PACKET = 1 << 18
ROWS = jit.Rows(NATIVES, FIELDS, LOAD_PACKET, CONTEXT, VALUE_OFFSET, KFUNCS)
_ROOM = 1024 + 4096 + 320  # headroom, growth, tailroom: what skep_test_packet() asks for
_MAX_REPEAT = (1 << 32) - 1
_BTF_CONTEXT_BYTES = 8 * 16


@dataclass(frozen=True, slots=True)
class MapMemory:
    """Where a map's memory is in this process, from its header on."""

    address: int
    size: int


class Code:
    """Native code in memory: for as long as someone refers to this, and then until no run can be in it."""

    def __init__(self, native: jit.NativeProgram, keep: object) -> None:
        """``keep``: the memory of the maps whose addresses are in the code."""
        self.native = native
        weakref.finalize(self, _retire, native, keep)

    def address(self, symbol: str) -> int:
        """Where an exported function is."""
        return self.native.addresses[symbol]


def _retire(native: jit.NativeProgram, keep: object) -> None:
    def free(kept: object = keep) -> None:
        native.close()

    runs().when_unused(free)


class VmProgram:
    """A verified program on the vm engine.

    Native code is made per use, when it is first used that way: LLVM puts the program into the loop that runs it
    (single runs, packets of a capture), and a program that is only called by others needs just its entry.
    """

    def __init__(
        self,
        verified: VerifiedProgram,
        maps: Mapping[str, MapMemory],
        keep: object = None,
        memory_size: int | None = None,
    ) -> None:
        """``keep``: kept alive as long as the program, for what lies behind ``maps``."""
        self.verified = verified
        self.memory_size = memory_size
        self._maps = maps
        self._keep = keep
        self._uses: dict[tuple[str, ...], Code] = {}
        self._lock = threading.RLock()
        self._closed = False
        self._prepare()

    def _prepare(self) -> None:
        """What is done when loading; UnsupportedError if the vm cannot run it."""
        sizes = {name: memory.size for name, memory in self._maps.items()}
        self._module = jit.build_module(self.verified, ROWS, sizes, self.memory_size)

    @property
    def name(self) -> str:
        """Its name in the source."""
        return self.verified.linked.name

    @property
    def prog_type(self) -> ProgType:
        """Its type."""
        return self.verified.linked.prog_type

    # ---- native code ----

    def code(self, *exports: str) -> Code:
        """Native code with these symbols (``skep_program``, functions of native/loops.c); made once.

        Raises:
            ClosedError: the program was closed.
        """
        with self._lock:
            if self._closed:
                what = f"program '{self.name}' is closed"
                raise ClosedError(Diagnostic("E0209", what, help="use it before the object is closed"))
            found = self._uses.get(exports)
            if found is None:
                compiled = jit.compile_module(self._module, bitcode(), exports)
                addresses = {name: memory.address for name, memory in self._maps.items()}
                native = jit.load_code(compiled, addresses, runtime().symbols, bitcode())
                found = self._uses[exports] = Code(native, self._keep)
            return found

    def _check_open(self) -> None:
        if self._closed:
            what = f"program '{self.name}' is closed"
            raise ClosedError(Diagnostic("E0209", what, help="use it before the object is closed"))

    def entry(self) -> int:
        """Address of the program itself, valid while the program is open."""
        return self.code(jit.ENTRY).address(jit.ENTRY)

    def tail_target(self) -> tuple[int, object]:
        """For prog_arrays: the address of the program, and what keeps it in memory after :meth:`close`."""
        code = self.code(jit.ENTRY)
        return code.address(jit.ENTRY), code

    def loop(self, symbol: str) -> Callable[[Run, ctypes.Structure], int]:
        """A function of native/loops.c with the program in it: ``loop(run, job)``. It runs without the GIL."""
        code = self.code(symbol)
        function = ctypes.CFUNCTYPE(*PROTOTYPES[symbol])(code.address(symbol))

        def call(run: Run, job: ctypes.Structure, code: Code = code) -> int:
            return int(function(ctypes.addressof(run), ctypes.addressof(job)))  # `code` lives as long as this does

        return call

    @property
    def llvm_ir(self) -> str:
        """The optimised LLVM IR of the program alone."""
        return self.code(jit.ENTRY).native.llvm_ir

    @property
    def assembly(self) -> str:
        """The machine code of the program alone, as assembly text."""
        return self.code(jit.ENTRY).native.assembly

    # ---- single runs ----

    def run(self, data: bytes = b"", ctx: bytes | None = None, repeat: int = 1) -> RunResult:
        """Run on one input, by the kernel's rules for BPF_PROG_TEST_RUN.

        Args:
            data: the packet, for types that see one.
            ctx: bytes of the context; shorter than its structure: the rest is 0.
            repeat: runs on the same memory; ``duration_ns`` is the average.

        Raises:
            UsageError: the input cannot be one of this program type's.
        """
        if not 0 <= repeat <= _MAX_REPEAT:
            raise UsageError(Diagnostic("E0202", f"a repeat of {repeat} is not between 0 and {_MAX_REPEAT}"))
        if self.memory_size is not None:
            return self._run_memory(data)
        if self.prog_type in PACKET_TYPES:
            return self._run_packet(data, ctx, repeat)
        return self._run_context(data, ctx, repeat)

    def _call(self, symbol: str, test: Test) -> int:
        loop = self.loop(symbol)
        pool: Runs = runs()
        with pool.take() as run:
            run.prog_type = int(self.prog_type)
            return loop(run, test)

    def _context_block(self, ctx: bytes | None) -> tuple[Any, int]:
        """Memory for the context and how many bytes of it are given back."""
        known = CONTEXTS.get(self.prog_type)
        size = known.size if known is not None else _BTF_CONTEXT_BYTES
        given = ctx or b""
        if len(given) > size:
            what = f"the context has {len(given)} bytes, but {self.prog_type.name.lower()} programs have {size}"
            raise UsageError(Diagnostic("E0203", what, program=self.name, help="give the structure the program sees"))
        fixed = known is None or not known.variable_size
        return ctypes.create_string_buffer(given, size), (size if fixed or ctx is None else len(given))

    def _run_packet(self, data: bytes, ctx: bytes | None, repeat: int) -> RunResult:
        if len(data) > MAX_PACKET:
            raise UsageError(Diagnostic("E0204", f"a packet of {len(data)} bytes is too long", program=self.name))
        block, size = self._context_block(ctx)
        work = ctypes.create_string_buffer(len(data) + _ROOM + (1 << 16))
        given = ctypes.create_string_buffer(data, max(len(data), 1))
        test = Test(
            work=ctypes.addressof(work), work_size=ctypes.sizeof(work), data=ctypes.addressof(given), length=len(data),
            ctx=ctypes.addressof(block), has_ctx=ctx is not None, repeat=repeat,
        )  # fmt: skip
        if self._call("skep_test_packet", test) != 0:
            raise self._bad_input(len(data), ctx)
        out = ctypes.string_at(ctypes.addressof(work) + test.out_at, test.out_length)
        return RunResult(test.retval, out, block.raw[:size], test.duration_ns)

    def _bad_input(self, length: int, ctx: bytes | None) -> UsageError:
        what = f"this packet of {length} bytes cannot be given to a program of type {self.prog_type.name.lower()}"
        why = ["a packet starts with an Ethernet header: 14 bytes at least"]
        if self.prog_type is not ProgType.XDP:
            why.append("where that says IPv4 or IPv6, 20 or 40 bytes of header must follow")
        if ctx is not None and self.prog_type is ProgType.XDP:
            why.append("in a given xdp_md, data is the length of the metadata, data_end that of data, data_meta 0")
        return UsageError(
            Diagnostic("E0205", what, program=self.name, why=tuple(why), help="give a whole frame", kernel="EINVAL")
        )

    def _run_context(self, data: bytes, ctx: bytes | None, repeat: int) -> RunResult:
        if data:
            what = f"programs of type {self.prog_type.name.lower()} see no packet"
            raise UsageError(Diagnostic("E0206", what, program=self.name, help="give the input as ctx"))
        block, size = self._context_block(ctx)
        test = Test(ctx=ctypes.addressof(block), has_ctx=ctx is not None, repeat=repeat)
        if self._call("skep_test_context", test) != 0:
            raise EngineError(Diagnostic("E0207", "the program could not be run", program=self.name))
        return RunResult(test.retval, b"", block.raw[:size], test.duration_ns)

    def _run_memory(self, data: bytes) -> RunResult:
        """r1 is a buffer: conformance cases. r0 is given whole, in ``ctx``; ``retval`` is its low half."""
        assert self.memory_size is not None
        if len(data) != self.memory_size:
            what = f"the program was loaded for {self.memory_size} bytes of memory, not {len(data)}"
            raise UsageError(Diagnostic("E0208", what, program=self.name))
        block = ctypes.create_string_buffer(data, len(data) + 8)
        with runs().take() as run:
            run.ctx, run.tail_calls, run.prog_type = ctypes.addressof(block), 0, int(self.prog_type)
            result = self._call_entry(run, ctypes.addressof(block))
        return RunResult(result & 0xFFFFFFFF, block.raw[: len(data)], result.to_bytes(8, "little"), 0)

    def _call_entry(self, run: Run, context: int) -> int:
        """The program's whole r0."""
        function = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, ctypes.c_void_p)(self.entry())
        return int(function(ctypes.addressof(run), context))

    def close(self) -> None:
        """Give it back; what is running, and prog_arrays, keep its code. A second call does nothing."""
        with self._lock:
            self._closed = True
            self._uses, self._keep = {}, None
