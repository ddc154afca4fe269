"""Kernel objects by BTF: contexts, members, trust; kernel functions, sections, exceptions, variables."""

from __future__ import annotations

import pytest

from skep.abi.attach_rules import refused
from skep.abi.prog_types import AttachType, ProgType
from skep.isa.instruction import MapRef
from skep.model.programs import Outcome, Region
from skep.model.target import Target
from skep.verifier import judge
from skep.verifier.prove.kfuncs import ARGUMENTS
from skep.verifier.state.kfuncs import Wants
from skep.verifier.state.objects import Trust, What, same_or_nested, walk
from tests.unit.verifier.core.kernel_types import KERNEL, TASK, check, typed
from tests.unit.verifier.core.linked import said

END = "\nr0 = 0\nexit"
ARGUMENT = "r1 = *(u64 *)(r1 +0)\n"
ACQUIRE = ARGUMENT + "call 0\nif r0 != 0 goto +2\nr0 = 0\nexit\nr6 = r0\n"
RELEASE = "r1 = r6\ncall 0\n"
TASK_PAIR = ("bpf_task_acquire", "bpf_task_release")


@pytest.mark.parametrize(
    ("offset", "size", "what", "trust"),
    [
        (0, 4, What.NUMBER, Trust.NONE),
        (4, 4, What.NUMBER, Trust.NONE),  # the bitfield
        (8, 8, What.OBJECT, Trust.RCU),
        (16, 8, What.OBJECT, Trust.NONE),
        (25, 2, What.NUMBER, Trust.NONE),
        (40, 8, What.MEMORY, Trust.NONE),
        (48, 8, What.OBJECT, Trust.USER),
        (56, 4, What.NUMBER, Trust.NONE),  # in the union
        (56, 8, What.NUMBER, Trust.NONE),
        (68, 4, What.NUMBER, Trust.NONE),
    ],
)
def test_walk(offset: int, size: int, what: What, trust: Trust) -> None:
    found = walk(KERNEL, TASK, offset, size)
    assert not isinstance(found, str)
    assert found.what is what
    if what is not What.NUMBER:
        assert found.trust == trust


@pytest.mark.parametrize(
    ("offset", "size", "sentence"),
    [
        (80, 1, "access beyond struct task_struct at off 80 size 1"),
        (8, 4, "cannot access ptr member parent"),
        (0, 8, "access beyond the end of member pid"),
        (5, 1, "doesn't have field at offset 5"),
        (36, 8, "access beyond the end of member comm"),
    ],
)
def test_walk_finds_nothing(offset: int, size: int, sentence: str) -> None:
    found = walk(KERNEL, TASK, offset, size)
    assert isinstance(found, str)
    assert sentence in found


def test_nested_objects_have_a_type_of_their_own() -> None:
    pair = next(i for i, each in enumerate(KERNEL) if each.name == "pair")
    assert same_or_nested(KERNEL, TASK, 64, KERNEL, pair, strict=False)
    assert not same_or_nested(KERNEL, TASK, 64, KERNEL, pair, strict=True)
    assert not same_or_nested(KERNEL, TASK, 60, KERNEL, pair, strict=False)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("r0 = *(u64 *)(r1 +16)" + END, "invalid bpf_context access off=16 size=8"),
        ("r0 = *(u32 *)(r1 +0)" + END, "invalid bpf_context access off=0 size=4"),
        ("r0 = *(u64 *)(r1 +4)" + END, "invalid bpf_context access off=4 size=8"),
        ("*(u64 *)(r1 +0) = 1" + END, "invalid bpf_context access off=0 size=8"),
        (ARGUMENT + "*(u32 *)(r1 +0) = 1" + END, "only read is supported"),
        (ARGUMENT + "r0 = *(u8 *)(r1 +80)" + END, "access beyond struct task_struct"),
        (ARGUMENT + "r1 += -8\nr0 = *(u8 *)(r1 +0)" + END, "invalid negative access: off=-8"),
        ("r2 = *(u64 *)(r1 +8)\nr2 &= 7\n" + ARGUMENT + "r1 += r2\nr0 = *(u8 *)(r1 +24)" + END, "variable offset"),
        (ARGUMENT + "r1 = *(u64 *)(r1 +48)\nr0 = *(u32 *)(r1 +0)" + END, "access user memory"),
        (ARGUMENT + "r1 = *(u64 *)(r1 +40)\n*(u8 *)(r1 +0) = 1" + END, "cannot write into rdonly_untrusted_mem"),
        (ARGUMENT + "r1 = *(u64 *)(r1 +8)\nr0 = *(u32 *)(r1 +0)" + END, "invalid mem access 'rcu_ptr_or_null_'"),
    ],
)
def test_bad_accesses(text: str, sentence: str) -> None:
    verdict = check(text)
    assert verdict.outcome is Outcome.REJECTED
    assert sentence in said(verdict)


