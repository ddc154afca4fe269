"""Some hundred programs at once: judged and interpreted one by one, compiled together, run natively one by one."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from skep import jit
from skep.errors import InternalError, SkepError
from skep.model.programs import LinkedProgram, VerifiedProgram
from skep.model.programs import Outcome as Judged
from skep.model.programs import Verdict as OurVerdict
from skep.testing.differential import Difference, Executed, compare_executed
from skep.testing.generate import Sample
from skep.testing.guards import Companion, Invariants, NotCoveredError
from skep.testing.kernel_judge import Answer, KernelJudge, Verdict
from skep.testing.long_run.rig import Outcome, Rig, SharedMap, TooLargeError
from skep.testing.long_run.tally import Tally
from skep.testing.samples import link_sample
from skep.verifier import judge
from skep.verifier.options import Options
from skep.vm.interpreter import Fault, StepLimitError
from skep.vm.interpreter.host import raise_failure
from skep.vm.interpreter.program import InterpretedEntry, Watch
from skep.vm.programs import ROWS
from skep.vm.runtime import bitcode, runtime

MAX_PROCESSED = 20_000  # instructions of one proof: programs that never end take 1 M
MAX_STEPS, MAX_FOLLOWED = 20_000, 1_000  # of one run


@dataclass(frozen=True, slots=True)
class Candidate:
    """A program to try.

    Attributes:
        key: the arguments with which ``scripts.fuzz_programs`` makes it again.
        origin: ``generated``, ``mutant`` or ``corpus``.
        ask_kernel, follow: whether it is among those that the kernel judges, and whose steps are followed.
    """

    key: str
    origin: str
    sample: Sample
    ask_kernel: bool = False
    follow: bool = False


@dataclass(slots=True)
class _Accepted:
    """An accepted program between interpreter and machine code."""

    candidate: Candidate
    linked: LinkedProgram
    maps: dict[str, SharedMap]
    expected: Outcome
    module: jit.Module


Found = Callable[[Candidate, Difference, str], None]


class Batch:
    """Tries programs. ``at`` is told each program's key before something is done with it that may end the process."""

    def __init__(self, rig: Rig, kernel: KernelJudge | None, found: Found, at: Callable[[str], None]) -> None:
        self.tally = Tally()
        self._rig = rig
        self._kernel = kernel
        self._found = found
        self._at = at

    def run(self, candidates: Iterable[Candidate], *, optimised: bool) -> None:
        """Try them all. ``optimised``: compile as programs normally are; else in a hurry."""
        self._run_native([made for made in map(self._examine, candidates) if made is not None], optimised)

    def _run_native(self, accepted: list[_Accepted], optimised: bool) -> None:
        """Compile together, run one by one. Where LLVM refuses, halves are tried until it is clear which it is."""
        if not accepted:
            return
        made = jit.bundle([(one.module, {name: m.name for name, m in one.maps.items()}) for one in accepted])
        try:
            code = jit.compile_bundle(made, bitcode(), optimised=optimised)
        except InternalError as error:
            if len(accepted) == 1:
                self._report(accepted[0].candidate, Difference.JIT, str(error))
                return
            middle = len(accepted) // 2
            self._run_native(accepted[:middle], optimised)
            self._run_native(accepted[middle:], optimised)
            return
        addresses = {shared.name: shared.handle.address for one in accepted for shared in one.maps.values()}
        library = jit.load_bundle(made, code, addresses, runtime().symbols)
        try:
            for one, symbol in zip(accepted, made.entries, strict=True):
                self._at(one.candidate.key)
                got = self._rig.run(one.candidate.sample, one.maps, library.addresses[symbol])
                self.tally.native += 1
                self.tally.optimised += optimised
                self.tally.executions += len(got.runs)
                if got != one.expected:
                    self._explain(one, got)
        finally:
            library.close()

    # ---- one program up to the interpreter ----

    def _examine(self, candidate: Candidate) -> _Accepted | None:
        sample, tally = candidate.sample, self.tally
        self._at(candidate.key)
        tally.see(sample)
        tally.mutants += candidate.origin == "mutant"
        tally.corpus_mutants += candidate.origin == "corpus"
        linked = link_sample(sample)
        invariants = Invariants(linked)
        try:
            ours = judge(linked, Options(observe=invariants.observe, max_insns=MAX_PROCESSED))
        except Exception:
            self._report(candidate, Difference.CRASH, traceback.format_exc())
            return None
        tally.processed += ours.processed_insns
        tally.accepted += ours.outcome is Judged.ACCEPTED
        tally.rejected += ours.outcome is Judged.REJECTED
        tally.unsupported += ours.outcome is Judged.UNSUPPORTED
        theirs = self._ask(candidate, ours) if candidate.ask_kernel and self._kernel is not None else None
        if ours.facts is None:
            return None
        proved = VerifiedProgram(linked, ours.facts, ours.processed_insns)
        try:
            maps = self._rig.maps(sample)
            sizes = {name: shared.handle.size for name, shared in maps.items()}
            module = jit.build_module(proved, ROWS, sizes)
        except (TooLargeError, SkepError):
            tally.not_runnable += 1
            return None
        except InternalError:
            self._report(candidate, Difference.JIT, traceback.format_exc())
            return None
        expected = self._interpret(candidate, linked, maps, invariants.watch, MAX_STEPS)
        tally.steps_checked += invariants.checked
        tally.bounds += invariants.bounds
        if expected is None:
            return None
        tally.interpreted += 1
        tally.executions += len(expected.runs)
        if candidate.follow:
            companion = Companion(linked)
            if self._interpret(candidate, linked, maps, companion.watch, MAX_FOLLOWED, Difference.STEP) is not None:
                tally.followed += 1
            tally.steps_followed += companion.checked
        if theirs is not None and theirs.runs and not proved.facts.reads_uninit_stack:
            self._compare_with_kernel(candidate, maps, expected, theirs)
        return _Accepted(candidate, linked, maps, expected, module)

    def _interpret(
        self,
        candidate: Candidate,
        linked: LinkedProgram,
        maps: dict[str, SharedMap],
        watch: Watch | None,
        steps: int,
        kind: Difference = Difference.INVARIANT,
        stack_fill: int = 0,
    ) -> Outcome | None:
        """Run it with every access checked; None: it was too long, or wrong, which is reported."""
        entry = InterpretedEntry(linked, {name: shared.handle.address for name, shared in maps.items()})
        entry.watch, entry.max_steps, entry.stack_fill = watch, steps, stack_fill
        try:
            return self._rig.run(candidate.sample, maps, entry.address, raise_failure)
        except NotCoveredError as error:
            self._report(candidate, kind, str(error))
        except Fault as fault:
            self._report(candidate, Difference.FAULT, str(fault))
        except StepLimitError:
            self.tally.endless += kind is Difference.INVARIANT
        finally:
            self.tally.steps += entry.steps
        return None

    # ---- comparing ----

    def _ask(self, candidate: Candidate, ours: OurVerdict) -> Answer | None:
        assert self._kernel is not None
        theirs = self._kernel.ask(candidate.sample, run=candidate.origin == "generated")
        tally = self.tally
        tally.kernel_asked += 1
        tally.kernel_accepted += theirs.verdict is Verdict.ACCEPT
        tally.kernel_fails += theirs.verdict in (Verdict.FAILS, Verdict.DIED)
        if theirs.verdict not in (Verdict.ACCEPT, Verdict.REJECT):
            return None
        accepted = ours.outcome is Judged.ACCEPTED
        if accepted == (theirs.verdict is Verdict.ACCEPT):
            tally.kernel_agreed += 1
        elif accepted:
            self._report(candidate, Difference.UNSOUND, f"the kernel says: {theirs.reason}")
        else:
            said = ours.diagnostics[0]
            self._report(candidate, Difference.STRICT, said.kernel or said.what)
        return theirs if theirs.verdict is Verdict.ACCEPT and accepted else None

    def _compare_with_kernel(
        self, candidate: Candidate, maps: dict[str, SharedMap], expected: Outcome, theirs: Answer
    ) -> None:
        self.tally.kernel_compared += 1
        found: list[tuple[Difference, str]] = []
        ours = self._rig.decode(candidate.sample, maps, expected)
        compare_executed(Difference.KERNEL, "the kernel", ours, Executed(theirs.runs, theirs.maps), found)
        for kind, text in found:
            self._report(candidate, kind, text)

    def _explain(self, one: _Accepted, got: Outcome) -> None:
        """Machine code did something else: wrong, unless results depend on where things lie, or bytes mean nothing."""
        sample = one.candidate.sample
        found: list[tuple[Difference, str]] = []
        ours, theirs = (self._rig.decode(sample, one.maps, outcome) for outcome in (one.expected, got))
        compare_executed(Difference.JIT, "native code", ours, theirs, found)
        if not found:
            return
        if one.candidate.origin != "generated" and self._depends_on_addresses(one):
            self.tally.by_address += 1
            return
        for kind, text in found:
            self._report(one.candidate, kind, text)

    def _depends_on_addresses(self, one: _Accepted) -> bool:
        """Whether interpreting it again gives something else too: with stack or maps elsewhere, or with other bytes
        where nothing was written (a helper that was to fill them may have failed).
        """
        sample = one.candidate.sample
        for depth, fill in ((3, 0), (7, 0xAA), (12, 0x55)):
            again = self._rig.elsewhere(depth, partial(self._again, one, one.maps, fill))
            if again != one.expected:
                return True
        others = self._rig.maps(sample, others=True)
        moved = self._again(one, others)
        if moved is None:
            return True
        expected = self._rig.decode(sample, one.maps, one.expected)
        return self._rig.decode(sample, others, moved) != expected

    def _again(self, one: _Accepted, maps: dict[str, SharedMap], fill: int = 0) -> Outcome | None:
        return self._interpret(one.candidate, one.linked, maps, None, MAX_STEPS, stack_fill=fill)

    def _report(self, candidate: Candidate, kind: Difference, text: str) -> None:
        self.tally.differences[kind.value] += 1
        if kind is Difference.STRICT:
            self.tally.reasons[text] += 1
        self._found(candidate, kind, text)
