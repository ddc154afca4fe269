"""One generated program through everything: our verdict and the kernel's; what all engines make of it."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from skep.engine import Poppable
from skep.errors import UsageError
from skep.isa.disassembler import disassemble
from skep.model.maps import MapSpec
from skep.model.programs import LinkedProgram, Outcome, VerifiedProgram
from skep.model.programs import Verdict as OurVerdict
from skep.testing.generate import Sample
from skep.testing.guards import Companion, Invariants, NotCoveredError
from skep.testing.kernel_judge import Answer, KernelJudge, Verdict
from skep.testing.samples import Contents, MapReader, contents, link_sample, link_target
from skep.verifier import judge, verify
from skep.verifier.options import Options
from skep.vm.engine import VmEngine
from skep.vm.interpreter import Fault, InterpretedProgram, StepLimitError
from skep.vm.interpreter.program import Watch
from skep.vm.maps import VmMap

MAX_STEPS, MAX_WATCHED = 200_000, 10_000  # of one run; of one whose steps are compared with the verifier's


class Difference(StrEnum):
    """What can be wrong. STRICT alone is no bug of safety."""

    CRASH = "crash"  # our verifier raised
    UNSOUND = "unsound"  # we accept, the kernel rejects
    STRICT = "strict"  # we reject, the kernel accepts
    FAULT = "fault"  # an accepted program faults in the interpreter
    JIT = "jit"  # native code differs from the interpreter
    KERNEL = "kernel"  # the kernel's run differs from the interpreter
    STEP = "step"  # guard 2: a concrete step left the transferred state
    INVARIANT = "invariant"  # guard 4: a register lies outside what exploration computed


@dataclass(frozen=True, slots=True)
class Executed:
    """What a program did on its packets."""

    runs: tuple[tuple[int, bytes], ...]
    maps: Mapping[str, Contents]


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a sample.

    Attributes:
        executed: on how many engines it ran.
        differences: kind and explanation.
    """

    sample: Sample
    ours: OurVerdict | None
    theirs: Answer | None
    executed: int = 0
    differences: tuple[tuple[Difference, str], ...] = ()

    def __str__(self) -> str:
        lines = [f"seed {self.sample.seed}, mutation {self.sample.mutation}, {self.sample.prog_type.name}"]
        lines += [f"{kind.value}: {text}" for kind, text in self.differences]
        return "\n".join(lines)


def examine(
    sample: Sample,
    kernel: KernelJudge | None,
    *,
    execute: bool = True,
    compare_runs: bool = True,
    guard: bool = False,
) -> Report:
    """Judge a sample and, if we accept it, run it.

    Args:
        kernel: None: without the kernel.
        guard: compare every step with the verifier's states (guards 2 and 4).
        execute: run it in the interpreter, where every access is checked.
        compare_runs: run it as native code and in the kernel, too: not if results may depend on addresses.
    """
    linked = link_sample(sample)
    invariants = Invariants(linked) if guard else None
    options = Options(observe=invariants.observe) if invariants is not None else Options()
    try:
        ours = judge(linked, options)
    except Exception:
        return Report(sample, None, None, 0, ((Difference.CRASH, traceback.format_exc()),))
    theirs = kernel.ask(sample, run=compare_runs) if kernel is not None else None
    differences = list(_verdicts(ours, theirs))
    executed = 0
    if ours.facts is not None and execute:
        proved = VerifiedProgram(linked, ours.facts, ours.processed_insns)
        executed, found = _runs(sample, proved, theirs if compare_runs else None, compare_runs)
        differences += found
        if invariants is not None:
            differences += _guarded(sample, proved, Difference.STEP, Companion(linked).watch)
            differences += _guarded(sample, proved, Difference.INVARIANT, invariants.watch)
    return Report(sample, ours, theirs, executed, tuple(differences))


def _guarded(
    sample: Sample, proved: VerifiedProgram, kind: Difference, watch: Watch
) -> Iterable[tuple[Difference, str]]:
    try:
        run_on_vm(sample, proved, interpret=True, watch=watch)
    except NotCoveredError as error:
        yield kind, str(error)
    except (Fault, StepLimitError):
        return  # reported already, or nothing to report


def _verdicts(ours: OurVerdict, theirs: Answer | None) -> Iterable[tuple[Difference, str]]:
    if theirs is None:
        return
    accepted = ours.outcome is Outcome.ACCEPTED
    if accepted and theirs.verdict is Verdict.REJECT:
        yield Difference.UNSOUND, f"the kernel says: {theirs.reason}"
    elif not accepted and theirs.verdict is Verdict.ACCEPT:
        said = ours.diagnostics[0]
        yield Difference.STRICT, f"slot {said.insn}: {said.kernel or said.what}"