def test_objects_are_read_through_pointers() -> None:
    text = (
        ARGUMENT
        + "r1 = *(u64 *)(r1 +16)\nr1 = *(u64 *)(r1 +40)\nr0 = *(u8 *)(r1 +500)\nr1 += 77\nr0 = *(u8 *)(r1 +0)"
        + END
    )
    verdict = check(text)
    assert verdict.outcome is Outcome.ACCEPTED
    assert verdict.facts is not None
    assert verdict.facts.accesses[1].region is Region.KERNEL


def test_kernel_structures_need_the_right_licence() -> None:
    assert "non-GPL compatible" in said(check(ARGUMENT + "r0 = *(u32 *)(r1 +0)" + END, license="MIT"))
    assert "cannot call kernel function from non-GPL" in said(check("call 0" + END, "bpf_rcu_read_lock", license="MIT"))


def test_one_instruction_handles_one_kind_of_object() -> None:
    text = "r2 = *(u64 *)(r1 +8)\n" + ARGUMENT + "if r2 == 0 goto +1\nr1 = r10\nr0 = *(u64 *)(r1 -8)\nr0 = 0\nexit"
    assert check(text.replace("r1 -8", "r1 +24")).outcome is Outcome.REJECTED
    both = "*(u64 *)(r10 -8) = 0\nr2 = *(u64 *)(r1 +8)\n" + ARGUMENT
    both += "r1 += 32\nif r2 == 0 goto +1\nr1 = r10\nr0 = *(u64 *)(r1 -8)" + END
    assert "same insn cannot be used with different pointers" in said(check(both))


def test_attach_targets_must_exist() -> None:
    linked = typed("r0 = 0\nexit")
    object.__setattr__(linked, "attach_to", "tock")
    assert "no tracepoint 'tock'" in said(judge(linked))
    assert "sleepable" in said(check("r0 = 0\nexit", sleepable=True))


def test_references_are_acquired_and_released() -> None:
    good = ACQUIRE + RELEASE + "r0 = 0\nexit"
    assert check(good, *TASK_PAIR).outcome is Outcome.ACCEPTED
    assert "reference leak" in said(check(ACQUIRE + "r0 = 0\nexit", "bpf_task_acquire"))
    twice = ACQUIRE + RELEASE + RELEASE + "r0 = 0\nexit"
    assert check(twice, *TASK_PAIR, "bpf_task_release").outcome is Outcome.REJECTED
    assert "expects refcounted" in said(check(ARGUMENT + "call 0" + END, "bpf_task_release"))
    moved = ACQUIRE + "r1 = r6\nr1 += 8\ncall 0" + END
    assert "offset" in str(check(moved, *TASK_PAIR).diagnostics[0])


@pytest.mark.parametrize(
    ("text", "kfuncs", "sentence"),
    [
        ("r1 = r10\ncall 0" + END, ("bpf_task_acquire",), "must point to scalar, or struct with scalar"),
        ("r1 = 0\ncall 0" + END, ("bpf_task_acquire",), "Possibly NULL pointer passed to trusted arg0"),
        (ARGUMENT + "r1 = *(u64 *)(r1 +16)\ncall 0" + END, ("bpf_task_acquire",), "R1 must be a rcu pointer"),
        ("call 0" + END, ("bpf_task_from_pid",), "R1 is not a scalar"),
        ("r1 = r1\ncall 0" + END, ("bpf_no_such_kfunc",), "bpf_no_such_kfunc"),
        (ARGUMENT + "call 0" + END, ("bpf_cpumask_release",), "expected pointer to STRUCT bpf_cpumask"),
        ("r1 = r10\nr2 = 8\nr3 = 0\nr4 = 0\ncall 0" + END, ("bpf_copy_from_user_str",), "must be sleepable"),
    ],
)
def test_bad_kfunc_arguments(text: str, kfuncs: tuple[str, ...], sentence: str) -> None:
    verdict = check(text, *kfuncs)
    assert verdict.outcome is Outcome.REJECTED
    assert sentence in said(verdict) or sentence in verdict.diagnostics[0].what


