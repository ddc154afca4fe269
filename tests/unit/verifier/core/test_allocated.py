"""Kptrs, allocated objects, lists and trees (kernel: check_map_kptr_access, check_kfunc_args, check_kfunc_call)."""

from __future__ import annotations

import pytest

from skep.model.programs import Outcome, Verdict
from tests.unit.verifier.core.allocated_types import BRANCH, COUNTED, ITEM, LOOKUP, PLAIN, POINTING, check
from tests.unit.verifier.core.linked import said

NEW, DROP = "bpf_obj_new_impl", "bpf_obj_drop_impl"
NEW_PERCPU, DROP_PERCPU = "bpf_percpu_obj_new_impl", "bpf_percpu_obj_drop_impl"
ACQUIRE = "bpf_refcount_acquire_impl"
PUSH, POP, FRONT = "bpf_list_push_front_impl", "bpf_list_pop_front", "bpf_list_front"
ADD, FIRST, REMOVE = "bpf_rbtree_add_impl", "bpf_rbtree_first", "bpf_rbtree_remove"
LOCK, UNLOCK = "r1 = &shared\ncall 93\n", "r1 = &shared\ncall 94\n"
END = "r0 = 0\nexit\n"


def make(type: int, into: str = "r7") -> str:
    """Allocate; end where there is no memory."""
    return f"r1 = {type}\nr2 = 0\ncall 0\nif r0 != 0 goto +1\nexit\n{into} = r0\n"


def drop(reg: str = "r7") -> str:
    return f"r1 = {reg}\nr2 = 0\ncall 0\n"


def accepted(verdict: Verdict) -> bool:
    assert verdict.outcome is not Outcome.UNSUPPORTED, said(verdict)
    return verdict.outcome is Outcome.ACCEPTED


def test_an_object_is_written_read_and_dropped() -> None:
    text = make(PLAIN) + "*(u64 *)(r7 +0) = 1\nr8 = *(u32 *)(r7 +8)\n" + drop() + END
    assert accepted(check(text, NEW, DROP))


@pytest.mark.parametrize(
    ("text", "kfuncs", "sentence"),
    [
        (f"r1 = {PLAIN}\nr2 = 0\ncall 0\n" + END, (NEW,), "BPF_EXIT instruction in main prog would lead to reference"),
        (f"r1 = {PLAIN}\nr2 = 0\ncall 0\nr1 = r0\n" + drop("r0") + END, (NEW, DROP), "Possibly NULL pointer passed to"),
        (make(PLAIN) + drop() + "r1 = *(u64 *)(r7 +0)\n" + END, (NEW, DROP), "R7 invalid mem access 'scalar'"),
        (make(PLAIN) + drop() + drop() + END, (NEW, DROP, DROP), "R1 must be referenced or trusted"),
        (make(PLAIN) + "*(u64 *)(r7 +16) = 1\n" + drop() + END, (NEW, DROP), "access beyond struct mine"),
        (make(PLAIN) + "r7 += 8\n" + drop() + END, (NEW, DROP), "R1 must have zero offset"),
        (make(ITEM) + "*(u64 *)(r7 +16) = 1\n" + drop() + END, (NEW, DROP), "direct access to bpf_list_node"),
        (make(PLAIN) + drop() + END, (NEW, DROP_PERCPU), "arg#0 expected for bpf_obj_drop_impl()"),
        (make(PLAIN) + drop() + END, (NEW_PERCPU, DROP), "arg#0 expected for bpf_percpu_obj_drop_impl()"),
        (make(PLAIN) + "r1 = *(u64 *)(r7 +0)\n" + drop() + END, (NEW_PERCPU, DROP_PERCPU), "access percpu memory"),
        (make(1) + END, (NEW,), "type ID argument must be of a struct"),
        (make(POINTING) + END, (NEW_PERCPU,), "must be of a struct of scalars"),
        (make(ITEM) + END, (NEW_PERCPU,), "must not contain special fields"),
        (make(9999) + END, (NEW,), "type ID argument must be of a struct"),
        ("r1 = 0x100000001 ll\nr2 = 0\ncall 0\nexit", (NEW,), "must be in range [0, U32_MAX]"),
        ("call 7\nr1 = r0\nr2 = 0\ncall 0\nexit", (NEW,), "R1 must be a known constant"),
    ],
)
def test_objects_that_are_used_in_the_wrong_way(text: str, kfuncs: tuple[str, ...], sentence: str) -> None:
    verdict = check(text, *kfuncs)
    assert not accepted(verdict)
    assert sentence in said(verdict)


