"""Programs in the kernel: loading with libbpf's steps back, test runs, pins."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from skep.abi.contexts import CONTEXTS
from skep.abi.names import name_of
from skep.abi.prog_types import ProgType
from skep.diagnostics import Diagnostic
from skep.engine import RunResult
from skep.errors import EngineError, UnsupportedError, UsageError
from skep.kernel import probes
from skep.kernel.bpf import objects, programs
from skep.kernel.bpf.attr import ProgInfo
from skep.kernel.bpf.call import BpfCallError
from skep.kernel.bpf.programs import LoadRequest, RunRequest
from skep.kernel.fd import Fd
from skep.kernel.maps import pins
from skep.kernel.memlock import with_memory
from skep.kernel.prepare import may_drop_attach_type
from skep.kernel.refusals import ENOTSUPP, errno_name, load_refused
from skep.kernel.rejection import rejected
from skep.kernel.verifier_log import parse_log
from skep.model.programs import LinkedProgram

_GROWTH: Final = 1 << 16  # the most by which adjust_head, adjust_room and adjust_tail make a packet longer
_MAX_REPEAT: Final = (1 << 32) - 1
_FLOW_KEYS_BYTES: Final = 56


class KernelProgram:
    """A program in the kernel.

    Attributes:
        fd: its descriptor.
        linked: what it was made from.
        log: what the kernel's verifier wrote, if it was asked to.
        notes: what the kernel did not take, e.g. its line info.
        pinned: paths that this handle gave it.
    """

    def __init__(self, linked: LinkedProgram, fd: Fd, log: str = "", notes: tuple[str, ...] = ()) -> None:
        self.linked = linked
        self.fd = fd
        self.log = log
        self.notes = notes
        self.pinned: list[str] = []

    @property
    def name(self) -> str:
        """Its name in the source."""
        return self.linked.name

    @property
    def prog_type(self) -> ProgType:
        """Its type."""
        return self.linked.prog_type

    @cached_property
    def id(self) -> int:
        """The kernel's number for it."""
        return int(self.info().id)

    def info(self) -> ProgInfo:
        """struct bpf_prog_info, now."""
        return objects.read_info(self.fd.number, ProgInfo())

    @property
    def tag(self) -> str:
        """The kernel's checksum of its code, 16 hex digits."""
        return bytes(self.info().tag).hex()

    def run(self, data: bytes = b"", ctx: bytes | None = None, repeat: int = 1) -> RunResult:
        """BPF_PROG_TEST_RUN.

        Raises:
            UnsupportedError: E0227 the kernel has no test run for this type.
            UsageError: E0228 the input cannot be one of this program type's.
        """
        if not 0 <= repeat <= _MAX_REPEAT:
            raise UsageError(Diagnostic("E0202", f"a repeat of {repeat} is not between 0 and {_MAX_REPEAT}"))
        way = _WAYS.get(self.prog_type)
        if way is None:
            raise self._no_test_run()
        if data and not way.data:
            what = f"programs of type {name_of(self.prog_type)} see no packet"
            raise UsageError(Diagnostic("E0206", what, program=self.name, help="give the input as ctx"))
        known = CONTEXTS.get(self.prog_type)
        if known is not None and not known.variable_size and len(ctx or b"") > known.size:
            kind = name_of(self.prog_type)
            what = f"the context has {len(ctx or b'')} bytes, but {kind} programs have {known.size}"
            raise UsageError(Diagnostic("E0203", what, program=self.name, help="give the structure the program sees"))
        try:
            done = programs.test_run(self.fd.number, way.request(self.prog_type, data, ctx, repeat))
        except BpfCallError as error:
            raise self._run_refused(error, len(data), ctx) from None
        return RunResult(done.retval, done.data, done.ctx, done.duration_ns)

    def _no_test_run(self) -> UnsupportedError:
        what = f"the kernel has no test run for programs of type {name_of(self.prog_type)}"
        types = ", ".join(sorted(name_of(prog_type) for prog_type in _WAYS))
        return UnsupportedError(
            Diagnostic("E0227", what, program=self.name, why=(f"it has one for: {types}",),
                       help="attach it, or run it on the vm engine", kernel="ENOTSUPP")
        )  # fmt: skip

    def _run_refused(
        self, error: BpfCallError, length: int, ctx: bytes | None
    ) -> EngineError | UsageError | UnsupportedError:
        if error.number in (ENOTSUPP, errno.EOPNOTSUPP):
            return self._no_test_run()
        kind = name_of(self.prog_type)
        if error.number == errno.EINVAL:
            sizes = f"{length} bytes of data, {len(ctx or b'')} of context"
            what = f"this input ({sizes}) is none for a program of type {kind}"
            why = ["a packet starts with an Ethernet header: 14 bytes at least"] if _WAYS[self.prog_type].data else []
            if ctx is not None and self.prog_type is ProgType.XDP:
                why.append("in a given xdp_md, data is the length of the metadata, data_end that of data, data_meta 0")
            advice = "give a whole frame, or another context"
            return UsageError(
                Diagnostic("E0228", what, program=self.name, why=tuple(why), help=advice, kernel="EINVAL")
            )
        what = f"the test run of program '{self.name}' failed: {os.strerror(error.number)}"
        known = CONTEXTS.get(self.prog_type)
        help = "give data and a context that fit the type" + (f" (struct {known.name})" if known is not None else "")
        return EngineError(Diagnostic("E0229", what, program=self.name, help=help, kernel=errno_name(error.number)))

    def pin(self, path: str | os.PathLike[str]) -> None:
        """Give it a name in a bpffs, under which it lives on. EngineError where the path is no place for it."""
        pins.pin(self.fd, path, f"program '{self.name}'")
        self.pinned.append(os.fspath(path))

    def unpin(self, path: str | os.PathLike[str] | None = None) -> None:
        """Take a name away, or (None) all that this handle gave."""
        for name in [os.fspath(path)] if path is not None else list(self.pinned):
            pins.unpin(name)
            if name in self.pinned:
                self.pinned.remove(name)

    def fileno(self) -> int:
        """Its descriptor, for places that take one: a socket's SO_ATTACH_BPF, an ioctl. ClosedError after close()."""
        return self.fd.number

    def close(self) -> None:
        """Give the descriptor back; links and pins keep the program. A second call does nothing."""
        self.fd.close()


