"""A program on every packet of a capture file: the loop is native, Python reads and writes a few MiB at a time."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import stat
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from skep.abi.prog_types import ProgType
from skep.diagnostics import Diagnostic
from skep.engine import PacketRun, ProgramHandle
from skep.errors import ClosedError, UnsupportedError, UsageError
from skep.model.hooks import Pcap
from skep.vm.hooks.capture import CaptureFile
from skep.vm.hooks.layout import Job, Output
from skep.vm.hooks.verdicts import RULES, counts
from skep.vm.programs import VmProgram
from skep.vm.runs import runs
from skep.vm.runtime import Run

_MAX_PACKET, _SKB_MAX = 262144, 65536
_WORK = 1024 + _MAX_PACKET + 2 * _SKB_MAX + 4096  # headroom, packet, growth (run_capture() in native/loops.c)
_OUTPUT = 1 << 20
_TAIL_CALL = 12
_FLUSH = 2
_ETHERNET = 1

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
        self._program = self._checked(program)
        self._closed = False
        if hook.clock not in ("host", "capture"):
            raise UsageError(Diagnostic("H0206", f"there is no clock {hook.clock!r}", help="use host or capture"))
        with CaptureFile(hook.path):
            pass
        if hook.out is not None:
            directory = Path(hook.out).absolute().parent
            if not directory.is_dir() or Path(hook.out).is_dir():
                what = f"the output {hook.out} cannot be written: {directory} is not a directory"
                if directory.is_dir():
                    what = f"the output {hook.out} is a directory"
                raise UsageError(Diagnostic("H0202", what, help="name a file in a directory that exists"))

    @staticmethod
    def _checked(program: ProgramHandle) -> VmProgram:
        if not isinstance(program, VmProgram):
            raise UsageError(Diagnostic("H0203", "the program belongs to another engine", help="load it on the vm"))
        if program.prog_type not in RULES:
            kind = program.prog_type.name.lower()
            advice = "run it on one context: Program.run(ctx=...)"
            raise UnsupportedError(Diagnostic("H0201", f"programs of type {kind} see no packets", help=advice))
        return program

    def update(self, program: ProgramHandle) -> None:
        """Replace the program. A run that is going on takes the new one within a few MiB; no packet is skipped.

        Raises:
            UsageError: H0204: it is of another type.
        """
        new = self._checked(program)
        if new.prog_type is not self._program.prog_type:
            what = f"a {self._program.prog_type.name.lower()} program cannot be replaced by another type"
            raise UsageError(Diagnostic("H0204", what, help="attach it anew"))
        self._program = new

    def close(self) -> None:
        """Detach; a second call does nothing."""
        self._closed = True

    def run(self, progress: Progress | None = None) -> PacketRun:
        """Run the program on every packet; the packets that pass go to ``hook.out``, all of them or no file at all.

        Raises:
            CaptureError: the file is broken: which packet, at which byte.
            UsageError: it cannot be opened, or the output cannot be written.
            ClosedError: after close().
        """
        if self._closed:
            raise ClosedError(Diagnostic("H0205", "the program is detached from the capture", help="attach it again"))
        program = self._program
        _loop(program)  # compiled before the clock starts: the seconds are those of the packets
        rule = RULES[program.prog_type]
        work = ctypes.create_string_buffer(_WORK)
        with CaptureFile(self.hook.path) as capture, _output(self.hook.out) as sink, runs().take() as run:
            output = Output(buffer=sink.address, capacity=sink.capacity)
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
            )
            start = time.perf_counter()
            self._drive(capture, sink, output, run, job, progress)
            sink.write(0, capture, whole=True)
            state = capture.state
            seconds = time.perf_counter() - start
            verdicts = counts(job, program.prog_type, program.verified.linked.attach_type)
        return PacketRun(int(state.packets), int(state.bytes), verdicts, int(job.passed), seconds)

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
                sink.write(int(output.length), capture)
                output.length = 0
            if status < 0:
                raise capture.error()
            if status == _FLUSH:
                continue
            more = capture.refill()
            if progress is not None:
                progress(capture.done, capture.total)
            if not more:
                return


def loop_symbol(program: VmProgram) -> str:
    """The native loop for a program: in the reader's buffer, or on copies with room around them if packets may grow.

    What a tail call leads to is not known here, so such programs get copies.
    """
    facts = program.verified.facts
    kind = "xdp" if program.prog_type is ProgType.XDP else "skb"
    resizes = facts.resizes_packet or any(fact.helper == _TAIL_CALL for fact in facts.calls.values())
    return f"skep_loop_{kind}" + ("" if resizes else "_inplace")


def _loop(program: VmProgram) -> Callable[[Run, ctypes.Structure], int]:
    return program.loop(loop_symbol(program))


class Sink:
    """Where passing packets go: nowhere."""

    address: int | None = None
    capacity = 0

    def write(self, length: int, capture: CaptureFile, whole: bool = False) -> None:
        """Write ``length`` bytes of packets from the buffer; ``whole``: these were the last."""


class PcapFile(Sink):
    """A classic pcap, little-endian; its header tells link type and clock of the first packet."""

    def __init__(self, fd: int, path: Path) -> None:
        self._fd = fd
        self._path = path
        self._buffer = ctypes.create_string_buffer(_OUTPUT)
        self._headed = False
        self.address = ctypes.addressof(self._buffer)
        self.capacity = _OUTPUT

    def write(self, length: int, capture: CaptureFile, whole: bool = False) -> None:
        """Write packets, and the header before the first."""
        if not self._headed and (length or whole):
            self._headed = True
            state = capture.state
            magic = 0xA1B23C4D if state.nanoseconds else 0xA1B2C3D4
            link_type = state.link_type if state.packets or state.format == 1 else _ETHERNET
            self._put(struct.pack("<IHHiIII", magic, 2, 4, 0, 0, _MAX_PACKET, link_type))
        self._put(memoryview(self._buffer).cast("B")[:length])

    def _put(self, left: memoryview | bytes) -> None:
        try:
            while left:
                left = left[os.write(self._fd, left) :]
        except OSError as error:
            raise _not_writable(self._path, error) from error


def _not_writable(path: Path, error: OSError) -> UsageError:
    what = f"the output {path} cannot be written: {error.strerror}"
    return UsageError(Diagnostic("H0202", what, help="check the disk and the directory's permissions"))


@contextlib.contextmanager
def _output(out: str | Path | None) -> Iterator[Sink]:
    """A file that appears under its name when the with block ends well, and leaves nothing behind otherwise.

    What is there and is not a regular file (a device, a pipe) is written to directly.
    """
    if out is None:
        yield Sink()
        return
    path = Path(out)
    try:
        special = not stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        special = False
    target = path if special else path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    flags = os.O_WRONLY | (0 if special else os.O_CREAT | os.O_EXCL)
    try:
        fd = os.open(target, flags | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise _not_writable(path, error) from error
    try:
        try:
            yield PcapFile(fd, path)
        finally:
            os.close(fd)
        if not special:
            try:
                os.replace(target, path)
            except OSError as error:
                raise _not_writable(path, error) from error
    except BaseException:
        if not special:
            with contextlib.suppress(OSError):
                os.unlink(target)
        raise
