"""A small kernel with the functions of allocated objects, and a program's types with every special field of theirs."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import accumulate

from skep.abi.map_types import MapType
from skep.abi.prog_types import ProgType
from skep.btf import types as t
from skep.isa import opcodes as op
from skep.isa.instruction import KfuncRef, MapRef, MapValueRef
from skep.model.maps import MapSpec
from skep.model.programs import LinkedProgram, Subprogram, Verdict
from skep.model.target import Target
from skep.verifier import judge
from tests.unit.verifier.core.kernel_types import INT, KERNEL, LONG
from tests.unit.verifier.core.linked import link

_KERNEL: list[t.BtfType] = [KERNEL[id] for id in range(len(KERNEL))]


def _add(types: list[t.BtfType], item: t.BtfType) -> int:
    types.append(item)
    return len(types) - 1


def _function(name: str, returns: int, *params: tuple[str, int]) -> None:
    proto = _add(_KERNEL, t.FuncProto(returns, tuple(t.Param(*each) for each in params)))
    _add(_KERNEL, t.Func(name, proto, 1))


def _pointer(name: str, size: int) -> int:
    return _add(_KERNEL, t.Ptr(_add(_KERNEL, t.Struct(name, size, ()))))


_VOID = _add(_KERNEL, t.Ptr(0))
_HEAD, _NODE = _pointer("bpf_list_head", 16), _pointer("bpf_list_node", 24)
_ROOT, _BRANCH = _pointer("bpf_rb_root", 16), _pointer("bpf_rb_node", 32)
_LESS = _add(_KERNEL, t.Ptr(_add(_KERNEL, t.FuncProto(INT, (t.Param("a", _BRANCH), t.Param("b", _BRANCH))))))
_META = ("meta__ign", _VOID)
_function("bpf_obj_new_impl", _VOID, ("local_type_id__k", LONG), _META)
_function("bpf_percpu_obj_new_impl", _VOID, ("local_type_id__k", LONG), _META)
_function("bpf_obj_drop_impl", 0, ("p__alloc", _VOID), _META)
_function("bpf_percpu_obj_drop_impl", 0, ("p__alloc", _VOID), _META)
_function("bpf_refcount_acquire_impl", _VOID, ("p__refcounted_kptr", _VOID), _META)
_function("bpf_list_push_front_impl", INT, ("head", _HEAD), ("node", _NODE), _META, ("off", LONG))
_function("bpf_list_pop_front", _NODE, ("head", _HEAD))
_function("bpf_list_front", _NODE, ("head", _HEAD))
_function("bpf_rbtree_add_impl", INT, ("root", _ROOT), ("node", _BRANCH), ("less", _LESS), _META, ("off", LONG))
_function("bpf_rbtree_first", _BRANCH, ("root", _ROOT))
_function("bpf_rbtree_remove", _BRANCH, ("root", _ROOT), ("node", _BRANCH))
_function("bpf_task_release_dtor", 0, ("p", _VOID))
TARGET = Target("linux 6.18", (6, 18, 0), btf=t.Btf(tuple(_KERNEL)))

_MINE: list[t.BtfType] = [t.Void(), t.Int("long", 8, 64), t.Int("int", 4, 32)]
_LOCK = _add(_MINE, t.Struct("bpf_spin_lock", 4, (t.Member("val", 2, 0),)))
_LIST_HEAD = _add(_MINE, t.Struct("bpf_list_head", 16, ()))
_LIST_NODE = _add(_MINE, t.Struct("bpf_list_node", 24, ()))
_TREE_ROOT = _add(_MINE, t.Struct("bpf_rb_root", 16, ()))
_TREE_NODE = _add(_MINE, t.Struct("bpf_rb_node", 32, ()))
_REFCOUNT = _add(_MINE, t.Struct("bpf_refcount", 4, (t.Member("a", 2, 0),)))
_TASK = _add(_MINE, t.Struct("task_struct", 8, (t.Member("pid", 2, 0),)))


def _struct(name: str, size: int, **members: tuple[int, int]) -> int:
    """``name=(type, offset)``."""
    made = tuple(t.Member(member, type, 8 * offset) for member, (type, offset) in members.items())
    return _add(_MINE, t.Struct(name, size, made))


def _tagged(tag: str, type: int) -> int:
    return _add(_MINE, t.Ptr(_add(_MINE, t.TypeTag(tag, type))))


#: Numbers of the program's types: an item is { key, link at 8, data at 32 }.
ITEM = _struct("item", 40, key=(1, 0), link=(_LIST_NODE, 8), data=(1, 32))
BRANCH = _struct("branch", 48, key=(1, 0), link=(_TREE_NODE, 8), data=(1, 40))
COUNTED = _struct("tally", 40, key=(1, 0), link=(_LIST_NODE, 8), refs=(_REFCOUNT, 32))
PLAIN = _struct("mine", 16, a=(1, 0), b=(2, 8), c=(2, 12))
POINTING = _struct("pointing", 16, a=(1, 0), p=(_tagged("kptr", PLAIN), 8))
#: A map's value: task at 0, an untrusted task at 8, a PLAIN at 16, per-CPU PLAINs at 24, a number at 32.
VALUE = _struct(
    "value",
    40,
    task=(_tagged("kptr", _TASK), 0),
    loose=(_tagged("kptr_untrusted", _TASK), 8),
    mine=(_tagged("kptr", PLAIN), 16),
    parts=(_tagged("percpu_kptr", PLAIN), 24),
    number=(1, 32),
)
#: Global data: a lock at 0, a list of items at 8, a tree of branches at 24.
SHARED = _struct("shared", 40, lock=(_LOCK, 0), head=(_LIST_HEAD, 8), root=(_TREE_ROOT, 24))
_add(_MINE, t.DeclTag("contains:item:link", SHARED, 1))
_add(_MINE, t.DeclTag("contains:branch:link", SHARED, 2))
TYPES = t.Btf(tuple(_MINE))

MAPS = {
    "values": MapSpec("values", MapType.ARRAY, 4, 40, 4, value_type=VALUE, btf=TYPES),
    "shared": MapSpec("shared", MapType.ARRAY, 4, 40, 1, value_type=SHARED, btf=TYPES),
}
#: r6 = a value of the map; ends the program where there is none.
LOOKUP = """
    *(u32 *)(r10 -4) = 1
    r2 = r10
    r2 += -4
    r1 = &values
    call 1
    if r0 != 0 goto +1
    exit
    r6 = r0
