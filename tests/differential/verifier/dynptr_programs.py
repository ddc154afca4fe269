"""Random programs about dynptrs: made, cloned, sliced, written over, given back, in every order.

Most statements are right, so that many programs are accepted; some are not. They need the maps MAPS.
"""

from __future__ import annotations

import random
from dataclasses import replace

from skep.abi.map_types import MapType
from skep.abi.prog_types import ProgType
from skep.isa.instruction import Instruction, KfuncRef, MapRef, MapValueRef
from skep.model.maps import MapSpec
from skep.model.programs import LinkedProgram, Subprogram
from skep.model.target import Target

MAPS = {
    "state": MapSpec("state", MapType.ARRAY, 4, 64, 1),
    "events": MapSpec("events", MapType.RINGBUF, 0, 0, 4096),
}
_PLACES = (-16, -24, -32, -48, -64, -80)  # of dynptrs
_BUFFER, _SPILL, _CONTEXT = -128, -136, -8
_BUFFERS = (_BUFFER, _BUFFER, _BUFFER, -104, -144, -40)  # the last lies among the dynptrs
_HELD = (6, 7, 8)  # registers for slices
_FROM_MEM, _RESERVE, _SUBMIT, _DISCARD, _READ, _WRITE, _DATA = range(197, 204)
_RANDOM, _PULL, _ADJUST_HEAD = 7, 39, 44
_MOV, _MOV_IMM, _ADD_IMM, _LOAD8, _LOAD1, _STORE8, _STORE1, _SPILL8 = 0xBF, 0xB7, 0x07, 0x79, 0x71, 0x7A, 0x72, 0x7B
_JUMP, _IF_EQ, _IF_NE, _CALL, _EXIT, _IMM64 = 0x05, 0x15, 0x55, 0x85, 0x95, 0x18


def program(target: Target, seed: int, *, kfuncs: bool = True) -> LinkedProgram:
    """One program, for tc or XDP. Without ``kfuncs``: of helpers only."""
    made = _Maker(seed, kfuncs)
    insns = made.build()
    return LinkedProgram(
        name=f"seed_{seed}",
        section="",
        prog_type=ProgType.XDP if made.xdp else ProgType.SCHED_CLS,
        attach_type=None,
        attach_to="",
        sleepable=False,
        frags=False,
        license="GPL",
        insns=insns,
        subprograms=(Subprogram("entry", 0, sum(insn.width for insn in insns)),),
        lines={},
        maps=MAPS,
        target=target,
    )


