"""A program on every packet of a capture file: the loop is native, Python reads and writes a few MiB at a time."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable

from skep.abi.prog_types import ProgType
from skep.diagnostics import Diagnostic
from skep.engine import PacketRun, ProgramHandle
from skep.errors import ClosedError, UnsupportedError, UsageError
from skep.model.hooks import Pcap
from skep.vm.hooks.capture import CaptureFile
from skep.vm.hooks.layout import Job, Output
from skep.vm.hooks.output import Sink, check_output, opened_output
from skep.vm.hooks.verdicts import RULES, counts
from skep.vm.programs import VmProgram
from skep.vm.runs import runs
from skep.vm.runtime import Run

_MAX_PACKET, _SKB_MAX = 262144, 65536
_WORK = 1024 + _MAX_PACKET + 2 * _SKB_MAX + 4096  # headroom, packet, growth (run_capture() in native/loops.c)
_TAIL_CALL = 12
_FLUSH, _ENOUGH = 2, 3

Progress = Callable[[int, int], None]


class PcapLink:
    """A program attached to a capture file: a skep.engine.LinkHandle and PacketSource."""

    def __init__(self, program: ProgramHandle, hook: Pcap) -> None:
        """Check that the two fit; nothing is read or written yet.

        Raises:
            UnsupportedError: H0201: programs of this type see no packets.
            UsageError: H0101: the capture cannot be opened; H0202: the output cannot be written.
        """
        self.hook = hook
        self._program = packet_program(program)
        self._closed = False
        if hook.clock not in ("host", "capture"):
            raise UsageError(Diagnostic("H0206", f"there is no clock {hook.clock!r}", help="use host or capture"))
        with CaptureFile(hook.path):
            pass
        check_output(hook.out)

    def update(self, program: ProgramHandle) -> None:
        """Replace the program. A run that is going on takes the new one within a few MiB; no packet is skipped.

        Raises:
            UsageError: H0204: it is of another type.
        """
        new = packet_program(program)
        if new.prog_type is not self._program.prog_type:
            what = f"a {self._program.prog_type.name.lower()} program cannot be replaced by another type"
            raise UsageError(Diagnostic("H0204", what, help="attach it anew"))
        self._program = new

    def close(self) -> None:
        """Detach; a second call does nothing."""
        self._closed = True

    def run(self, progress: Progress | None = None, passed: int | None = None) -> PacketRun:
        """Run the program on every packet; the packets that pass go to ``hook.out``, all of them or no file at all.

        Args:
            progress: told (bytes done, bytes in all; 0 if not known) now and then.
            passed: stop after so many packets that pass, at least 1.

        Raises:
            CaptureError: the file is broken: which packet, at which byte.
            UsageError: it cannot be opened, or the output cannot be written.
            ClosedError: after close().
        """
        if self._closed:
            raise ClosedError(Diagnostic("H0205", "the program is detached from the capture", help="attach it again"))
        if passed is not None and passed < 1:
            raise UsageError(Diagnostic("H0607", f"passed cannot be {passed}", help="give 1 or more"))
        program = self._program
        _loop(program)  # compiled before the clock starts: the seconds are those of the packets
        rule = RULES[program.prog_type]
        work = ctypes.create_string_buffer(_WORK)
        with CaptureFile(self.hook.path) as capture, opened_output(self.hook.out) as sink, runs().take() as run:
            buffer = ctypes.create_string_buffer(sink.size) if sink.size else None
            address = ctypes.addressof(buffer) if buffer is not None else None
            output = Output(buffer=address, blocks=sink.blocks, snaplen=sink.snaplen)
            sink.prepare(output)
            job = Job(
                capture=ctypes.addressof(capture.state),
                output=ctypes.addressof(output),
                work=ctypes.addressof(work),
                work_size=_WORK,
                prog_type=int(program.prog_type),
                ifindex=self.hook.ifindex,
                pass_mask=rule.mask,
                pass_others=rule.others,
                capture_clock=self.hook.clock == "capture",
                limit=passed or 0,
            )
            start = time.perf_counter()
            self._drive(capture, sink, output, run, job, progress)
            sink.finish(capture.state)
            state = capture.state
            seconds = time.perf_counter() - start
            verdicts = counts(job, program.prog_type, program.verified.linked.attach_type)
        ended = "packets" if passed and job.passed == passed else "end"
        return PacketRun(int(state.packets), int(state.bytes), verdicts, int(job.passed), seconds, ended=ended)

    def _drive(
        self, capture: CaptureFile, sink: Sink, output: Output, run: Run, job: Job, progress: Progress | None
    ) -> None:
        """Alternate between reading, the native loop, and writing."""
        program, loop = self._program, _loop(self._program)
        while True:
            if self._program is not program:
                program, loop = self._program, _loop(self._program)
            status = loop(run, job)
            if output.length:
                sink.take(output, capture.state)
            if status < 0:
                raise capture.error()
            if status == _FLUSH:
                continue
            if status == _ENOUGH:
                return
            more = capture.refill()
            if progress is not None:
                progress(capture.done, capture.total)
            if not more:
                return


def packet_program(program: ProgramHandle) -> VmProgram:
    """A program of ours that sees packets.

    Raises:
        UsageError: H0203: it is another engine's.
        UnsupportedError: H0201: programs of its type see no packets.
    """
    if not isinstance(program, VmProgram):
        raise UsageError(Diagnostic("H0203", "the program belongs to another engine", help="load it on the vm"))
    if program.prog_type not in RULES:
        kind = program.prog_type.name.lower()
        advice = "run it on one context: Program.run(ctx=...)"
        raise UnsupportedError(Diagnostic("H0201", f"programs of type {kind} see no packets", help=advice))
    return program


def loop_symbol(program: VmProgram, prefix: str = "skep_loop") -> str:
    """The native loop for a program: in the reader's buffer, or on copies with room around them if packets may grow.

    What a tail call leads to is not known here, so such programs get copies.
    """
    facts = program.verified.facts
    kind = "xdp" if program.prog_type is ProgType.XDP else "skb"
    resizes = facts.resizes_packet or any(fact.helper == _TAIL_CALL for fact in facts.calls.values())
    return f"{prefix}_{kind}" + ("" if resizes else "_inplace")


def _loop(program: VmProgram) -> Callable[[Run, ctypes.Structure], int]:
    return program.loop(loop_symbol(program))
