"""Ends of paths: what may be left open, what r0 must be; and what cannot be proved at all."""

from __future__ import annotations

from skep.verifier.domains.scalar import Scalar
from skep.verifier.prove import regions
from skep.verifier.requirements.kinds import (
    Event,
    NothingOpen,
    Requirement,
    ResultInRange,
    Rule,
    Supported,
    Unreachable,
    Violation,
)
from skep.verifier.state.machine import MachineState
from skep.verifier.state.returns import range_at_exit, returns_nothing, returns_object
from skep.verifier.state.values import Kind, Number, Pointer
from skep.verifier.state.world import World

_S64 = 1 << 63
_SENTENCES = {
    Event.EXIT: "BPF_EXIT instruction in main prog would lead to reference leak",
    Event.TAIL_CALL: "tail_call would lead to reference leak",
    Event.LEGACY_LOAD: "BPF_LD_[ABS|IND] would lead to reference leak",
}


def nothing_open(need: NothingOpen, state: MachineState, world: World) -> Violation | None:
    """No reference is open; at the exit of a subprogram it may be (the caller can release it), of a callback not."""
    leaves = need.event is not Event.EXIT or len(state.frames) == 1
    if leaves and state.locks:
        return _inside(need, need.event, "bpf_spin_lock", "a lock is held")
    return _no_reference(need, state) or (sections_closed(need, state, need.event) if leaves else None)


def _no_reference(need: NothingOpen, state: MachineState) -> Violation | None:
    refs = state.refs
    if not refs:
        return None
    if need.event is Event.EXIT and len(state.frames) > 1:
        frame = state.frame
        if frame.callback is None:
            return None
        refs = tuple(ref for ref in refs if ref[0] > frame.refs_before)
        if not refs:
            return None
    values = {"event": need.event.value, "acquired_at": refs[0][1]}
    return Violation(Rule.REFERENCE_LEAK, need, _SENTENCES[need.event], None, values)


_PLACES = {
    Event.EXIT: "BPF_EXIT instruction in main prog",
    Event.TAIL_CALL: "tail_call",
    Event.LEGACY_LOAD: "BPF_LD_[ABS|IND]",
    Event.THROW: "bpf_throw",
}


def sections_closed(need: Requirement, state: MachineState, event: Event) -> Violation | None:
    """No critical section is open (kernel: check_resource_leak)."""
    if state.locks:
        return _inside(need, event, "bpf_spin_lock", "a lock is held")
    if state.irqs:
        region, section = "bpf_local_irq_save", "interrupts are off"
    elif state.sections.rcu:
        region, section = "bpf_rcu_read_lock", "the RCU read lock is held"
    elif state.sections.preempt:
        region, section = "bpf_preempt_disable", "preemption is disabled"
    else:
        return None
    return _inside(need, event, region, section)


def _inside(need: Requirement, event: Event, region: str, section: str) -> Violation:
    said = f"{_PLACES[event]} cannot be used inside {region}-ed region"
    return Violation(Rule.SECTION_OPEN, need, said, None, {"event": event.value, "section": section})


def sleeps_in(state: MachineState, said: str) -> tuple[str, str] | None:
    """The kernel's sentence, and ours, if nothing may sleep here."""
    if state.sections.rcu:
        return f"{said} rcu_read_lock region", "the RCU read lock is held"
    if state.sections.preempt:
        return f"{said} non-preemptible region", "preemption is disabled"
    if state.irqs:
        return f"{said} IRQ-disabled region", "interrupts are off"
    return None


def result_in_range(need: ResultInRange, state: MachineState, world: World) -> Violation | None:
    """r0 at exit of the top frame."""
    result = state.regs[0]
    frame = state.frame
    if len(state.frames) > 1:
        if isinstance(result, Pointer) and result.kind is Kind.STACK:
            said = "cannot return stack pointer to the caller"
            return Violation(Rule.STACK_ESCAPE, need, said, 0, {"pointer": "fp"})
        if frame.callback is None:
            return None
        return within(need, result, frame.callback, "callback", "At callback return")
    if frame.callback is not None:
        return within(need, result, frame.callback, "callback", "At async callback return")
    if frame.start == 0 and returns_nothing(world):
        return None
    if result is None:
        return Violation(Rule.RETURN_UNINITIALISED, need, "R0 !read_ok", 0)
    if frame.start not in (0, world.exception_callback):
        if not isinstance(result, Number):
            said = f"At subprogram exit the register R0 is not a scalar value ({result.name})"
            return Violation(Rule.RETURN_KIND, need, said, 0, {"pointer": result.name})
        return None
    if isinstance(result, Pointer) and not world.linked.target.privileged:
        return Violation(Rule.POINTER_LEAK, need, "R0 leaks addr as return value", 0, {"pointer": result.name})
    if returns_object(world, result):
        return regions.unmoved(need, result, 0) if isinstance(result, Pointer) else None
    wanted = range_at_exit(world)
    if wanted is None:
        return None
    return within(need, result, wanted, "program", "At program exit")


def within(
    need: Requirement,
    result: Number | Pointer | None,
    wanted: tuple[int, int],
    where: str,
    prefix: str,
    reg: int = 0,
) -> Violation | None:
    """The result is a number from low to high (kernel: check_return_code)."""
    if result is None:
        return Violation(Rule.RETURN_UNINITIALISED, need, f"R{reg} !read_ok", reg)
    if isinstance(result, Pointer):
        said = f"{prefix} the register R{reg} is not a known value ({result.name})"
        return Violation(Rule.RETURN_KIND, need, said, reg, {"pointer": result.name, "where": where})
    result.rely()
    low, high = wanted
    known = result.range
    if known.smin >= low and known.smax <= high:
        return None
    said = f"{prefix} the register R{reg} has {_shown(known)} should have been in [{low}, {high}]"
    values = {"low": low, "high": high, "known_low": known.smin, "known_high": known.smax, "where": where}
    return Violation(Rule.RETURN_RANGE, need, said, reg, values)


def _shown(known: Scalar) -> str:
    """The range, as the kernel writes it (verbose_invalid_scalar)."""
    low = f"smin={known.smin}" if known.smin > -_S64 else ""
    high = f"smax={known.smax}" if known.smax < _S64 - 1 else ""
    return f"{low} {high}".strip() or "unknown scalar value"


def unreachable(need: Unreachable, state: MachineState, world: World) -> Violation | None:
    """A path is here, so it is reachable."""
    said = "invalid func unknown#195896080"
    return Violation(Rule.POISONED, need, said, None, {"reason": need.reason})


def supported(need: Supported, state: MachineState, world: World) -> Violation | None:
    """Never, yet."""
    values = {"feature": need.feature, "instead": need.instead}
    return Violation(Rule.UNSUPPORTED, need, f"{need.feature} not supported by skep's verifier", None, values)
