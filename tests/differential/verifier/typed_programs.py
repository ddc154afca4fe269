"""Random programs about kernel objects: members of structures, kernel functions, helpers with objects, struct_ops."""

from __future__ import annotations

import itertools
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace

from skep.abi.helpers import available
from skep.abi.kfuncs import KFUNCS
from skep.abi.prog_types import AttachType, ProgType
from skep.abi.signatures import ArgKind, ReturnKind
from skep.btf import types as t
from skep.isa.codec import decode
from skep.isa.instruction import KfuncRef
from skep.model.programs import LinkedProgram, Subprogram
from skep.model.target import Target
from skep.verifier.state.objects import What, walk

_EXIT = struct.pack("<BBhi", 0xB7, 0, 0, 0) + struct.pack("<BBhi", 0x95, 0, 0, 0)
_LOADS = {1: 0x71, 2: 0x69, 4: 0x61, 8: 0x79}
_STORES = {1: 0x72, 2: 0x6A, 4: 0x62, 8: 0x7A}
_TRACEPOINTS = ("task_newtask", "kfree_skb", "cgroup_mkdir", "inet_sock_set_state", "sched_switch", "tcp_probe")
_NOT_MINE = ("iter", "dynptr", "obj_", "list", "rbtree", "irq", "spin", "wq", "task_work", "arena", "vprintk", "xattr")
_FAMILIES = {
    "task": ("bpf_task_from_pid", "bpf_task_release"),
    "cpumask": ("bpf_cpumask_create", "bpf_cpumask_release"),
    "cgroup": ("bpf_cgroup_from_id", "bpf_cgroup_release"),
}
_SECTIONS = ("bpf_rcu_read_lock", "bpf_rcu_read_unlock", "bpf_preempt_disable", "bpf_preempt_enable")
_OTHERS = frozenset(
    {
        ArgKind.CONST_MAP,
        ArgKind.DYNPTR,
        ArgKind.CALLBACK,
        ArgKind.SPIN_LOCK,
        ArgKind.TIMER,
        ArgKind.KPTR,
        ArgKind.RINGBUF_RECORD,
        ArgKind.CONST_STRING,
    }
)
_BTF_ARGS = frozenset({ArgKind.BTF_OBJECT, ArgKind.BTF_SOCK_COMMON, ArgKind.PERCPU_BTF_OBJECT})
_NUMBERS = frozenset({ArgKind.SIZE, ArgKind.SIZE_OR_ZERO, ArgKind.ALLOC_SIZE, ArgKind.ANYTHING})


@dataclass(frozen=True, slots=True)
class Case:
    """One program, as the kernel and as skep takes it."""

    prog_type: ProgType
    attach_type: int
    attach_btf_id: int
    attach_to: str
    flags: int
    code: bytes
    kfuncs: dict[int, str]

    def _functions(self) -> tuple[Subprogram, ...]:
        """The entry, and what is called or handed out as a callback."""
        slots = [self.code[at : at + 8] for at in range(0, len(self.code), 8)]
        starts = {0}
        for slot, each in enumerate(slots):
            if each[:2] in (b"\x85\x10", b"\x18\x42"):
                starts.add(slot + 1 + int.from_bytes(each[4:], "little", signed=True))
        ordered = [*sorted(starts), len(slots)]
        return tuple(Subprogram(f"f{a}", a, b) for a, b in itertools.pairwise(ordered))

    def linked(self, target: Target) -> LinkedProgram:
        """For skep's verifier."""
        insns = tuple(
            replace(each, ref=KfuncRef(self.kfuncs[each.imm])) if each.opcode == 0x85 and each.src == 2 else each
            for each in decode(self.code)
        )
        table = self.prog_type is ProgType.STRUCT_OPS
        return LinkedProgram(
            name="case",
            section="",
            prog_type=self.prog_type,
            attach_type=AttachType(self.attach_type) if self.attach_type and not table else None,
            attach_to=self.attach_to,
            sleepable=bool(self.flags),
            frags=False,
            license="GPL",
            insns=insns,
            subprograms=self._functions(),
            lines={},
            maps={},
            target=target,
        )