def test_what_a_program_wrote_into_an_object_is_no_pointer() -> None:
    verdict = check(make(POINTING) + "r1 = *(u64 *)(r7 +8)\n" + drop() + END, NEW, DROP)
    assert "direct access to kptr is disallowed" in said(verdict)


XCHG = "r1 = r6\nr1 += {at}\nr2 = {value}\ncall 194\n"
KEEP = "if r0 == 0 goto +3\n" + drop("r0")


def test_an_exchange_gives_the_old_object_and_takes_the_new_one() -> None:
    text = make(PLAIN) + XCHG.format(at=16, value="r7") + KEEP + END
    assert accepted(check(LOOKUP + text, NEW, DROP))


@pytest.mark.parametrize(
    ("text", "kfuncs", "sentence"),
    [
        (XCHG.format(at=16, value=0) + END, (), "would lead to reference leak"),
        (XCHG.format(at=32, value=0) + KEEP + END, (DROP,), "off=32 doesn't point to kptr"),
        (XCHG.format(at=8, value=0) + KEEP + END, (DROP,), "off=8 kptr isn't referenced kptr"),
        (
            make(ITEM) + XCHG.format(at=16, value="r7") + KEEP + END,
            (NEW, DROP),
            "invalid kptr access, R2 type=ptr_item",
        ),
        (make(PLAIN) + "r7 += 8\n" + XCHG.format(at=16, value="r7") + END, (NEW,), "invalid kptr access"),
        (XCHG.format(at=16, value="r6") + END, (), "R2 type=map_value expected=ptr_, trusted_ptr_, rcu_ptr_"),
        (make(PLAIN) + XCHG.format(at=16, value="r7") + KEEP + "*(u64 *)(r7 +0) = 1\n" + END, (NEW, DROP), "'scalar'"),
        ("*(u64 *)(r6 +16) = 0\n" + END, (), "store to referenced kptr disallowed"),
        ("*(u64 *)(r6 +8) = 5\n" + END, (), "BPF_ST imm must be 0 when storing to kptr at off=8"),
        ("*(u32 *)(r6 +8) = 0\n" + END, (), "kptr access size must be BPF_DW"),
        ("r1 = *(u64 *)(r6 +4)\n" + END, (), "kptr access misaligned expected=0 off=4"),
        ("r1 = *(u64 *)(r6 +0)\nr1 = *(u32 *)(r1 +0)\n" + END, (), "R1 invalid mem access 'rcu_ptr_or_null_'"),
        ("r1 = *(u64 *)(r6 +8)\nr1 = *(u32 *)(r1 +0)\n" + END, (), "R1 invalid mem access 'untrusted_ptr_or_null_'"),
    ],
)
def test_fields_that_are_used_in_the_wrong_way(text: str, kfuncs: tuple[str, ...], sentence: str) -> None:
    verdict = check(LOOKUP + text, *kfuncs)
    assert not accepted(verdict)
    assert sentence in said(verdict)


def test_a_loose_field_takes_null_and_what_it_gave() -> None:
    assert accepted(check(LOOKUP + "*(u64 *)(r6 +8) = 0\n" + END))
    again = "r1 = *(u64 *)(r6 +8)\nif r1 == 0 goto +1\n*(u64 *)(r6 +8) = r1\n"
    assert accepted(check(LOOKUP + again + END))


