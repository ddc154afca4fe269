"""Guards 2 to 4 of the verifier on generated programs, and proof that each of them notices a broken verifier."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skep.abi.prog_types import ProgType
from skep.isa import opcodes as op
from skep.isa.instruction import Instruction
from skep.model.programs import Outcome, VerifiedProgram
from skep.testing.differential import Difference, Report, examine, listing, run_on_vm
from skep.testing.fuzz import choose
from skep.testing.generate import Sample
from skep.testing.guards import Companion, Invariants
from skep.testing.samples import link_sample
from skep.testing.strategies import samples
from skep.verifier import judge
from skep.verifier.domains import alu, branch
from skep.verifier.domains.scalar import Scalar
from skep.verifier.options import Options
from skep.verifier.prove import regions

_QUIET = (HealthCheck.too_slow, HealthCheck.filter_too_much)


@settings(max_examples=50, deadline=None, suppress_health_check=_QUIET)
@given(samples(mutants=True))
def test_guards_hold(sample: Sample) -> None:
    report = examine(sample, None, compare_runs=False, guard=True)
    assert not report.differences, f"{report}\n{listing(link_sample(sample))}"


def test_the_guards_look_at_something() -> None:
    """Accepted programs are really watched, step by step, and what is known about registers is more than nothing."""
    steps = held = 0
    for seed in range(12):
        sample = choose(seed, None)
        linked = link_sample(sample)
        invariants, companion = Invariants(linked), Companion(linked)
        verdict = judge(linked, Options(observe=invariants.observe))
        if verdict.outcome is not Outcome.ACCEPTED or verdict.facts is None:
            continue
        proved = VerifiedProgram(linked, verdict.facts, verdict.processed_insns)
        run_on_vm(sample, proved, interpret=True, watch=companion.watch)
        run_on_vm(sample, proved, interpret=True, watch=invariants.watch)
        assert companion.checked == invariants.checked
        steps += companion.checked
        held += sum(
            value is not None and getattr(value, "range", None) != Scalar.UNKNOWN
            for states in invariants.seen.values()
            for state in states
            for value in state.regs[:10]
        )
    assert steps > 500
    assert held > 500


# ---- each guard finds a verifier that is wrong ----


def _found(kind: Difference, first: int = 20) -> Report | None:
    """The first program that shows it, from a seed on that is near one (it need not be, after changes)."""
    for seed in range(first, first + 150):
        for mutation in (None, 0):
            report = examine(choose(seed, mutation), None, compare_runs=False, guard=True)
            if any(found is kind for found, _ in report.differences):
                return report
    return None


def _wrong_apply(code: int, a: Scalar, b: Scalar, width: int = 64, signed: bool = False) -> Scalar:
    """32-bit additions whose result is taken for the 64-bit one: a bug that Linux had."""
    return _APPLY(code, a, b, 64 if code == op.ADD else width, signed)


def _wrong_refine(code: int, a: Scalar, b: Scalar, width: int) -> Any:
    """Signed comparisons taken for unsigned ones."""
    return _REFINE({op.JSGT: op.JGT, op.JSLT: op.JLT}.get(code, code), a, b, width)


def _wrong_extension(a: Scalar, bits: int, width: int) -> Scalar:
    """Sign extension that forgets the sign."""
    return alu.truncate(a, bits // 8)


_APPLY, _REFINE = alu.apply, branch.refine
WRONG: dict[str, tuple[Any, str, Callable[..., Any], int]] = {
    "32-bit addition": (alu, "apply", _wrong_apply, 25),
    "comparison": (branch, "refine", _wrong_refine, 100),
    "sign extension": (alu, "sign_extend", _wrong_extension, 25),
}


@pytest.mark.parametrize("name", WRONG)
def test_guard_2_notices_wrong_transfer(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, function, wrong, first = WRONG[name]
    monkeypatch.setattr(module, function, wrong)
    assert _found(Difference.STEP, first) is not None


def test_guard_3_notices_missing_bounds_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regions, "packet", lambda *_, **__: None)
    assert _found(Difference.FAULT, 0) is not None


def test_guard_4_notices_wrong_pruning(monkeypatch: pytest.MonkeyPatch) -> None:
    """States that are pruned without a look at numbers that proofs relied on."""
    from skep.verifier.explore import covers

    monkeypatch.setattr(covers.Comparison, "_numbers", lambda *_: True)
    assert _found(Difference.INVARIANT) is not None


# ---- guard 2 for single steps: all operations on members of any set ----

_NUMBERS = st.one_of(
    st.integers(0, 16), st.integers(0, (1 << 64) - 1), st.sampled_from([1 << 31, 1 << 63, (1 << 32) - 1])
)
_ALU = [op.ADD, op.SUB, op.MUL, op.DIV, op.OR, op.AND, op.MOD, op.XOR, op.MOV, op.LSH, op.RSH, op.ARSH]
_JUMPS = [op.JEQ, op.JGT, op.JGE, op.JSET, op.JNE, op.JSGT, op.JSGE, op.JLT, op.JLE, op.JSLT, op.JSLE]


@st.composite
def straight_lines(draw: st.DrawFn) -> Sample:
    """Numbers from the packet, conditions and operations on them, no memory: more values than programs have."""
    insns = [
        Instruction(op.LDX | op.MEM | op.W, 7, 1, 0),
        Instruction(op.LDX | op.MEM | op.W, 8, 1, 4),
        Instruction(op.ALU64 | op.MOV | op.X, 2, 7),
        Instruction(op.ALU64 | op.ADD | op.K, 2, imm=24),
        Instruction(op.JMP | op.JLE | op.X, 2, 8, 2),
        Instruction(op.ALU64 | op.MOV | op.K, 0),
        Instruction(op.JMP | op.EXIT),
        *(Instruction(op.LDX | op.MEM | op.DW, r, 7, 8 * number) for number, r in enumerate((3, 4, 5))),
    ]
    for _ in range(draw(st.integers(1, 14))):
        dst, src = draw(st.sampled_from((3, 4, 5))), draw(st.sampled_from((3, 4, 5)))
        if draw(st.booleans()):
            group, code = draw(st.sampled_from((op.ALU, op.ALU64))), draw(st.sampled_from(_ALU))
            if draw(st.booleans()):
                insns.append(Instruction(group | code | op.X, dst, src))
            else:
                low = draw(_NUMBERS) & 0x7FFFFFFF
                shift = low & (31 if group == op.ALU else 63)
                imm = shift if code in (op.LSH, op.RSH, op.ARSH) else low or 1
                insns.append(Instruction(group | code | op.K, dst, imm=imm))
        else:
            group, code = draw(st.sampled_from((op.JMP, op.JMP32))), draw(st.sampled_from(_JUMPS))
            skipped = Instruction(op.ALU64 | op.ADD | op.K, dst, imm=1)
            if draw(st.booleans()):
                insns += [Instruction(group | code | op.X, dst, src, 1), skipped]
            else:
                insns += [Instruction(group | code | op.K, dst, off=1, imm=draw(_NUMBERS) & 0x7FFFFFFF), skipped]
    insns += [Instruction(op.ALU64 | op.MOV | op.X, 0, 3), Instruction(op.JMP | op.EXIT)]
    packets = tuple(
        b"".join(draw(_NUMBERS).to_bytes(8, "little") for _ in range(3)) + bytes(8)
        for _ in range(draw(st.integers(1, 4)))
    )
    return replace(choose(0, None), insns=tuple(insns), maps=(), target=(), packets=packets, prog_type=_XDP)


_XDP = ProgType.XDP


@settings(max_examples=200, deadline=None, suppress_health_check=_QUIET)
@given(straight_lines())
def test_single_steps_stay_inside(sample: Sample) -> None:
    report = examine(sample, None, compare_runs=False, guard=True)
    assert report.ours is not None
    assert not report.differences, f"{report}\n{listing(link_sample(sample))}"