@dataclass(frozen=True, slots=True)
class Way:
    """How programs of a type are run for a test (their .test_run in the kernel).

    Attributes:
        data: they see a packet.
        ctx_out: the context is written back to a buffer of its own.
        repeat: they can be repeated.
        ctx_default: give a zeroed context where the caller gives none.
    """

    data: bool = True
    ctx_out: bool = True
    repeat: bool = True
    ctx_default: bool = False
    data_out: int | None = None

    def request(self, prog_type: ProgType, data: bytes, ctx: bytes | None, repeat: int) -> RunRequest:
        """What to ask the kernel for."""
        known = CONTEXTS.get(prog_type)
        size = known.size if known is not None else 0
        given = ctx if ctx is not None else bytes(size) if self.ctx_default else b""
        out = max(len(given), size) if self.ctx_out and (ctx is not None or prog_type is not ProgType.XDP) else 0
        room = self.data_out if self.data_out is not None else len(data) + _GROWTH
        return RunRequest(
            data=data,
            ctx=given,
            repeat=repeat if self.repeat else 0,
            data_out_size=room if self.data else 0,
            ctx_out_size=out,
        )


_SKB: Final = Way()
_WAYS: Final[Mapping[ProgType, Way]] = {
    ProgType.XDP: _SKB,
    ProgType.SCHED_CLS: _SKB,
    ProgType.SCHED_ACT: _SKB,
    ProgType.SOCKET_FILTER: _SKB,
    ProgType.CGROUP_SKB: _SKB,
    ProgType.LWT_IN: _SKB,
    ProgType.LWT_OUT: _SKB,
    ProgType.LWT_XMIT: _SKB,
    ProgType.NETFILTER: Way(ctx_out=False),
    ProgType.FLOW_DISSECTOR: Way(ctx_out=False, data_out=_FLOW_KEYS_BYTES),
    ProgType.SK_LOOKUP: Way(data=False, ctx_default=True),
    ProgType.SYSCALL: Way(data=False, ctx_out=False, repeat=False),
    ProgType.RAW_TRACEPOINT: Way(data=False, ctx_out=False, repeat=False),
    ProgType.TRACING: Way(data=False, ctx_out=False, repeat=False),
    ProgType.STRUCT_OPS: Way(data=False, ctx_out=False, repeat=False),
}


def way_for(prog_type: ProgType) -> Way | None:
    """How programs of a type are run for a test; None: the kernel has no way."""
    return _WAYS.get(prog_type)


def load(linked: LinkedProgram, request: LoadRequest, log_level: int = 0) -> KernelProgram:
    """Load a program; what an old kernel does not know is left out, as libbpf does.

    Raises:
        RejectedError: V0900, with ``log``.
        EngineError, UnsupportedError: E022x, refused before the verifier looked at it.
    """
    refusal: BpfCallError | None = None
    for attempt in _attempts(linked, request):
        try:
            fd, log = with_memory(lambda attempt=attempt: programs.load(attempt, log_level))  # type: ignore[misc]
        except BpfCallError as error:
            if refusal is None or parse_log(error.log).processed_insns:
                refusal = error
            if error.number == errno.EPERM or parse_log(error.log).processed_insns:
                break
            continue
        return KernelProgram(linked, fd, log, _left_out(request, attempt, refusal))
    assert refusal is not None
    if refusal.log.strip():
        raise rejected(refusal, linked)
    raise load_refused(refusal, linked.name, linked.prog_type, linked.attach_type)


def _left_out(request: LoadRequest, loaded: LoadRequest, refusal: BpfCallError | None) -> tuple[str, ...]:
    """What the kernel did not take of a request, and why."""
    if refusal is None:
        return ()
    why = parse_log(refusal.log).sentence or errno_name(refusal.number)
    names = {"btf": "types", "line_info": "line info", "name": "name", "expected_attach_type": "attach type"}
    lost = [what for field, what in names.items() if getattr(request, field) and not getattr(loaded, field)]
    return (f"loaded without its {' and '.join(lost)}: {why}",)


def _attempts(linked: LinkedProgram, request: LoadRequest) -> Iterator[LoadRequest]:
    """The whole request, then without what this kernel may not take."""
    yield request
    if request.line_info:
        request = replace(request, line_info=b"")
        yield request
    if request.func_info:
        request = replace(request, func_info=b"", btf=0)
        yield request
    changed = request
    if request.name and not probes.has("names"):
        changed = replace(changed, name=b"")
    if request.expected_attach_type and may_drop_attach_type(linked) and not probes.has("expected_attach_type"):
        changed = replace(changed, expected_attach_type=0)
    if changed != request:
        yield changed
