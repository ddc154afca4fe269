"""A small kernel's BTF, made by hand: one structure with every kind of member, a tracepoint, kernel functions."""

from __future__ import annotations

from dataclasses import replace

from skep.abi.prog_types import AttachType, ProgType
from skep.btf import types as t
from skep.isa.instruction import KfuncRef, KsymRef
from skep.model.programs import LinkedProgram, Verdict
from skep.model.target import Target
from skep.verifier import judge
from tests.unit.verifier.core.linked import link

_TYPES: list[t.BtfType] = [t.Void()]


def _add(item: t.BtfType) -> int:
    _TYPES.append(item)
    return len(_TYPES) - 1


INT = _add(t.Int("int", 4, 32, True))
LONG = _add(t.Int("long", 8, 64, True))
CHAR = _add(t.Int("char", 1, 8, True))
COMM = _add(t.Array(CHAR, INT, 16))
TASK = len(_TYPES) + 8  # where the structure comes, after the types of its members
_TASK_PTR = _add(t.Ptr(TASK))
_RCU_TASK = _add(t.Ptr(_add(t.TypeTag("rcu", TASK))))
_USER_TASK = _add(t.Ptr(_add(t.TypeTag("user", TASK))))
_TEXT = _add(t.Ptr(CHAR))
_CHOICE = _add(t.Union("", 8, (t.Member("number", INT, 0), t.Member("other", _TASK_PTR, 0))))
_PAIR = _add(t.Struct("pair", 8, (t.Member("a", INT, 0), t.Member("b", INT, 32))))
assert len(_TYPES) == TASK
_add(
    t.Struct(
        "task_struct",
        80,
        (
            t.Member("pid", INT, 0),
            t.Member("bits", INT, 32, 3),
            t.Member("parent", _RCU_TASK, 64),
            t.Member("friend", _TASK_PTR, 128),
            t.Member("comm", COMM, 192),
            t.Member("text", _TEXT, 320),
            t.Member("user", _USER_TASK, 384),
            t.Member("choice", _CHOICE, 448),
            t.Member("pair", _PAIR, 512),
            t.Member("group_leader", _TASK_PTR, 576),
        ),
    )
)
_add(t.Struct("task_struct__safe_rcu", 8, (t.Member("group_leader", _TASK_PTR, 0),)))
_VOID_PTR = _add(t.Ptr(0))
_TICK = t.FuncProto(0, (t.Param("__data", _VOID_PTR), t.Param("p", _TASK_PTR), t.Param("n", LONG)))
_add(t.Typedef("btf_trace_tick", _add(t.Ptr(_add(_TICK)))))
_CPUMASK = _add(t.Struct("bpf_cpumask", 8, (t.Member("bits", LONG, 0),)))
_MASK_PTR = _add(t.Ptr(_CPUMASK))


def _function(name: str, returns: int, *params: tuple[str, int]) -> None:
    proto = _add(t.FuncProto(returns, tuple(t.Param(*each) for each in params)))
    _add(t.Func(name, proto, 1))


_function("bpf_task_acquire", _TASK_PTR, ("p", _TASK_PTR))
_function("bpf_task_release", 0, ("p", _TASK_PTR))
_function("bpf_task_from_pid", _TASK_PTR, ("pid", INT))
_function("bpf_cpumask_create", _MASK_PTR)
_function("bpf_cpumask_release", 0, ("m", _MASK_PTR))
_function("bpf_rcu_read_lock", 0)
_function("bpf_rcu_read_unlock", 0)
_function("bpf_preempt_disable", 0)
_function("bpf_preempt_enable", 0)
_function("bpf_throw", 0, ("cookie", LONG))
_function("bpf_copy_from_user_str", INT, ("dst", _VOID_PTR), ("dst__sz", INT), ("p__ign", _VOID_PTR), ("flags", LONG))
_DYNPTR = _add(t.Ptr(_add(t.Struct("bpf_dynptr", 16, ()))))
_SKB = _add(t.Ptr(_add(t.Struct("__sk_buff", 192, ()))))
_BUFFER = (("p", _DYNPTR), ("offset", INT), ("buffer__opt", _VOID_PTR), ("buffer__szk", INT))
_function("bpf_dynptr_size", INT, ("p", _DYNPTR))
_function("bpf_dynptr_from_skb", INT, ("s", _SKB), ("flags", LONG), ("ptr__uninit", _DYNPTR))
_function("bpf_dynptr_clone", INT, ("p", _DYNPTR), ("clone__uninit", _DYNPTR))
_function("bpf_dynptr_slice", _VOID_PTR, *_BUFFER)
_function("bpf_dynptr_slice_rdwr", _VOID_PTR, *_BUFFER)
for _name, _size, _extra, _element in (
    ("num", 8, (("start", INT), ("end", INT)), _add(t.Ptr(INT))),
    ("bits", 16, (("words__ign", _VOID_PTR), ("count", INT)), _add(t.Ptr(LONG))),
    ("task", 24, (("task__nullable", _TASK_PTR), ("flags", INT)), _TASK_PTR),
    ("css_task", 8, (("css", _TASK_PTR), ("flags", INT)), _TASK_PTR),
):
    _ITER = _add(t.Ptr(_add(t.Struct(f"bpf_iter_{_name}", _size, ()))))
    _function(f"bpf_iter_{_name}_new", INT, ("it", _ITER), *_extra)
    _function(f"bpf_iter_{_name}_next", _element, ("it", _ITER))
    _function(f"bpf_iter_{_name}_destroy", 0, ("it", _ITER))
_FLAGS = _add(t.Ptr(LONG))
_function("bpf_local_irq_save", 0, ("flags__irq_flag", _FLAGS))
_function("bpf_local_irq_restore", 0, ("flags__irq_flag", _FLAGS))
_add(t.Struct("bpf_htab", 8, (t.Member("count", INT, 0), t.Member("seed", INT, 32))))
_PERCPU_VAR = _add(t.Var("runs", INT, 1))
_add(t.Var("limit", INT, 1))
_add(t.Datasec(".data..percpu", 4, (t.SectionVar(_PERCPU_VAR, 0, 4),)))

KERNEL = t.Btf(tuple(_TYPES))
TARGET = Target("linux 6.18", (6, 18, 0), btf=KERNEL)


def typed(
    text: str, *kfuncs: str, ksyms: tuple[str, ...] = (), license: str = "GPL", **linking: object
) -> LinkedProgram:
    """A program on the tracepoint ``tick``: each ``call 0`` is one of ``kfuncs``, each ``= 0 ll`` one of ``ksyms``."""
    options: dict[str, object] = {
        "prog_type": ProgType.TRACING,
        "attach_type": AttachType.TRACE_RAW_TP,
        "target": TARGET,
        **linking,
    }
    linked = link(text, **options)  # type: ignore[arg-type]
    names, variables = iter(kfuncs), iter(ksyms)
    insns = []
    for insn in linked.insns:
        if insn.opcode == 0x85 and insn.src == 0 and insn.imm == 0:
            insn = replace(insn, src=2, ref=KfuncRef(next(names)))
        elif insn.opcode == 0x18 and insn.imm == 0 and ksyms:
            insn = replace(insn, src=3, ref=KsymRef(next(variables)))
        insns.append(insn)
    return replace(linked, insns=tuple(insns), attach_to="tick", license=license)


def check(text: str, *kfuncs: str, **linking: object) -> Verdict:
    """The verdict on such a program."""
    return judge(typed(text, *kfuncs, **linking))  # type: ignore[arg-type]