"""
_ADDRESS = re.compile(r"r\d = &(\w+)(?:\+(\d+))?$")


def program(text: str, *kfuncs: str, less: str = "", sleepable: bool = False) -> LinkedProgram:
    """Assembly in which each ``call 0`` is one of ``kfuncs``, ``r1 = &values`` takes a map, ``r1 = &shared+8`` an
    address in one, and ``r3 = &less`` that of the second function.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    widths = [2 if _ADDRESS.match(line) or line.endswith(" ll") else 1 for line in lines]
    end = sum(widths)
    refs: dict[int, MapRef | MapValueRef] = {}
    code = []
    for line, slot in zip(lines, accumulate(widths, initial=0), strict=False):
        found = _ADDRESS.match(line)
        if found is not None and found[1] == "values":
            refs[slot] = MapRef("values")
        elif found is not None and found[1] == "shared":
            refs[slot] = MapValueRef("shared", int(found[2] or 0))
        distance = end - slot - 1 if found is not None and found[1] == "less" else 0
        code.append(line if found is None else f"{line.split()[0]} = {distance} ll")
    kind = ProgType.SYSCALL if sleepable else ProgType.SCHED_CLS
    whole = "\n".join([*code, less])
    linked = link(whole, prog_type=kind, maps=MAPS, refs=refs, target=TARGET, sleepable=sleepable)
    names = iter(kfuncs)
    insns = []
    for insn in linked.insns:
        if insn.opcode == op.JMP | op.CALL and insn.imm == 0:
            insn = replace(insn, src=op.CALL_KFUNC, ref=KfuncRef(next(names)))
        elif insn.opcode == op.LD_IMM64 and insn.dst == 3:
            insn = replace(insn, src=op.PSEUDO_FUNC)
        insns.append(insn)
    found_functions = (Subprogram("main", 0, end), Subprogram("less", end, end + 99)) if less else linked.subprograms
    return replace(linked, insns=tuple(insns), btf=TYPES, subprograms=found_functions)


def check(text: str, *kfuncs: str, less: str = "", sleepable: bool = False) -> Verdict:
    """The verdict on such a program."""
    return judge(program(text, *kfuncs, less=less, sleepable=sleepable))
