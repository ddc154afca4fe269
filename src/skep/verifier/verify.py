"""The verifier's front door: from a linked program to the reason it may run, or to the reason it may not."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

from skep.abi.history import NEWEST
from skep.abi.prog_types import ProgType
from skep.diagnostics import Diagnostic
from skep.errors import RejectedError, UnsupportedError
from skep.model.programs import LinkedProgram, Outcome, Verdict, VerifiedProgram
from skep.verifier.explain.rules import diagnose
from skep.verifier.explore.entry import check_maps, check_program, entry_state, function_state
from skep.verifier.explore.extension import as_extended
from skep.verifier.explore.paths import Finding, Walk
from skep.verifier.explore.speculation import capability_violation, mixed_tail_calls
from skep.verifier.explore.stack_depth import stack_violation
from skep.verifier.explore.steps import compile_steps
from skep.verifier.flow import cfg, structure
from skep.verifier.options import Options
from skep.verifier.requirements.kinds import Rule, Supported, Violation
from skep.verifier.since.needs import find_needs, missing
from skep.verifier.state.catcher import exception_callback
from skep.verifier.state.world import World

_ALLOCATIONS = 200_000  # between two looks
_HANDLED = frozenset(
    {
        ProgType.XDP,
        ProgType.SCHED_CLS,
        ProgType.SCHED_ACT,
        ProgType.SOCKET_FILTER,
        ProgType.CGROUP_SKB,
        ProgType.TRACEPOINT,
        ProgType.RAW_TRACEPOINT,
        ProgType.KPROBE,
        ProgType.PERF_EVENT,
        ProgType.SYSCALL,
        ProgType.CGROUP_SOCK,
        ProgType.CGROUP_SOCK_ADDR,
        ProgType.CGROUP_SOCKOPT,
        ProgType.CGROUP_SYSCTL,
        ProgType.CGROUP_DEVICE,
        ProgType.SOCK_OPS,
        ProgType.SK_SKB,
        ProgType.SK_MSG,
        ProgType.SK_LOOKUP,
        ProgType.SK_REUSEPORT,
        ProgType.FLOW_DISSECTOR,
        ProgType.LWT_IN,
        ProgType.LWT_OUT,
        ProgType.LWT_XMIT,
        ProgType.LWT_SEG6LOCAL,
        ProgType.LIRC_MODE2,
        ProgType.TRACING,
        ProgType.LSM,
        ProgType.STRUCT_OPS,
        ProgType.RAW_TRACEPOINT_WRITABLE,
        ProgType.NETFILTER,
    }
)


def verify(linked: LinkedProgram, options: Options | None = None) -> VerifiedProgram:
    """Prove that a program is safe.

    Raises:
        RejectedError: it is not, or it cannot be shown.
        UnsupportedError: it uses something that this verifier does not handle yet; the diagnostic names it.
    """
    verdict = judge(linked, options)
    if verdict.outcome is Outcome.UNSUPPORTED:
        raise UnsupportedError(verdict.diagnostics)
    if verdict.facts is None:
        raise RejectedError(verdict.diagnostics)
    return VerifiedProgram(linked, verdict.facts, verdict.processed_insns)


def judge(linked: LinkedProgram, options: Options | None = None) -> Verdict:
    """Find out whether a program is safe, and whether its Target has all that it needs; never raises on a bad program.

    The rules are those of the newest kernel; a Target with an older kernel_version is asked for what came later.
    """
    verdict = judge_rules(linked, options)
    if linked.target.kernel_version[:2] >= NEWEST:
        return verdict
    return older_verdict(linked, verdict)


def older_verdict(linked: LinkedProgram, verdict: Verdict) -> Verdict:
    """What becomes of the newest rules' verdict on the Target's kernel: one diagnostic for each thing it lacks."""
    if verdict.outcome is Outcome.REJECTED:
        return verdict
    # What is not handled may still lack something that everybody can see: the program's type, its maps.
    visited = None if verdict.facts is not None else frozenset[int]()
    needs = missing(find_needs(linked, verdict, visited), linked.target.kernel_version[:2])
    blockers = tuple(diagnose(need.violation(), linked) for need in needs if not need.loads)
    if not blockers:
        return verdict
    return Verdict(Outcome.REJECTED, blockers, verdict.processed_insns)


def judge_rules(linked: LinkedProgram, options: Options | None = None) -> Verdict:
    """The verdict of the newest kernel's rules, whatever the Target's version."""
    chosen = options or Options()
    names = {sub.name: sub.start for sub in linked.subprograms}
    catcher = exception_callback(linked)
    flaws = structure.check(linked.insns, names, (catcher,) if isinstance(catcher, int) else ())
    if flaws:
        return Verdict(Outcome.REJECTED, tuple(diagnose(flaw, linked) for flaw in flaws), 0)
    if linked.prog_type is ProgType.EXT:
        extended = as_extended(linked, chosen)
        if isinstance(extended, Violation):
            return _refused(linked, extended)
        linked = extended
    if linked.prog_type not in _HANDLED:
        return _unsupported(linked, f"programs of type {linked.prog_type.name}")
    if linked.target.byte_order != "little":
        return _unsupported(linked, "big-endian programs")
    world = World(linked, chosen, cfg.build(linked.insns, names))
    violation = capability_violation(world) or check_program(world) or check_maps(world)
    if violation is not None:
        return _negative(Finding(violation, ()), world, 0)
    with _collecting_seldom():
        walk = Walk(world, compile_steps(world))
        finding = _explore(walk, world)
    if chosen.listener is not None:
        chosen.listener.finished(walk.processed, walk.pruner.total, finding.violation.kernel if finding else "")
    if finding is not None:
        return _negative(finding, world, walk.processed)
    violation = stack_violation(world) or mixed_tail_calls(world)
    if violation is not None:
        return _negative(Finding(violation, ()), world, walk.processed)
    starts = tuple(extent.start for extent in world.flow.subprograms)
    return Verdict(Outcome.ACCEPTED, (), walk.processed, world.notes.facts(starts))


@contextlib.contextmanager
def _collecting_seldom() -> Iterator[None]:
    """Let Python look for cycles of garbage less often: states are many, live long and hold few cycles."""
    before = gc.get_threshold()
    if before[0]:  # 0: somebody switched it off
        gc.set_threshold(max(before[0], _ALLOCATIONS), *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _explore(walk: Walk, world: World) -> Finding | None:
    """The program, then every global function that something reaches."""
    # One that replaces a function begins as that function does.
    state = entry_state(world) if world.linked.extends is None else function_state(world, 0)
    if isinstance(state, Violation):
        return Finding(state, ())
    finding = walk.explore(0, state)
    done: set[int] = set()
    if world.exception_callback is not None:
        world.global_calls.add(world.exception_callback)
    while finding is None and world.global_calls - done:
        start = min(world.global_calls - done)
        done.add(start)
        entry = function_state(world, start)
        if isinstance(entry, Violation):
            return Finding(entry, ())
        finding = walk.explore(start, entry)
    return finding


def _unsupported(linked: LinkedProgram, feature: str) -> Verdict:
    violation = Violation(Rule.UNSUPPORTED, Supported(feature), feature, None, {"feature": feature, "instead": ""}, 0)
    return Verdict(Outcome.UNSUPPORTED, (diagnose(violation, linked),), 0)


def _refused(linked: LinkedProgram, violation: Violation) -> Verdict:
    outcome = Outcome.UNSUPPORTED if violation.rule is Rule.UNSUPPORTED else Outcome.REJECTED
    return Verdict(outcome, (diagnose(violation, linked),), 0)


def _negative(finding: Finding, world: World, processed: int) -> Verdict:
    diagnostic: Diagnostic = diagnose(finding.violation, world.linked, finding.trace, finding.state)
    outcome = Outcome.UNSUPPORTED if finding.violation.rule is Rule.UNSUPPORTED else Outcome.REJECTED
    return Verdict(outcome, (diagnostic,), processed)
