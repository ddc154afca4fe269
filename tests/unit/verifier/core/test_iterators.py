"""Iterators that a program drives itself, saved interrupt flags, and what may be done to their bytes on the stack."""

from __future__ import annotations

import pytest

from skep.abi.prog_types import ProgType
from skep.model.programs import Outcome
from skep.verifier.state.iterators import Iterator
from skep.verifier.state.stack import ITERATOR, Cell, object_index, overwritten, part_of, scrubbed
from skep.verifier.state.values import Kind, Pointer
from tests.unit.verifier.core.kernel_types import KERNEL, check
from tests.unit.verifier.core.linked import said

END = "r0 = 0\nexit\n"
NEW, NEXT, DESTROY = "bpf_iter_num_new", "bpf_iter_num_next", "bpf_iter_num_destroy"
SAVE, RESTORE = "bpf_local_irq_save", "bpf_local_irq_restore"
LOCK, UNLOCK = "bpf_rcu_read_lock", "bpf_rcu_read_unlock"
TASKS = tuple(f"bpf_iter_task_{verb}" for verb in ("new", "next", "destroy"))


def at(place: int, register: int = 1) -> str:
    return f"r{register} = r10\nr{register} += {place}\n"


def new(place: int = -8) -> str:
    return at(place) + "r2 = 0\nr3 = 10\ncall 0\n"


def call(place: int = -8) -> str:
    return at(place) + "call 0\n"


def loop(body: str, place: int = -8) -> str:
    """While next gives something, ``body`` (one instruction a line)."""
    count = len(body.splitlines())
    return call(place) + f"if r0 == 0 goto +{count + 1}\n{body}goto -{count + 5}\n"


WHILE = (NEW, NEXT, DESTROY)


@pytest.mark.parametrize(
    ("text", "kfuncs"),
    [
        (new() + call() + call() + END, WHILE),
        (new() + loop("r1 = *(u32 *)(r0 +0)\n") + call() + END, WHILE),
        (new() + call() + new() + call() + END, (NEW, DESTROY, NEW, DESTROY)),
        ("r6 = 0\n" + new() + loop("r6 += 1\n") + call() + END, WHILE),
        (new(-8) + new(-16) + call(-8) + call(-16) + END, (NEW, NEW, DESTROY, DESTROY)),
        ("r0 = 1\n*(u64 *)(r10 -8) = r0\n" + new() + call() + END, (NEW, DESTROY)),
    ],
    ids=["new-next-destroy", "loop", "twice", "counter", "two", "over-data"],
)
def test_right_order(text: str, kfuncs: tuple[str, ...]) -> None:
    verdict = check(text, *kfuncs)
    assert verdict.outcome is Outcome.ACCEPTED, said(verdict)


@pytest.mark.parametrize(
    ("text", "kfuncs", "sentence"),
    [
        (call() + END, (NEXT,), "expected an initialized iter_num as arg #0"),
        (call() + END, (DESTROY,), "expected an initialized iter_num as arg #0"),
        (new() + new() + END, (NEW, NEW), "expected uninitialized iter_num as arg #0"),
        (new() + END, (NEW,), "would lead to reference leak"),
        (new() + call() + call() + END, (NEW, DESTROY, DESTROY), "expected an initialized iter_num"),
        (new() + call(-16) + END, (NEW, NEXT), "expected an initialized iter_num"),
        (new() + call() + "r0 = *(u32 *)(r0 +0)\n" + call() + END, WHILE, "R0 invalid mem access"),
        ("r1 = 8\ncall 0\n" + END, (NEXT,), "arg#0 expected pointer to an iterator on stack"),
        (new(-4) + END, (NEW,), "expected uninitialized iter_num as arg #0"),
        (new(-520) + END, (NEW,), "invalid write to stack R1 off=-520 size=8"),
        (new() + "*(u64 *)(r10 -8) = 1\n" + call() + END, (NEW, DESTROY), "expected an initialized iter_num"),
        (new() + "*(u8 *)(r10 -3) = 1\n" + call() + END, (NEW, DESTROY), "expected an initialized iter_num"),
        (new() + "r0 = *(u32 *)(r10 -4)\n" + call() + END, (NEW, DESTROY), "invalid read from stack off -4+0 size 4"),
        (new() + at(-16) + "r2 = 16\ncall 6\n" + call() + END, (NEW, DESTROY), "invalid read from stack R1 off -16+8"),
        (new() + at(-16) + "r2 = 16\ncall 16\n" + call() + END, (NEW, DESTROY), "expected an initialized iter_num"),
        (
            at(-16) + "r2 = 0\nr3 = 1\ncall 0\n" + new(-8) + END,
            ("bpf_iter_bits_new", NEW),
            "expected uninitialized iter_num",
        ),
        (
            at(-16) + "r2 = 0\nr3 = 1\ncall 0\n" + call(-16) + END,
            ("bpf_iter_bits_new", DESTROY),
            "expected an initialized iter_num",
        ),
    ],
)
def test_wrong_order(text: str, kfuncs: tuple[str, ...], sentence: str) -> None:
    verdict = check(text, *kfuncs)
    assert verdict.outcome is Outcome.REJECTED
    assert sentence in said(verdict)


