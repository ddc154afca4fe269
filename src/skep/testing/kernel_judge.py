"""The running kernel as judge of generated programs: verdicts, and results of BPF_PROG_TEST_RUN. Nothing is attached.

Its verifier may have bugs of its own, so it is asked in a child process: when that dies, the caller knows which program
it was, and starts another.
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import struct
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from multiprocessing.connection import Connection

from skep.abi.prog_types import ProgType
from skep.btf.writer import encode_btf
from skep.isa.codec import encode
from skep.isa.instruction import Instruction, MapRef, MapValueRef
from skep.kernel.bpf import btf as kernel_btf
from skep.kernel.bpf import maps as kernel_maps
from skep.kernel.bpf import programs as kernel_programs
from skep.kernel.bpf.call import BpfCallError
from skep.kernel.fd import Fd
from skep.model.maps import MapSpec
from skep.testing.generate import Sample
from skep.testing.samples import PER_CPU, Contents, MapReader, contents, function_types

_PATIENCE_SECONDS = 60
_ROOM = 4096  # for what a program may add to a packet


class Verdict(StrEnum):
    """What the kernel says."""

    ACCEPT = "accept"
    REJECT = "reject"
    FAILS = "fails"  # EFAULT, "verifier bug": the kernel's own fault
    REFUSED = "refused"  # it did not get as far as judging (memory, privileges)
    DIED = "died"  # the process that asked did not come back


@dataclass(frozen=True, slots=True)
class Answer:
    """The kernel's verdict and, where it accepts, what the program did.

    Attributes:
        log: the end of the verifier's log of a rejection.
        runs: return value and packet of each run; a negative errno where the packet was refused.
        maps: what the maps held in the end.
    """

    verdict: Verdict
    errno: int = 0
    log: str = ""
    runs: tuple[tuple[int, bytes], ...] = ()
    maps: Mapping[str, Contents] = field(default_factory=dict)

    @property
    def reason(self) -> str:
        """The last line of the log that says something."""
        lines = [line for line in self.log.splitlines() if line and not line.startswith(("processed ", "peak_states"))]
        return lines[-1] if lines else os.strerror(self.errno) if self.errno else ""


class KernelJudge:
    """Asks the kernel, in a child process that is started when needed."""

    def __init__(self) -> None:
        self._child: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None

    def ask(self, sample: Sample, *, run: bool = True) -> Answer:
        """Load a program and, if it is accepted, run it on its packets."""
        return self.ask_with(judge_here, sample, run)

    def ask_with(self, function: Callable[..., Answer], *arguments: object) -> Answer:
        """Call a function of some module in the child process."""
        pipe = self._started()
        try:
            pipe.send((function, arguments))
            if pipe.poll(_PATIENCE_SECONDS):
                answer = pipe.recv()
                assert isinstance(answer, Answer)
                return answer
        except (EOFError, OSError):
            pass
        self.close()
        return Answer(Verdict.DIED)

    def _started(self) -> Connection:
        if self._pipe is None:
            context = multiprocessing.get_context("spawn")
            self._pipe, theirs = context.Pipe()
            self._child = context.Process(target=_serve, args=(theirs,), daemon=True)
            self._child.start()
            theirs.close()
        return self._pipe

    def close(self) -> None:
        """End the child."""
        if self._pipe is not None:
            self._pipe.close()
        if self._child is not None:
            self._child.join(1)
            if self._child.is_alive():
                self._child.kill()
                self._child.join(5)
        self._child = self._pipe = None

    def __enter__(self) -> KernelJudge:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def is_available() -> bool:
    """Whether this process may ask."""
    return kernel_programs.is_allowed()


def _serve(pipe: Connection) -> None:
    while True:
        try:
            function, arguments = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        answer = function(*arguments)
        with suppress(BrokenPipeError):  # nobody waits for it any more
            pipe.send(answer)


def judge_here(sample: Sample, run: bool = True) -> Answer:
    """Ask in this process."""
    with ExitStack() as stack:
        try:
            maps = {spec.name: stack.enter_context(_create(spec)) for spec in sample.maps}
            if "jumps" in maps and sample.target:
                target = stack.enter_context(_load(sample.prog_type, sample.target, {}))
                kernel_maps.update(maps["jumps"].number, struct.pack("<I", 1), struct.pack("<I", target.number))
        except BpfCallError as error:
            return Answer(Verdict.REFUSED, error.number)
        try:
            program = stack.enter_context(_load(sample.prog_type, sample.insns, maps))
        except BpfCallError as error:
            return rejection(error)
        if not run:
            return Answer(Verdict.ACCEPT)
        runs = []
        for packet in sample.packets:
            request = kernel_programs.RunRequest(packet, data_out_size=len(packet) + _ROOM)
            try:
                done = kernel_programs.test_run(program.number, request)
                runs.append((done.retval, done.data))
            except BpfCallError as error:
                runs.append((-error.number, b""))
        found = {spec.name: contents(spec, _Reader(maps[spec.name], spec)) for spec in sample.maps}
        return Answer(Verdict.ACCEPT, runs=tuple(runs), maps=found)


def rejection(error: BpfCallError) -> Answer:
    """What a failed load means."""
    return Answer(_verdict(error), error.number, error.log[-2000:])


def _verdict(error: BpfCallError) -> Verdict:
    if error.number == errno.EFAULT or "verifier bug" in error.log or "REG INVARIANTS VIOLATION" in error.log:
        return Verdict.FAILS
    return Verdict.REFUSED if error.number in (errno.EPERM, errno.ENOMEM) and not error.log else Verdict.REJECT


def _create(spec: MapSpec) -> Fd:
    sizes = (spec.key_size, spec.value_size, spec.max_entries, spec.flags)
    made = kernel_maps.create(kernel_maps.MapRequest(spec.type, *sizes))
    try:
        if spec.contents is not None:
            kernel_maps.update(made.number, bytes(4), spec.contents)
        if spec.frozen:
            kernel_maps.freeze(made.number)
    except BaseException:
        made.close()
        raise
    return made


def _load(prog_type: ProgType, insns: tuple[Instruction, ...], maps: Mapping[str, Fd]) -> Fd:
    code = encode(_numbered(insn, maps) for insn in insns)
    types = function_types(insns)
    if types is None:
        return kernel_programs.load(kernel_programs.LoadRequest(prog_type, code))[0]
    btf, starts = types
    with kernel_btf.load(encode_btf(btf)) as loaded:
        info = b"".join(struct.pack("<II", start, type_id) for start, type_id in starts.items())
        request = kernel_programs.LoadRequest(prog_type, code, btf=loaded.number, func_info=info)
        return kernel_programs.load(request)[0]


def _numbered(insn: Instruction, maps: Mapping[str, Fd]) -> Instruction:
    if isinstance(insn.ref, MapRef):
        return replace(insn, imm=maps[insn.ref.name].number, ref=None)
    if isinstance(insn.ref, MapValueRef):
        return replace(insn, imm=maps[insn.ref.name].number | insn.ref.offset << 32, ref=None)
    return insn


class _Reader(MapReader):
    """A kernel map as :func:`contents` reads it."""

    def __init__(self, handle: Fd, spec: MapSpec) -> None:
        self._fd = handle.number
        self._spec = spec
        cpus = _possible_cpus() if spec.type in PER_CPU else 1
        self._size = -(-spec.value_size // 8) * 8 * cpus if spec.type in PER_CPU else spec.value_size

    def all_keys(self) -> Iterable[bytes]:
        key = kernel_maps.next_key(self._fd, None, self._spec.key_size)
        while key is not None:
            yield key
            key = kernel_maps.next_key(self._fd, key, self._spec.key_size)

    def value(self, key: bytes) -> bytes | None:
        return kernel_maps.lookup(self._fd, key, self._size)

    def pop(self) -> bytes | None:
        return kernel_maps.lookup_and_delete(self._fd, b"", self._size)


def _possible_cpus() -> int:
    """CPUs that the kernel keeps per-CPU values for (/sys/devices/system/cpu/possible: ``0-3,8``)."""
    with open("/sys/devices/system/cpu/possible") as file:
        ranges = [part.split("-") for part in file.read().strip().split(",")]
    return sum(int(part[-1]) - int(part[0]) + 1 for part in ranges)