class _Maker:
    """Writes one program. ``dynptrs``: what lives at which place; ``slices``: register -> writable, place."""

    def __init__(self, seed: int, kfuncs: bool) -> None:
        self.random = random.Random(seed)
        self.xdp = self.random.random() < 0.25
        self.code: list[Instruction] = []
        self.targets: dict[int, int] = {}  # position of a jump -> position it goes to
        self.dynptrs: dict[int, str] = {}
        self.slices: dict[int, tuple[bool, int]] = {}
        self.branching = False
        self.statements = [
            *[self.from_memory, self.reserve, self.data, self.read, self.write, self.branch, self.move_packet],
            *[self.store, self.load, self.use, self.use, self.use, self.release, self.release, self.spill, self.move],
        ]
        if kfuncs:
            self.statements += [self.from_packet, self.clone, self.ask, self.slice, self.slice, self.adjust]

    def build(self) -> tuple[Instruction, ...]:
        """The whole program: what is open at the end is given back, mostly."""
        self.add(_SPILL8, 10, 1, _CONTEXT)
        for register in _HELD:
            self.add(_MOV_IMM, register)
        for _ in range(self.random.randrange(3, 18)):
            self.random.choice(self.statements)()
        for place in [place for place, kind in self.dynptrs.items() if kind == "ring"]:
            if self.random.random() < 0.95:
                self.address(1, place)
                self.helper(_SUBMIT, 0, 0)
        self.add(_MOV_IMM, 0)
        self.add(_EXIT)
        return self.linked()

    def linked(self) -> tuple[Instruction, ...]:
        """Jumps get their distances."""
        starts = [0]
        for insn in self.code:
            starts.append(starts[-1] + insn.width)
        return tuple(
            replace(insn, off=starts[min(self.targets[at], len(self.code) - 2)] - starts[at] - 1)
            if at in self.targets
            else insn
            for at, insn in enumerate(self.code)
        )

    # ---- words ----

    def likely(self, chance: float) -> bool:
        return self.random.random() < chance

    def add(self, opcode: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> None:
        self.code.append(Instruction(opcode, dst, src, off, imm))

    def address(self, register: int, place: int) -> None:
        self.add(_MOV, register, 10)
        self.add(_ADD_IMM, register, imm=place)

    def state(self, register: int) -> None:
        self.code.append(Instruction(_IMM64, register, 2, 0, 0, MapValueRef("state", 0)))

    def helper(self, number: int, *numbers: int) -> None:
        """``numbers``: for the registers after the first."""
        for register, value in enumerate(numbers, start=2):
            self.add(_MOV_IMM, register, imm=value)
        self.add(_CALL, imm=number)

    def kfunc(self, name: str) -> None:
        self.code.append(Instruction(_CALL, 0, 2, 0, -1, KfuncRef(name)))

    def free_place(self) -> int:
        free = [place for place in _PLACES if all(abs(place - other) >= 16 for other in self.dynptrs)]
        return self.random.choice(free if free and self.likely(0.985) else _PLACES)

    def place(self) -> int:
        return self.random.choice(list(self.dynptrs) if self.dynptrs and self.likely(0.99) else _PLACES)

    def live(self, place: int, kind: str) -> None:
        for other in [other for other in self.dynptrs if abs(place - other) < 16]:
            del self.dynptrs[other]
        self.dynptrs[place] = kind

    # ---- statements ----

    def from_memory(self) -> None:
        place = self.free_place()
        self.address(4, place)
        self.state(1)
        self.helper(_FROM_MEM, self.random.choice((8, 16, 32)), 0)
        self.live(place, "local")

    def reserve(self) -> None:
        place = self.free_place()
        self.address(4, place)
        self.code.append(Instruction(_IMM64, 1, 1, 0, 0, MapRef("events")))
        self.helper(_RESERVE, 16, 0)
        self.live(place, "ring")

    def from_packet(self) -> None:
        place = self.free_place()
        self.add(_LOAD8, 1, 10, _CONTEXT)
        self.add(_MOV_IMM, 2)
        self.address(3, place)
        kind = "xdp" if self.xdp else self.random.choice(("skb", "skb", "skb_meta"))
        self.kfunc(f"bpf_dynptr_from_{kind}")
        self.live(place, "packet")

    def clone(self) -> None:
        source, place = self.place(), self.free_place()
        self.address(1, source)
        self.address(2, place)
        self.kfunc("bpf_dynptr_clone")
        kind = self.dynptrs.get(source, "local")
        self.live(place, "clone" if kind == "ring" else kind)

    def ask(self) -> None:
        self.address(1, self.place())
        self.kfunc(self.random.choice(("bpf_dynptr_size", "bpf_dynptr_is_null", "bpf_dynptr_is_rdonly")))

    def adjust(self) -> None:
        self.address(1, self.place())
        self.add(_MOV_IMM, 2)
        self.add(_MOV_IMM, 3, imm=8)
        self.kfunc("bpf_dynptr_adjust")

    def keep(self, place: int, *, writable: bool) -> None:
        """r0 goes to a register of its own; where it is NULL, something else does."""
        if self.likely(0.98):
            self.add(_IF_NE, 0, off=2)
            self.state(0)
        register = self.random.choice(_HELD)
        self.add(_MOV, register)
        self.slices[register] = writable, place

    def data(self) -> None:
        place = self.place()
        self.address(1, place)
        self.helper(_DATA, 0, 8)
        self.keep(place, writable=True)

    def slice(self) -> None:
        place, writable = self.place(), self.likely(0.5)
        self.address(1, place)
        self.add(_MOV_IMM, 2)
        way = self.random.random()
        if way < 0.4:
            self.add(_MOV_IMM, 3)
        elif way < 0.7:
            self.state(3)
        else:
            self.address(3, self.random.choice(_BUFFERS))
        self.add(_MOV_IMM, 4, imm=self.random.choice((4, 8)))
        self.kfunc("bpf_dynptr_slice_rdwr" if writable else "bpf_dynptr_slice")
        self.keep(place, writable=writable)

    def read(self) -> None:
        self.address(1, self.random.choice(_BUFFERS))
        self.address(3, self.place())
        self.add(_MOV_IMM, 2, imm=self.random.choice((4, 8, 16)))
        self.add(_MOV_IMM, 4)
        self.add(_MOV_IMM, 5)
        self.add(_CALL, imm=_READ)

    def write(self) -> None:
        self.address(1, self.place())
        self.add(_MOV_IMM, 2)
        if self.slices and self.likely(0.3):
            self.add(_MOV, 3, self.random.choice(list(self.slices)))
        else:
            self.state(3)
        self.add(_MOV_IMM, 4, imm=4)
        self.add(_MOV_IMM, 5)
        self.add(_CALL, imm=_WRITE)

    def store(self) -> None:
        place = self.random.choice((*_BUFFERS, -24, -120))
        if self.likely(0.5):
            self.add(_STORE8, 10, off=place)
        else:
            self.add(_STORE1, 10, off=place + self.random.choice((0, 7)))
        for other in [other for other in self.dynptrs if other <= place < other + 16]:
            del self.dynptrs[other]

    def load(self) -> None:
        self.add(_LOAD8, 0, 10, self.random.choice((*_BUFFERS, -120)))

    def use(self) -> None:
        if not self.slices:
            return
        register = self.random.choice(list(self.slices))
        off = self.random.choice((0, 1, 2, 3, 3, 3, 3, 4))
        if self.slices[register][0] and self.likely(0.5):
            self.add(_STORE1, register, off=off)
        else:
            self.add(_LOAD1, 0, register, off)

    def release(self) -> None:
        rings = [place for place, kind in self.dynptrs.items() if kind in ("ring", "clone")]
        if not rings and self.likely(0.97):
            return
        place = self.random.choice(rings) if rings else self.place()
        self.address(1, place)
        self.helper(self.random.choice((_SUBMIT, _DISCARD)), 0)
        for other in rings:
            if other == place or self.dynptrs.get(place) == "clone" or self.likely(0.2):
                self.dynptrs.pop(other, None)
        if self.likely(0.9):
            self.slices = {register: held for register, held in self.slices.items() if held[1] not in rings}

    def branch(self) -> None:
        """Some statements that run or do not, or one of two groups."""
        if self.branching:
            return
        self.branching = True
        self.helper(_RANDOM)
        before = dict(self.dynptrs), dict(self.slices)
        at = len(self.code)
        self.add(_IF_EQ)
        self.some()
        after = dict(self.dynptrs), dict(self.slices)
        if self.likely(0.5):
            end = len(self.code)
            self.add(_JUMP)
            self.targets[at] = len(self.code)
            self.dynptrs, self.slices = before
            self.some()
            self.targets[end] = len(self.code)
            before = dict(self.dynptrs), dict(self.slices)
        else:
            self.targets[at] = len(self.code)
        self.dynptrs = {place: kind for place, kind in before[0].items() if after[0].get(place) == kind}
        self.slices = {register: held for register, held in before[1].items() if after[1].get(register) == held}
        self.branching = False

    def some(self) -> None:
        for _ in range(self.random.randrange(1, 4)):
            self.random.choice(self.statements)()

    def move_packet(self) -> None:
        if self.likely(0.5):
            return
        self.add(_LOAD8, 1, 10, _CONTEXT)
        self.helper(_ADJUST_HEAD if self.xdp else _PULL, 0)
        if self.likely(0.85):
            kept = {register: held for register, held in self.slices.items() if self.dynptrs.get(held[1]) != "packet"}
            self.slices = kept

    def spill(self) -> None:
        if self.slices:
            register = self.random.choice(list(self.slices))
            self.add(_SPILL8, 10, register, _SPILL)
            self.helper(_RANDOM)
            self.add(_LOAD8, register, 10, _SPILL)

    def move(self) -> None:
        if self.slices and self.likely(0.3):
            self.add(_ADD_IMM, self.random.choice(list(self.slices)), imm=self.random.choice((0, 1, -1)))