LOADED = "r7 = *(u64 *)(r6 +16)\nif r7 == 0 goto +{skip}\n"


def test_a_loaded_object_is_there_as_long_as_rcu_protects_it() -> None:
    write = LOADED.format(skip=1) + "*(u64 *)(r7 +0) = 1\n" + END
    assert accepted(check(LOOKUP + write))  # such programs never sleep
    verdict = check(LOOKUP + write, sleepable=True)
    assert "only read is supported" in said(verdict)
    inside = "call 0\n" + LOADED.format(skip=1) + "*(u64 *)(r7 +0) = 1\ncall 0\n" + END
    rcu = ("bpf_rcu_read_lock", "bpf_rcu_read_unlock")
    assert accepted(check(LOOKUP + inside, *rcu, sleepable=True))
    after = "call 0\nr7 = *(u64 *)(r6 +16)\ncall 0\nif r7 == 0 goto +1\n*(u64 *)(r7 +0) = 1\n" + END
    assert "only read is supported" in said(check(LOOKUP + after, *rcu, sleepable=True))


def test_a_loaded_object_belongs_to_the_map() -> None:
    verdict = check(LOOKUP + LOADED.format(skip=3) + drop() + END, DROP)
    assert not accepted(verdict)


def test_per_cpu_objects_are_used_through_one_cpus_part_of_them() -> None:
    stored = make(PLAIN) + XCHG.format(at=24, value="r7") + KEEP
    use = "r1 = r7\ncall 154\n*(u64 *)(r0 +0) = 1\n"
    assert accepted(check(LOOKUP + stored + use + END, NEW_PERCPU, DROP_PERCPU))
    verdict = check(LOOKUP + stored + use + END, NEW_PERCPU, DROP_PERCPU, sleepable=True)
    assert "R1 type=scalar expected=percpu_ptr_" in said(verdict)
    early = check(make(PLAIN) + use + drop() + END, NEW_PERCPU, DROP_PERCPU)
    assert "R1 type=percpu_ptr_ expected=percpu_ptr_" in said(early)


PUSH_IT = "r1 = &shared+8\nr2 = r7\nr2 += 8\nr3 = 0\nr4 = 0\ncall 0\n"


def test_a_node_that_was_pushed_is_borrowed_until_the_lock_is_released() -> None:
    write = "*(u64 *)(r7 +32) = 1\n"
    assert accepted(check(make(ITEM) + LOCK + PUSH_IT + write + UNLOCK + END, NEW, PUSH))
    late = check(make(ITEM) + LOCK + PUSH_IT + UNLOCK + write + END, NEW, PUSH)
    assert "R7 invalid mem access 'scalar'" in said(late)
    twice = check(make(ITEM) + LOCK + PUSH_IT + PUSH_IT + UNLOCK + END, NEW, PUSH, PUSH)
    assert "arg#1 expected pointer to allocated object" in said(twice)


def test_a_list_needs_its_lock_and_its_own_type() -> None:
    unlocked = check(make(ITEM) + PUSH_IT + END, NEW, PUSH)
    assert "bpf_spin_lock at off=0 must be held for bpf_list_head" in said(unlocked)
    other = check(make(COUNTED) + LOCK + PUSH_IT + UNLOCK + END, NEW, PUSH)
    expected = "expects arg#1 bpf_list_node at offset=8 in struct item, but arg is at offset=8 in struct tally"
    assert expected in said(other)
    no_node = check(make(BRANCH) + LOCK + PUSH_IT + UNLOCK + END, NEW, PUSH)
    assert "bpf_list_node not found at offset=8" in said(no_node)
    no_list = check(LOCK + "r1 = &shared+16\ncall 0\n" + UNLOCK + END, FRONT)
    assert "bpf_list_head not found at offset=16" in said(no_list)