def test_nothing_lies_above_the_stack() -> None:
    """Linux 6.18 takes r10 + 0 for r10 - 8 here."""
    verdict = check(new() + "r1 = r10\ncall 0\n" + END, NEW, DESTROY)
    assert "expected an initialized iter_num as arg #0" in said(verdict)


def test_elements_die_with_their_iterator() -> None:
    text = (
        new() + call() + "r6 = r0\nif r6 == 0 goto +5\n" + call() + "r0 = *(u32 *)(r6 +0)\n" + "exit\n" + call() + END
    )
    assert "R6 invalid mem access 'scalar'" in said(check(text, NEW, NEXT, DESTROY, DESTROY))


def test_a_drained_iterator_gives_nothing() -> None:
    """The second loop's body is never reached: what is wrong in it does not matter."""
    text = new() + loop("r1 = 0\n") + loop("r0 = *(u64 *)(r0 +100)\n") + call() + END
    assert check(text, NEW, NEXT, NEXT, DESTROY).outcome is Outcome.ACCEPTED


# Widening may not hide what a later round does: each of these goes wrong after some rounds only.
UNSAFE_LOOPS = [
    # r6 grows until it leaves the stack
    "r6 = 0\n" + new() + loop("r1 = r10\nr1 += r6\n*(u8 *)(r1 -64) = 1\nr6 += 8\n") + call() + END,
    # the same through a spilled counter
    "*(u64 *)(r10 -16) = 0\n"
    + new()
    + loop("r6 = *(u64 *)(r10 -16)\nr1 = r10\nr1 += r6\n*(u8 *)(r1 -64) = 1\nr6 += 8\n*(u64 *)(r10 -16) = r6\n")
    + call()
    + END,
    # only after the loop
    "r6 = 0\n" + new() + loop("r6 += 8\n") + call() + "r1 = r10\nr1 += r6\n*(u8 *)(r1 -64) = 1\n" + END,
    # the bad number arrives two rounds later: r6 <- r7 <- r8
    "r6 = 0\nr7 = 0\nr8 = 0\n"
    + new()
    + loop("r6 = r7\nr7 = r8\nr8 = 1000\nr1 = r10\nr1 += r6\n*(u8 *)(r1 -64) = 1\n")
    + call()
    + END,
    # a pointer that is one in the first round only
    "r6 = r10\n" + new() + loop("*(u64 *)(r6 -64) = 1\nr6 = 0\n") + call() + END,
    # destroyed in the loop
    new() + loop("r1 = r10\nr1 += -8\ncall 0\n") + call() + END,
    # one more iterator in each round is never destroyed
    new() + loop("r1 = r10\nr1 += -16\nr2 = 0\nr3 = 5\ncall 0\n") + call() + END,
]


@pytest.mark.parametrize("text", UNSAFE_LOOPS)
def test_widening_hides_nothing(text: str) -> None:
    kfuncs = {5: (NEW, NEXT, DESTROY, DESTROY), 6: (NEW, NEXT, NEW, DESTROY)}.get(UNSAFE_LOOPS.index(text), WHILE)
    assert check(text, *kfuncs).outcome is Outcome.REJECTED


def test_bounds_survive_in_loops_where_they_are_checked() -> None:
    body = "if r6 >= 50 goto +5\nr1 = r10\nr1 += r6\n*(u8 *)(r1 -64) = 1\nr6 += 1\nr6 &= 0xff\n"
    assert check("r6 = 0\n" + new() + loop(body) + call() + END, *WHILE).outcome is Outcome.ACCEPTED


def test_nested_loops_converge() -> None:
    inner = new(-16) + loop("r7 += 1\n", -16) + call(-16)
    text = "r7 = 0\n" + new() + loop(inner) + call() + END
    verdict = check(text, NEW, NEXT, NEW, NEXT, DESTROY, DESTROY)
    assert verdict.outcome is Outcome.ACCEPTED, said(verdict)
    assert verdict.processed_insns < 1000


def test_a_loop_without_progress_is_infinite() -> None:
    verdict = check("r6 = 0\n" + new() + "if r6 == 0 goto -1\n" + call() + END, NEW, DESTROY)
    assert "infinite loop detected" in said(verdict)


def task_loop(*, locked: bool, body: str = "") -> str:
    lines = at(-24) + "r2 = 0\nr3 = 0\ncall 0\n" + loop(body or "r1 = *(u32 *)(r0 +0)\n", -24) + call(-24)
    return f"call 0\n{lines}call 0\n" + END if locked else lines + END