def _runs(
    sample: Sample, proved: VerifiedProgram, theirs: Answer | None, compare_runs: bool
) -> tuple[int, list[tuple[Difference, str]]]:
    """On how many engines it ran, and what differs."""
    try:
        expected = run_on_vm(sample, proved, interpret=True)
    except Fault as fault:
        return 1, [(Difference.FAULT, str(fault))]
    except StepLimitError:  # a loop that may_goto ends after 8 M turns: for nobody to wait for
        return 0, []
    if not compare_runs:
        return 1, []
    found: list[tuple[Difference, str]] = []
    try:
        native = run_on_vm(sample, proved, interpret=False)
    except Exception:
        return 1, [(Difference.JIT, traceback.format_exc())]
    compare_executed(Difference.JIT, "native code", expected, native, found)
    if theirs is None or theirs.verdict is not Verdict.ACCEPT or proved.facts.reads_uninit_stack:
        return 2, found  # the kernel does not clear stacks: what was never written differs
    compare_executed(Difference.KERNEL, "the kernel", expected, Executed(theirs.runs, theirs.maps), found)
    return 3, found


def compare_executed(
    kind: Difference, who: str, expected: Executed, got: Executed, found: list[tuple[Difference, str]]
) -> None:
    """Add what differs between what the interpreter did and what ``who`` did to ``found``."""
    for number, (wanted, had) in enumerate(zip(expected.runs, got.runs, strict=True)):
        if wanted[0] != had[0]:
            found.append((kind, f"run {number}: {who} returned {had[0]:#x}, the interpreter {wanted[0]:#x}"))
            return
        if wanted[1] != had[1]:
            found.append((kind, f"run {number}: {who} left {had[1].hex()}, the interpreter {wanted[1].hex()}"))
            return
    for name, wanted_map in expected.maps.items():
        if wanted_map != got.maps[name]:
            found.append((kind, f"map {name}: {who} has {_hex(got.maps[name])}, the interpreter {_hex(wanted_map)}"))


def _hex(found: Contents) -> list[tuple[str, str]]:
    return [(key.hex(), value.hex()) for key, value in found]


def run_on_vm(sample: Sample, proved: VerifiedProgram, *, interpret: bool, watch: Watch | None = None) -> Executed:
    """Run a sample on its packets, on fresh maps.

    Args:
        watch: told of each step; interpreted only.

    Raises:
        Fault: interpreted, it did what it was proved not to do.
    """
    engine = VmEngine(interpret=interpret)
    try:
        maps = {spec.name: engine.create_map(spec) for spec in sample.maps}
        if "jumps" in maps and sample.target:
            target = engine.load_program(_verified_target(sample), {})
            engine.set_program(maps["jumps"], 1, target)
        program = engine.load_program(proved, maps)
        if isinstance(program, InterpretedProgram):
            program.watch(watch)
            program.limit(MAX_STEPS if watch is None else MAX_WATCHED)
        runs = []
        for packet in sample.packets:
            try:
                done = program.run(packet)
                runs.append((done.retval, done.data))
            except UsageError:  # not a packet for this type of program
                runs.append((-errno.EINVAL, b""))
        return Executed(tuple(runs), {name: read_contents(handle.spec, handle) for name, handle in maps.items()})
    finally:
        engine.close()


def _verified_target(sample: Sample) -> VerifiedProgram:
    return verify(link_target(sample))


def read_contents(spec: MapSpec, handle: VmMap) -> Contents:
    """What a map of the vm holds."""
    return contents(spec, _Reader(handle))


class _Reader(MapReader):
    """A map of the vm as :func:`contents` reads it."""

    def __init__(self, handle: VmMap) -> None:
        self._handle = handle

    def all_keys(self) -> Iterable[bytes]:
        key = self._handle.next_key(None)
        while key is not None:
            yield key
            key = self._handle.next_key(key)

    def value(self, key: bytes) -> bytes | None:
        return self._handle.lookup(key)

    def pop(self) -> bytes | None:
        assert isinstance(self._handle, Poppable)
        return self._handle.pop(b"")


def listing(linked: LinkedProgram) -> str:
    """The program as text, one slot a line."""
    lines, slot = [], 0
    for insn in linked.insns:
        lines.append(f"{slot:4}: {disassemble(insn, slot)}")
        slot += insn.width
    return "\n".join(lines)