def test_kfuncs_belong_to_program_types() -> None:
    verdict = check("call 0" + END, "bpf_cpumask_create", prog_type=ProgType.XDP, attach_type=None)
    assert said(verdict) == "calling kernel function bpf_cpumask_create is not allowed"


def test_kinds_of_arguments_that_nobody_proves_are_unsupported_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(ARGUMENTS, Wants.DYNPTR)
    verdict = check("r1 = r10\ncall 0" + END, "bpf_dynptr_size")
    assert verdict.outcome is Outcome.UNSUPPORTED
    assert "bpf_dynptr_size" in verdict.diagnostics[0].what


def test_members_under_rcu_are_trusted_until_the_section_ends() -> None:
    lock = ("bpf_rcu_read_lock",)
    load = "r6 = *(u64 *)(r6 +72)\nr1 = r6\n"
    take = "call 0\nif r0 == 0 goto +2\nr1 = r0\ncall 0\n"
    text = "r6 = *(u64 *)(r1 +0)\ncall 0\n" + load + take + "call 0" + END
    names = (*lock, "bpf_task_acquire", "bpf_task_release", "bpf_rcu_read_unlock")
    assert check(text, *names).outcome is Outcome.ACCEPTED
    late = "r6 = *(u64 *)(r1 +0)\ncall 0\n" + load + "call 0\nr1 = r6\n" + take + END
    verdict = check(late, *lock, "bpf_rcu_read_unlock", *TASK_PAIR)
    assert "R1 must be a rcu pointer" in said(verdict)


@pytest.mark.parametrize(
    ("text", "kfuncs", "sentence"),
    [
        ("call 0\ncall 0" + END, ("bpf_rcu_read_lock",) * 2, "nested rcu read lock"),
        ("call 0" + END, ("bpf_rcu_read_unlock",), "unmatched rcu read unlock"),
        ("call 0" + END, ("bpf_rcu_read_lock",), "cannot be used inside bpf_rcu_read_lock-ed region"),
        ("call 0" + END, ("bpf_preempt_enable",), "unmatched attempt to enable preemption"),
        ("call 0\ncall 0" + END, ("bpf_preempt_disable",) * 2, "inside bpf_preempt_disable-ed region"),
    ],
)
def test_sections_match(text: str, kfuncs: tuple[str, ...], sentence: str) -> None:
    assert sentence in said(check(text, *kfuncs))


def test_nothing_sleeps_in_a_section() -> None:
    copy = "r1 = r10\nr1 += -8\nr2 = 8\nr3 = 0\nr4 = 0\ncall 0\n"
    names = ("bpf_preempt_disable", "bpf_copy_from_user_str", "bpf_preempt_enable")
    linking: dict[str, object] = {"prog_type": ProgType.SYSCALL, "attach_type": None, "sleepable": True}
    verdict = check("call 0\n" + copy + "call 0" + END, *names, **linking)
    assert "sleepable within non-preemptible region" in said(verdict)
    assert check(copy + END, names[1], **linking).outcome is Outcome.ACCEPTED


def test_exceptions_end_the_path_with_nothing_open() -> None:
    assert check("r1 = 0\ncall 0", "bpf_throw").outcome is Outcome.REJECTED  # the text still needs an end
    assert check("r1 = 0\ncall 0" + END, "bpf_throw").outcome is Outcome.ACCEPTED
    leak = ACQUIRE + "r1 = 0\ncall 0" + END
    assert "bpf_throw would lead to reference leak" in said(check(leak, "bpf_task_acquire", "bpf_throw"))
    linking: dict[str, object] = {"prog_type": ProgType.CGROUP_SKB, "attach_type": AttachType.CGROUP_INET_INGRESS}
    verdict = check("r1 = 7\ncall 0" + END, "bpf_throw", **linking)
    assert "the register R1 has smin=7 smax=7" in said(verdict)