def test_rcu_protected_iterators() -> None:
    sleepable: dict[str, object] = {"prog_type": ProgType.SYSCALL, "attach_type": None, "sleepable": True}
    assert check(task_loop(locked=False), *TASKS).outcome is Outcome.ACCEPTED
    assert check(task_loop(locked=True), LOCK, *TASKS, UNLOCK, **sleepable).outcome is Outcome.ACCEPTED
    needed = check(task_loop(locked=False), *TASKS, **sleepable)
    assert "requires RCU critical section protection" in said(needed)
    text = "call 0\n" + at(-24) + "r2 = 0\nr3 = 0\ncall 0\ncall 0\n" + call(-24) + END
    left = check(text, LOCK, TASKS[0], UNLOCK, TASKS[2], **sleepable)
    assert "expected an RCU CS when using bpf_iter_task_destroy" in said(left)


def test_elements_under_rcu_can_be_acquired() -> None:
    body = "r1 = r0\ncall 0\nif r0 == 0 goto +2\nr1 = r0\ncall 0\n"
    kfuncs = (TASKS[0], TASKS[1], "bpf_task_acquire", "bpf_task_release", TASKS[2])
    verdict = check(task_loop(locked=False, body=body), *kfuncs)
    assert verdict.outcome is Outcome.ACCEPTED, said(verdict)


def test_tasks_of_a_css_need_a_program_that_may_walk_them() -> None:
    text = at(-8) + "r2 = 0\nr3 = 0\ncall 0\n" + call() + END
    names = ("bpf_iter_css_task_new", "bpf_iter_css_task_destroy")
    assert "css_task_iter is only allowed in bpf_lsm, bpf_iter and sleepable progs" in said(check(text, *names))


@pytest.mark.parametrize(
    ("text", "kfuncs", "sentence"),
    [
        (call(-8) + END, (SAVE,), "cannot be used inside bpf_local_irq_save-ed region"),
        (call(-8) + END, (RESTORE,), "expected an initialized irq flag as arg#0"),
        ("r1 = 0\ncall 0\n" + END, (SAVE,), "arg#0 doesn't point to an irq flag on stack"),
        (call(-8) + call(-8) + END, (SAVE, SAVE), "expected uninitialized irq flag as arg#0"),
        (
            call(-8) + call(-16) + call(-8) + call(-16) + END,
            (SAVE, SAVE, RESTORE, RESTORE),
            "cannot restore irq state out of order, expected id=",
        ),
        (call(-8) + "*(u64 *)(r10 -8) = 0\n" + call(-8) + END, (SAVE, RESTORE), "expected an initialized irq flag"),
        (call(-8) + "r0 = *(u64 *)(r10 -8)\n" + call(-8) + END, (SAVE, RESTORE), "invalid read from stack"),
        (call(-8) + "r0 = 0\ncall 0\n" + END, (SAVE, "bpf_throw"), "R1 !read_ok"),
    ],
)
def test_wrong_interrupt_flags(text: str, kfuncs: tuple[str, ...], sentence: str) -> None:
    assert sentence in said(check(text, *kfuncs))


def test_interrupt_flags_nest() -> None:
    text = call(-8) + call(-16) + call(-16) + call(-8) + END
    assert check(text, SAVE, SAVE, RESTORE, RESTORE).outcome is Outcome.ACCEPTED


def test_nothing_sleeps_with_interrupts_off() -> None:
    text = call(-8) + at(-16) + "r2 = 8\nr3 = 0\ncall 148\n" + call(-8) + END
    verdict = check(text, SAVE, RESTORE, prog_type=ProgType.SYSCALL, attach_type=None, sleepable=True)
    assert "sleepable helper bpf_copy_from_user#148 in IRQ-disabled region" in said(verdict)


def test_places_of_objects() -> None:
    assert object_index(Pointer(Kind.STACK, -8), 1) == 0
    assert object_index(Pointer(Kind.STACK, -24), 3) == 2
    assert object_index(Pointer(Kind.STACK, -8), 2) is None
    assert object_index(Pointer(Kind.STACK, -12), 1) is None
    assert object_index(Pointer(Kind.STACK, 0), 1) is None


def test_cells_of_objects() -> None:
    held = Iterator(0, 7, KERNEL, 1)
    cell = part_of(held, ITERATOR)
    assert cell.types == bytes([ITERATOR] * 8)
    assert scrubbed(cell).types == bytes([1] * 8)
    assert overwritten(cell, 2, 4).object is None
    assert Cell(bytes(8)).object is None


def test_iterators_are_alike() -> None:
    def same(a: int, b: int) -> bool:
        return (a, b) in ((7, 9), (0, 0))

    old = Iterator(0, 7, KERNEL, 1)
    assert old.covers(Iterator(0, 9, KERNEL, 1, depth=3), same)
    assert not old.covers(Iterator(0, 9, KERNEL, 1, drained=True), same)
    assert not old.covers(Iterator(0, 9, KERNEL, 2), same)
    assert not old.covers(Iterator(0, 8, KERNEL, 1), same)
    assert not old.covers(Iterator(1, 9, KERNEL, 1), same)
