"""Random programs about what lives on the stack: iterators in every order, saved interrupt flags, stores over them.

Most statements are right, so that many programs are accepted; some are not.
"""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass

from skep.abi.kfuncs import KFUNCS
from skep.abi.prog_types import ProgType
from skep.btf import types as t
from tests.differential.verifier.typed_programs import Case

_EXIT = struct.pack("<BBhi", 0xB7, 0, 0, 0) + struct.pack("<BBhi", 0x95, 0, 0, 0)
_PLACES = (-8, -16, -24, -40, -64, -80)
_DATA = -128  # 32 bytes of plain data
_SPILL = -24
_SLEEPS = "bpf_copy_from_user", 148
_RANDOM, _COMM, _PRINTK, _JIFFIES, _CURRENT, _LOOP = 7, 16, 6, 118, 158, 181


def _i(opcode: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> bytes:
    return struct.pack("<BBhi", opcode, dst | src << 4, off, imm)


def _address(register: int, place: int) -> bytes:
    return _i(0xBF, register, 10) + (_i(0x07, register, 0, 0, place) if place else b"")


def _length(code: bytes) -> int:
    return len(code) // 8


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of iterator.

    Attributes:
        cells: its size in 8 bytes.
        task: it wants a task in r2.
        struct: it gives structures, not numbers.
    """

    name: str
    cells: int
    task: bool = False
    struct: bool = False

    def function(self, verb: str) -> str:
        """Name of a kernel function."""
        return f"bpf_iter_{self.name}_{verb}"


NUM = Kind("num", 1)
KINDS = (
    NUM,
    Kind("bits", 2),
    Kind("task", 3, task=True, struct=True),
    Kind("task_vma", 1, task=True, struct=True),
    Kind("css", 3, struct=True),
    Kind("css_task", 1, struct=True),
    Kind("kmem_cache", 1, struct=True),
    Kind("dmabuf", 1, struct=True),
)


class Programs:
    """A generator over the functions that a kernel, or the vm, has.

    r6: the context, r7: a task (a number where there is none), r8: a number, r9: a counter.
    """

    def __init__(self, btf: t.Btf, seed: int) -> None:
        self.random = random.Random(seed)
        self.ids = {name: found for name in KFUNCS if (found := btf.find(name, t.Func)) is not None}
        self.names = {found: name for name, found in self.ids.items()}
        self.kinds = [kind for kind in KINDS if kind.function("new") in self.ids]
        self.places = [(ProgType.SCHED_CLS, 0, 0, "", 0)]
        typedef = btf.find("btf_trace_task_newtask", t.Typedef)
        if typedef is not None:  # a kernel's types, not the vm's
            tracing = (ProgType.TRACING, 23, typedef, "task_newtask", 0)
            self.places += [tracing, tracing, (ProgType.SYSCALL, 0, 0, "", 16)]
        self.fitting = self.kinds
        self.open: list[tuple[Kind, int]] = []
        self.flags: list[int] = []
        self.functions: list[bytes] = []

    def case(self) -> Case:
        """The next program."""
        pick = self.random
        self.open, self.flags, self.functions = [], [], []
        kind, attach, attached, name, flags = pick.choice(self.places)
        cgroup = kind is not ProgType.SCHED_CLS and pick.random() < 0.25
        code = _i(0xBF, 6, 1)
        if cgroup:
            code += _i(0xB7, 1, 0, 0, 1) + self._call("bpf_cgroup_from_id") + _i(0x55, 0, 0, 2) + _EXIT + _i(0xBF, 7, 0)
        elif kind is ProgType.TRACING:
            code += _i(0x79, 7, 1, 0)
        elif kind is ProgType.SYSCALL:
            code += _i(0x85, 0, 0, 0, _CURRENT) + _i(0xBF, 7, 0)
        else:
            code += _i(0xB7, 7, 0, 0, 5)
        code += _i(0x85, 0, 0, 0, _RANDOM) + _i(0xBF, 8, 0) + _i(0xB7, 9)
        if pick.random() < 0.5:
            code += b"".join(_i(0x7A, 10, 0, at) for at in range(_DATA, _DATA + 32, 8))
        sleepable = kind is ProgType.SYSCALL
        self.fitting = [each for each in self.kinds if self._fits(each, cgroup, kind)]
        in_rcu = sleepable and pick.random() < 0.4
        if in_rcu:
            code += self._call("bpf_rcu_read_lock")
        for _ in range(pick.randint(1, 3)):
            code += self._statement(2)
        while self.open and pick.random() < 0.97:
            code += self._destroy(*self.open.pop())
        while self.flags and pick.random() < 0.97:
            code += self._restore(self.flags.pop())
        if in_rcu and pick.random() < 0.95:
            code += self._call("bpf_rcu_read_unlock")
        if cgroup:
            code += _i(0xBF, 1, 7) + self._call("bpf_cgroup_release")
        return Case(kind, attach, attached, name, flags, self._linked(code + _EXIT), self.names)

    def loop(self) -> Case:
        """A program that is one loop in which numbers wander from register to register until one is an offset."""
        pick = self.random
        code = b"".join(_i(0xB7, register, 0, 0, pick.choice((0, 0, 1, 8))) for register in (6, 7, 8, 9))
        code += _i(0x7A, 10, 0, _SPILL, pick.choice((0, 1))) + _address(1, -8) + _i(0xB7, 2)
        code += _i(0xB7, 3, 0, 0, pick.choice((3, 10))) + self._call(NUM.function("new"))
        body = self._wandering(pick.randint(2, 6))
        if pick.random() < 0.2:
            inner = _address(1, -16) + self._call(NUM.function("next"))
            inside = self._wandering(pick.randint(1, 3))
            body += _address(1, -16) + _i(0xB7, 2) + _i(0xB7, 3, 0, 0, 4) + self._call(NUM.function("new"))
            body += inner + _i(0x15, 0, 0, _length(inside) + 1) + inside
            body += _i(0x05, 0, 0, -(_length(inner) + 1 + _length(inside) + 1))
            body += _address(1, -16) + self._call(NUM.function("destroy")) + self._wandering(1)
        ask = _address(1, -8) + self._call(NUM.function("next"))
        code += ask + _i(0x15, 0, 0, _length(body) + 1) + body
        code += _i(0x05, 0, 0, -(_length(ask) + 1 + _length(body) + 1))
        code += _address(1, -8) + self._call(NUM.function("destroy"))
        if pick.random() < 0.5:
            code += self._offset(pick.choice((6, 7, 8, 9)))
        return Case(ProgType.SCHED_CLS, 0, 0, "", 0, code + _EXIT, self.names)

    def _offset(self, register: int) -> bytes:
        """A store that is right for 0 to 120."""
        return _i(0xBF, 1, 10) + _i(0x0F, 1, register) + _i(0x72, 1, 0, -400, 7)

    def _wandering(self, count: int) -> bytes:
        pick = self.random
        code = b""
        for _ in range(count):
            a, b = pick.sample((6, 7, 8, 9), 2)
            luck = pick.random()
            if luck < 0.3:
                code += _i(0xBF, a, b)
            elif luck < 0.45:
                code += _i(0x07, a, 0, 0, pick.choice((1, 1, 8, -1)))
            elif luck < 0.55:
                code += _i(0xB7, a, 0, 0, pick.choice((0, 5, 390, 500)))
            elif luck < 0.65:
                code += pick.choice((_i(0x7B, 10, a, _SPILL), _i(0x79, a, 10, _SPILL)))
            elif luck < 0.72:
                code += _i(0x57, a, 0, 0, pick.choice((7, 127)))
            elif luck < 0.85:
                inside = self._wandering(1)
                code += _i(pick.choice((0x15, 0x55, 0xA5, 0x25)), a, 0, _length(inside), pick.choice((0, 1, 8, 50)))
                code += inside
            else:
                code += self._offset(a)
        return code

    @staticmethod
    def _fits(kind: Kind, cgroup: bool, prog_type: ProgType) -> bool:
        if kind.name in ("css", "css_task"):
            return cgroup and (kind.name == "css" or prog_type is ProgType.SYSCALL)
        if kind.task:
            return not cgroup and prog_type is not ProgType.SCHED_CLS
        return prog_type is ProgType.SYSCALL or not kind.struct

    def _linked(self, code: bytes) -> bytes:
        """The program with its functions behind it; calls name them by number."""
        starts = []
        for each in self.functions:
            starts.append(_length(code))
            code += each
        slots = [code[at : at + 8] for at in range(0, len(code), 8)]
        for slot, each in enumerate(slots):
            if each[:2] in (b"\x85\x10", b"\x18\x42"):
                number = int.from_bytes(each[4:], "little")
                slots[slot] = each[:4] + struct.pack("<i", starts[number] - slot - 1)
        return b"".join(slots)

    def _function(self, code: bytes) -> int:
        self.functions.append(code)
        return len(self.functions) - 1

    def _local(self) -> bytes:
        """A call of a function that gets an iterator, or makes its own."""
        pick = self.random
        before = self.open, self.flags
        if pick.random() < 0.4 or not self.open:
            self.open, self.flags = [], []
            body = _i(0xB7, 9) + _i(0xB7, 8) + _i(0xB7, 7) + self._loop(1)
            while self.open and pick.random() < 0.9:
                body += self._destroy(*self.open.pop())
            while self.flags and pick.random() < 0.95:
                body += self._restore(self.flags.pop())
            self.open, self.flags = before
            return _i(0x85, 0, 1, 0, self._function(body + _EXIT))
        kind, place = pick.choice(self.open)
        if pick.random() < 0.2:
            body = self._call(kind.function("destroy"))
        else:
            use = self._use(kind)
            body = _i(0xBF, 6, 1) + self._call(kind.function("next")) + _i(0x15, 0, 0, _length(use)) + use
            body = _i(0xB7, 7) + _i(0xB7, 8) + body
            if pick.random() < 0.3:
                body += _i(0x55, 0, 0, -(_length(body) - 2)) + b""
        return _address(1, place) + _i(0x85, 0, 1, 0, self._function(body + _EXIT))

    def _callback(self) -> bytes:
        """bpf_loop() with a function that counts in the caller's data, or uses the caller's iterator."""
        pick = self.random
        before = self.open, self.flags
        body = _i(0xBF, 6, 2)
        if self.open and pick.random() < 0.5:
            kind, place = pick.choice(self.open)
            use = self._use(kind)
            body += _i(0xBF, 1, 6) + self._call(kind.function("next")) + _i(0x15, 0, 0, _length(use)) + use
        else:
            place = _DATA
            body += _i(0x79, 9, 6, 0) + pick.choice((_i(0x07, 9, 0, 0, 1), _i(0x57, 9, 0, 0, 7), _i(0xB7, 9, 0, 0, 9)))
            body += _i(0x7B, 6, 9, 0)
        if pick.random() < 0.3:
            self.open, self.flags = [], []
            body += _i(0xB7, 8) + self._loop(0) + b"".join(self._destroy(*each) for each in self.open)
            self.open, self.flags = before
        code = _i(0xB7, 1, 0, 0, pick.choice((1, 5, 1000))) + _i(0x18, 2, 4, 0, self._function(body + _EXIT))
        return code + bytes(8) + _address(3, place) + _i(0xB7, 4) + _i(0x85, 0, 0, 0, _LOOP)

    def _may_goto(self, depth: int) -> bytes:
        """A loop that only its budget ends."""
        before = list(self.open), list(self.flags)
        body = b"".join(self._statement(depth - 1) for _ in range(self.random.randint(1, 2)))
        while len(self.open) > len(before[0]):
            body += self._destroy(*self.open.pop())
        while len(self.flags) > len(before[1]):
            body += self._restore(self.flags.pop())
        return _i(0xE5, 0, 0, _length(body) + 1) + body + _i(0x05, 0, 0, -(_length(body) + 2))

    def _call(self, name: str) -> bytes:
        return _i(0x85, 0, 2, 0, self.ids[name])

    def _place(self) -> int:
        return self.random.choice(_PLACES) if self.random.random() < 0.97 else self.random.choice((0, -4, -512, -504))

    def _statement(self, depth: int) -> bytes:
        pick = self.random
        luck = pick.random()
        if luck < 0.25 and depth:
            return self._loop(depth)
        if luck < 0.35 and depth:
            return pick.choice((self._local, self._callback, lambda: self._may_goto(depth)))()
        if luck < 0.45:
            return self._new()
        if luck < 0.55 and self.open:
            return self._next(*pick.choice(self.open))
        if luck < 0.6 and self.open:
            place = pick.randrange(len(self.open))
            return self._destroy(*(self.open.pop(place) if pick.random() < 0.7 else self.open[place]))
        if luck < 0.68 and "bpf_local_irq_save" in self.ids:
            return self._flags()
        if luck < 0.74 and depth:
            return self._branch(depth)
        if luck < 0.78 and "bpf_rcu_read_lock" in self.ids:
            return self._section()
        return pick.choice((self._store, self._load, self._helper, self._count, self._count, self._count))()

    def _new(self) -> bytes:
        pick = self.random
        kind = NUM if pick.random() < 0.5 else pick.choice(self.fitting if pick.random() < 0.97 else self.kinds)
        place = self._place()
        code = _address(1, place)
        if kind.name == "num":
            code += _i(0xB7, 2) + (_i(0xB7, 3, 0, 0, 10) if pick.random() < 0.7 else _i(0xBF, 3, 8))
        elif kind.name == "bits":
            code += _address(2, _DATA) + _i(0xB7, 3, 0, 0, 1)
        elif kind.task:
            code += (_i(0xBF, 2, 7) if pick.random() < 0.9 else _i(0xB7, 2)) + _i(0xB7, 3)
        elif kind.name in ("css", "css_task"):
            code += _i(0xBF, 2, pick.choice((7, 8))) + _i(0xB7, 3)
        if (kind, place) not in self.open:
            self.open.append((kind, place))
        return code + self._call(kind.function("new"))

    def _destroy(self, kind: Kind, place: int) -> bytes:
        return _address(1, place) + self._call(kind.function("destroy"))

    def _next(self, kind: Kind, place: int) -> bytes:
        inside = self._use(kind)
        code = _address(1, place) + self._call(kind.function("next"))
        return code + (_i(0x15, 0, 0, _length(inside)) if self.random.random() < 0.95 else b"") + inside

    def _use(self, kind: Kind) -> bytes:
        pick = self.random
        luck = pick.random()
        if luck < 0.6:
            return _i(0x79 if kind.struct or luck < 0.03 else 0x61, pick.choice((1, 8)), 0, 0)
        if luck < 0.65:
            return _i(0x7A, 0, 0, 0, 1)
        if luck < 0.75 and kind.name in ("task", "css_task"):
            leak = b"" if pick.random() < 0.1 else _i(0xBF, 1, 0) + self._call("bpf_task_release")
            return _i(0xBF, 1, 0) + self._call("bpf_task_acquire") + _i(0x15, 0, 0, _length(leak)) + leak
        if luck < 0.85:
            return _i(0x7B, 10, 0, pick.choice((_DATA, -136)))
        return _i(0xBF, 7, 0)

    def _loop(self, depth: int) -> bytes:
        """New, next until NULL or something else, destroy."""
        pick = self.random
        code = self._new() if pick.random() < 0.8 or not self.open else b""
        kind, place = self.open[-1]
        before = list(self.open), list(self.flags)
        ask = _address(1, place) + self._call(kind.function("next"))
        body = b"".join(
            self._use(kind) if pick.random() < 0.4 else self._statement(depth - 1) for _ in range(pick.randint(0, 3))
        )
        if pick.random() < 0.85:  # what was opened in the body is closed in it
            while len(self.open) > len(before[0]):
                body += self._destroy(*self.open.pop())
            while len(self.flags) > len(before[1]):
                body += self._restore(self.flags.pop())
        leave = _i(0x15, pick.choice((8, 9)), 0, 1, pick.choice((0, 3, 50))) if pick.random() < 0.2 else b""
        body += leave
        code += ask + _i(0x15, 0, 0, _length(body) + 1) + body
        code += _i(0x05, 0, 0, -(_length(ask) + 1 + _length(body) + 1))
        if pick.random() < 0.8 and (kind, place) in self.open:
            self.open.remove((kind, place))
            code += self._destroy(kind, place)
        return code

    def _branch(self, depth: int) -> bytes:
        before = list(self.open), list(self.flags)
        inside = self._statement(depth - 1)
        if self.random.random() < 0.8:
            while len(self.open) > len(before[0]):
                inside += self._destroy(*self.open.pop())
            while len(self.flags) > len(before[1]):
                inside += self._restore(self.flags.pop())
            self.open, self.flags = before
        opcode, register, imm = self.random.choice(((0x15, 8, 7), (0xA5, 9, 5), (0x55, 9, 0), (0xC5, 8, 0)))
        return _i(opcode, register, 0, _length(inside), imm) + inside

    def _flags(self) -> bytes:
        if self.flags and self.random.random() < 0.5:
            place = self.flags.pop() if self.random.random() < 0.9 else self.flags.pop(0)
            return self._restore(place)
        place = self._place()
        self.flags.append(place)
        return _address(1, place) + self._call("bpf_local_irq_save")

    def _restore(self, place: int) -> bytes:
        return _address(1, place) + self._call("bpf_local_irq_restore")

    def _section(self) -> bytes:
        pick = self.random
        name, other = pick.choice(
            (("bpf_rcu_read_lock", "bpf_rcu_read_unlock"), ("bpf_preempt_disable", "bpf_preempt_enable"))
        )
        inside = self._statement(0) if pick.random() < 0.9 else self._statement(1)
        if pick.random() < 0.2:
            name, other = other, name
        return self._call(name) + inside + self._call(other)

    def _store(self) -> bytes:
        pick = self.random
        place = pick.choice((*_PLACES, _DATA, _DATA, _DATA, -136, -96))
        luck = pick.random()
        if luck < 0.3:
            size = pick.choice((0x72, 0x62, 0x7A))
            return _i(size, 10, 0, place, pick.choice((0, 1)))
        if luck < 0.6:
            return _i(0x7B, 10, pick.choice((7, 8, 9)), place)
        mask = pick.choice((8, 24))
        return _i(0xBF, 1, 8) + _i(0x57, 1, 0, 0, mask) + _i(0x0F, 1, 10) + _i(0x7A, 1, 0, place - mask, 0)

    def _load(self) -> bytes:
        pick = self.random
        place = pick.choice((*_PLACES, _DATA, _DATA, _DATA, -136))
        register = pick.choice((1, 8, 9))
        luck = pick.random()
        if luck < 0.7:
            return _i(pick.choice((0x71, 0x61, 0x79)), register, 10, place)
        return _i(0xBF, 1, 9) + _i(0x57, 1, 0, 0, 8) + _i(0x0F, 1, 10) + _i(0x79, register, 1, place - 8)

    def _helper(self) -> bytes:
        pick = self.random
        place, size = pick.choice((*_PLACES, _DATA, _DATA, _DATA)), pick.choice((1, 8, 16))
        luck = pick.random()
        if luck < 0.4:
            return _address(1, place) + _i(0xB7, 2, 0, 0, size) + _i(0x85, 0, 0, 0, _COMM)
        if luck < 0.6:
            return _address(1, place) + _i(0xB7, 2, 0, 0, size) + _i(0x85, 0, 0, 0, _PRINTK)
        if luck < 0.75:
            return _address(1, place) + _i(0xB7, 2, 0, 0, 8) + _i(0xB7, 3) + _i(0x85, 0, 0, 0, _SLEEPS[1])
        return _i(0x85, 0, 0, 0, pick.choice((_RANDOM, _JIFFIES))) + _i(0xBF, 8, 0)

    def _count(self) -> bytes:
        pick = self.random
        luck = pick.random()
        if luck < 0.35:
            return _i(0x07, 9, 0, 0, pick.choice((1, 1, 8, -1)))
        if luck < 0.45:
            return _i(0xB7, 9, 0, 0, pick.choice((0, 1, 16)))
        if luck < 0.6:  # only small numbers go on
            return _i(0xA5, 9, 0, 1, pick.choice((8, 32))) + _i(0xB7, 9)
        if luck < 0.7:
            return _i(0x57, pick.choice((8, 9)), 0, 0, 24)
        if luck < 0.9:  # the counter is an offset into the data
            return _i(0xBF, 1, 10) + _i(0x0F, 1, 9) + _i(0x72, 1, 0, _DATA, 7)
        return _i(0xBF, 9, 8)