def test_kernel_variables() -> None:
    assert check("r1 = 0 ll\nr0 = *(u32 *)(r1 +0)" + END, ksyms=("limit",)).outcome is Outcome.ACCEPTED
    assert "cannot write into rdonly_mem" in said(check("r1 = 0 ll\n*(u32 *)(r1 +0) = 1" + END, ksyms=("limit",)))
    assert "access percpu memory" in said(check("r1 = 0 ll\nr0 = *(u32 *)(r1 +0)" + END, ksyms=("runs",)))
    assert check("r1 = 0 ll\ncall 154\nr0 = *(u32 *)(r0 +0)" + END, ksyms=("runs",)).outcome is Outcome.ACCEPTED
    assert "not found in kernel's BTF" in said(check("r1 = 0 ll" + END, ksyms=("nothing",)))


def test_maps_are_structures_of_the_kernel() -> None:
    refs = {"refs": {0: MapRef("hits")}}
    load = "r1 = 0 ll\nr0 = *(u32 *)(r1 +{})" + END
    assert check(load.format(0), **refs).outcome is Outcome.ACCEPTED
    assert "access beyond struct bpf_htab" in said(check(load.format(8), **refs))
    write = "r1 = 0 ll\n*(u32 *)(r1 +0) = 1" + END
    assert "only read from bpf_htab is supported" in said(check(write, **refs))
    events = check("r1 = 0 ll\nr0 = *(u32 *)(r1 +0)" + END, refs={0: MapRef("events")})
    assert "map_ptr access not supported for map type 27" in said(events)


@pytest.mark.parametrize(
    ("prog_type", "attach_type", "name", "sleepable", "reason"),
    [
        (ProgType.TRACING, AttachType.TRACE_FENTRY, "vfs_read", False, None),
        (ProgType.TRACING, AttachType.TRACE_FENTRY, "__x64_sys_read", True, None),
        (ProgType.TRACING, AttachType.TRACE_FENTRY, "vfs_read", True, "unsupported: sleepable"),
        (ProgType.TRACING, AttachType.TRACE_FENTRY, "migrate_disable", False, "is rejected"),
        (ProgType.TRACING, AttachType.TRACE_FEXIT, "do_exit", False, "__noreturn"),
        (ProgType.TRACING, AttachType.MODIFY_RETURN, "security_file_open", False, None),
        (ProgType.TRACING, AttachType.MODIFY_RETURN, "vfs_read", False, "unsupported: fmod_ret"),
        (ProgType.LSM, AttachType.LSM_MAC, "file_open", True, None),
        (ProgType.LSM, AttachType.LSM_MAC, "task_free", True, "is not sleepable"),
        (ProgType.LSM, AttachType.LSM_MAC, "ismaclabel", False, "disabled hook"),
    ],
)
def test_attach_rules(
    prog_type: ProgType, attach_type: AttachType, name: str, sleepable: bool, reason: str | None
) -> None:
    found = refused(prog_type, attach_type, name, sleepable=sleepable)
    assert found is None if reason is None else found is not None and reason in found


def test_without_the_kernels_types_nothing_is_judged() -> None:
    assert check("r0 = 0\nexit", target=Target("vm", (6, 18, 0))).outcome is Outcome.UNSUPPORTED


def test_the_current_task_is_trusted() -> None:
    text = "call 158\nr1 = r0\ncall 0\nif r0 == 0 goto +2\nr1 = r0\ncall 0" + END
    assert check(text, *TASK_PAIR).outcome is Outcome.ACCEPTED
    wrong = "call 158\nr1 = r0\nr1 += 64\nr2 = r10\nr2 += -8\nr3 = 8\nr4 = 0\ncall 141" + END
    assert "R1 is of type task_struct but task_struct is expected" in said(check(wrong))