def _i(opcode: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> bytes:
    return struct.pack("<BBhi", opcode, dst | src << 4, off, imm)


def _unless_null(register: int) -> bytes:
    return _i(0x55, register, 0, 2, 0) + _EXIT


class Programs:
    """A generator over the kernel's types."""

    def __init__(self, btf: t.Btf, seed: int) -> None:
        self.btf = btf
        self.random = random.Random(seed)
        self.ids = {name: found for name in KFUNCS if (found := btf.find(name, t.Func)) is not None}
        self.names = {found: name for name, found in self.ids.items()}
        self.mine = [name for name in self.ids if not any(part in name for part in _NOT_MINE)]
        self.kinds: tuple[Callable[[], Case], ...] = (self.members, self.calls, self.helpers, self.writes)

    def case(self) -> Case:
        """The next program."""
        return self.random.choice(self.kinds)()

    def _tracepoint(self, name: str) -> tuple[int, t.FuncProto]:
        found = self.btf.find(f"btf_trace_{name}", t.Typedef)
        assert found is not None
        pointer = self.btf[self.btf.strip(found)]
        assert isinstance(pointer, t.Ptr)
        proto = self.btf[pointer.type]
        assert isinstance(proto, t.FuncProto)
        return found, proto

    def _tracing(self, name: str, code: bytes) -> Case:
        return Case(ProgType.TRACING, 23, self._tracepoint(name)[0], name, 0, code + _EXIT, self.names)

    def members(self) -> Case:
        """A chain of loads from an argument, near members."""
        pick, btf = self.random, self.btf
        name = pick.choice(_TRACEPOINTS)
        proto = self._tracepoint(name)[1]
        pointers = [i for i, each in enumerate(proto.params[1:]) if self._points_to_struct(each.type)]
        index = pick.choice(pointers)
        code = _i(0x79, 1, 1, 8 * index) + _unless_null(1)
        pointer = btf[btf.strip(proto.params[1 + index].type)]
        assert isinstance(pointer, t.Ptr)
        type_id = btf.strip(pointer.type)
        for _ in range(pick.randint(1, 3)):
            found = btf[type_id]
            assert isinstance(found, (t.Struct, t.Union))
            size = pick.choice((1, 2, 4, 8, 8, 8))
            likely = [m for m in found.members if isinstance(btf[btf.strip(m.type)], t.Ptr)] or list(found.members)
            if likely and pick.random() < 0.7:
                offset = pick.choice(likely).bit_offset // 8 + pick.choice((0, 0, 0, 1, 4, 8))
            else:
                offset = pick.randint(-8, found.size + 16)
            offset = offset if offset < 1 << 15 else 0
            code += _i(_LOADS[size], 1, 1, offset)
            there = walk(btf, type_id, offset, size) if offset >= 0 else ""
            if isinstance(there, str) or there.what is not What.OBJECT:
                break
            type_id = there.type
            code += _unless_null(1) if pick.random() < 0.5 else b""
        return self._tracing(name, code)

    def _points_to_struct(self, type_id: int) -> bool:
        pointer = self.btf[self.btf.strip(type_id)]
        return isinstance(pointer, t.Ptr) and isinstance(self.btf[self.btf.strip(pointer.type)], (t.Struct, t.Union))

    def calls(self) -> Case:
        """Kernel functions of one family, with sections around them."""
        pick = self.random
        family = pick.choice(tuple(_FAMILIES))
        first, last = _FAMILIES[family]
        kind, attach, name = pick.choice(
            ((ProgType.TRACING, 23, "task_newtask"), (ProgType.SCHED_CLS, 0, ""), (ProgType.SYSCALL, 0, ""))
        )
        code = _i(0xBF, 6, 1) + (_i(0x79, 7, 1, 0) if kind is ProgType.TRACING else _i(0xB7, 7, 0, 0, 5))
        code += _i(0xB7, 8) + _i(0xB7, 9, 0, 0, 8) + b"".join(_i(0x7A, 10, 0, at) for at in (-64, -8))
        if pick.random() < 0.85:
            code += _i(0xB7, 1, 0, 0, 1) + self._call(first) + _i(0xBF, 8, 0)
            code += _unless_null(8) if pick.random() < 0.93 else b""
        for _ in range(pick.randint(0, 3)):
            code += self._any_call(family)
        if pick.random() < 0.85:
            code += _i(0xBF, 1, 8) + self._call(last)
        attached = self._tracepoint(name)[0] if name else 0
        flags = 16 if kind is ProgType.SYSCALL else 0
        return Case(kind, attach, attached, name, flags, code + _EXIT, self.names)

    def _call(self, name: str) -> bytes:
        return _i(0x85, 0, 2, 0, self.ids[name])

    def _any_call(self, family: str) -> bytes:
        pick, btf = self.random, self.btf
        name = pick.choice(_SECTIONS if pick.random() < 0.2 else [n for n in self.mine if family in n] or self.mine)
        function = btf[self.ids[name]]
        assert isinstance(function, t.Func)
        proto = btf[function.type]
        assert isinstance(proto, t.FuncProto)
        code = b""
        for register, param in enumerate(proto.params, start=1):
            luck = pick.random()
            if not isinstance(btf[btf.strip(param.type)], t.Ptr):
                code += _i(0xB7, register, 0, 0, pick.choice((0, 1, 8, 64)))
            elif luck < 0.85:
                code += _i(0xBF, register, pick.choice((7, 7, 8, 8, 8, 8, 6)))
            elif luck < 0.95:
                code += _i(0xBF, register, 10) + _i(0x07, register, 0, 0, pick.choice((-8, -64)))
            else:
                code += _i(0xB7, register)
        code += self._call(name)
        if isinstance(btf[btf.strip(proto.ret)], t.Ptr):
            kept = pick.choice((7, 7, 8))
            code += _i(0xBF, kept, 0) + (_unless_null(kept) if pick.random() < 0.8 else b"")
        return code

    def helpers(self) -> Case:
        """Helpers that take objects."""
        pick = self.random
        name = pick.choice(_TRACEPOINTS)
        rows = available(ProgType.TRACING, AttachType.TRACE_RAW_TP).values()
        usable = [row for row in rows if not any(arg.kind in _OTHERS for arg in row.args or ())]
        typed = [row for row in usable if any(arg.kind in _BTF_ARGS for arg in row.args or ())]
        code = _i(0xBF, 6, 1) + _i(0x79, 7, 1, pick.choice((0, 8))) + (_unless_null(7) if pick.random() < 0.8 else b"")
        code += _i(0x85, 0, 0, 0, 158) + _i(0xBF, 8, 0)
        code += b"".join(_i(0x7A, 10, 0, at) for at in range(-64, 0, 8))
        row = pick.choice(typed if pick.random() < 0.8 else usable)
        for register, arg in enumerate(row.args or (), start=1):
            if arg.kind in _BTF_ARGS:
                code += _i(0xBF, register, pick.choice((7, 7, 8, 8, 6)))
            elif arg.kind is ArgKind.CONTEXT:
                code += _i(0xBF, register, 6)
            elif arg.kind in _NUMBERS:
                code += _i(0xB7, register, 0, 0, pick.choice((0, 8, 16, 64)))
            else:
                code += _i(0xBF, register, 10) + _i(0x07, register, 0, 0, -64)
        code += _i(0x85, 0, 0, 0, row.id)
        if row.returns not in (ReturnKind.INTEGER, ReturnKind.VOID):
            code += (_unless_null(0) if pick.random() < 0.8 else b"") + _i(0x79, 9, 0, pick.choice((0, 8, 16)))
        return self._tracing(name, code)

    def writes(self) -> Case:
        """Stores of a congestion control."""
        pick = self.random
        found = self.btf.find("tcp_congestion_ops", t.Struct)
        assert found is not None
        table = self.btf[found]
        assert isinstance(table, t.Struct)
        index = pick.randrange(len(table.members))
        code = _i(0x79, 6, 1, pick.choice((0, 0, 8)))
        size = pick.choice((1, 2, 4, 8))
        offset = pick.choice((pick.randrange(2600), pick.randrange(480, 500), pick.randrange(1280, 1900)))
        code += _i(_STORES[size], 6, 0, offset, 1)
        to = f"tcp_congestion_ops.{table.members[index].name}"
        return Case(ProgType.STRUCT_OPS, index, found, to, 0, code + _EXIT, self.names)