POP_IT = LOCK + "r1 = &shared+8\ncall 0\nr7 = r0\n" + UNLOCK


def test_a_node_that_is_popped_is_owned_and_may_be_null() -> None:
    gone = "if r7 == 0 goto +4\nr7 += -8\n" + drop()
    assert accepted(check(POP_IT + gone + END, POP, DROP))
    assert "would lead to reference leak" in said(check(POP_IT + END, POP))
    unchecked = check(POP_IT + "r7 += -8\n" + END, POP)
    assert "R7 pointer arithmetic on ptr_or_null_ prohibited" in said(unchecked)
    at_link = check(POP_IT + "if r7 == 0 goto +3\n" + drop() + END, POP, DROP)
    assert "R1 must have zero offset" in said(at_link)


def test_a_node_that_is_only_looked_at_stays_in_its_list() -> None:
    verdict = check(POP_IT + "if r7 == 0 goto +1\nr1 = *(u64 *)(r7 +24)\n" + END, FRONT)
    assert "R7 invalid mem access 'scalar'" in said(verdict)
    inside = LOCK + "r1 = &shared+8\ncall 0\nif r0 == 0 goto +1\n*(u64 *)(r0 +24) = 1\n" + UNLOCK + END
    assert accepted(check(inside, FRONT))


def test_a_second_reference_cannot_fail_where_the_program_has_one() -> None:
    again = make(COUNTED) + "r1 = r7\nr2 = 0\ncall 0\nr8 = r0\n" + drop("r8") + drop() + END
    assert accepted(check(again, NEW, ACQUIRE, DROP, DROP))
    verdict = check(make(ITEM) + "r1 = r7\nr2 = 0\ncall 0\n" + drop() + END, NEW, ACQUIRE, DROP)
    assert "arg#0 doesn't point to a type with bpf_refcount field" in said(verdict)


ADD_IT = "r1 = &shared+24\nr2 = r7\nr2 += 8\nr3 = &less\nr4 = 0\nr5 = 0\ncall 0\n"


@pytest.mark.parametrize(
    ("less", "kfuncs", "sentence"),
    [
        ("r0 = *(u64 *)(r1 -8)\nr0 &= 1\nexit", (), ""),
        ("*(u64 *)(r1 +32) = 1\nr0 = 0\nexit", (), ""),
        ("r0 = 2\nexit", (), "At callback return the register R0 has smin=2 smax=2 should have been in [0, 1]"),
        ("r0 = *(u64 *)(r1 +0)\nexit", (), "direct access to bpf_rb_node is disallowed"),
        ("call 0\nr0 = 0\nexit", ("bpf_rcu_read_lock",), "function calls are not allowed while holding a lock"),
        ("r0 = *(u64 *)(r3 +0)\nexit", (), "R3 !read_ok"),
    ],
)
def test_a_tree_compares_nodes_that_it_owns(less: str, kfuncs: tuple[str, ...], sentence: str) -> None:
    verdict = check(make(BRANCH) + LOCK + ADD_IT + UNLOCK + END, NEW, ADD, *kfuncs, less=less)
    assert sentence in said(verdict)
    assert accepted(verdict) == (not sentence)


def test_a_node_leaves_its_tree_through_a_pointer_that_was_checked() -> None:
    first = LOCK + "r1 = &shared+24\ncall 0\n{check}r2 = r0\nr1 = &shared+24\ncall 0\nr7 = r0\n" + UNLOCK
    gone = "if r7 == 0 goto +4\nr7 += -8\n" + drop() + END
    checked = "if r0 != 0 goto +5\n" + UNLOCK + END
    assert accepted(check(first.format(check=checked) + gone, FIRST, REMOVE, DROP))
    unchecked = check(first.format(check="") + gone, FIRST, REMOVE, DROP)
    assert "dereference of modified ptr_or_null_ ptr R2 off=8 disallowed" in said(unchecked)
