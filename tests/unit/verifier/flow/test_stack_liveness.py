"""No cell that is called dead is read before it is overwritten, on any path of random programs."""

from __future__ import annotations

import random

import pytest

from skep.isa import opcodes as op
from skep.isa.instruction import Instruction
from skep.verifier.flow import cfg
from skep.verifier.flow.stack_liveness import live_cells

EXIT = Instruction(op.JMP | op.EXIT)
SIZES = (op.B, op.H, op.W, op.DW)


def random_program(rng: random.Random, length: int) -> list[Instruction]:
    """Stores and loads around r10, pointers into the frame that move, branches forward and back."""
    body = []
    for slot in range(length):
        size = rng.choice(SIZES)
        bytes_ = op.SIZE_BYTES[size]
        off = -rng.randrange(bytes_, 49, bytes_)
        kind = rng.randrange(9)
        if kind == 0:
            body.append(Instruction(op.STX | op.MEM | size, 10, 1, off))
        elif kind == 1:
            body.append(Instruction(op.ST | op.MEM | op.DW, 10, 0, -8 * rng.randrange(1, 7), 5))
        elif kind == 2:
            body.append(Instruction(op.LDX | op.MEM | size, 0, 10, off))
        elif kind == 3:
            body.append(Instruction(op.ALU64 | op.MOV | op.X, rng.choice((6, 7)), rng.choice((10, 6))))
        elif kind == 4:
            body.append(Instruction(op.ALU64 | op.ADD | op.K, rng.choice((6, 7)), 0, 0, rng.choice((-8, -16, 8))))
        elif kind == 5:
            body.append(Instruction(op.LDX | op.MEM | size, 1, rng.choice((6, 7)), -8))
        elif kind == 6:
            body.append(Instruction(op.STX | op.MEM | op.DW, rng.choice((6, 7)), 1, -8))
        else:
            target = rng.randrange(length + 1) if kind == 7 else min(length, slot + rng.randrange(1, 5))
            body.append(Instruction(op.JMP | op.JEQ | op.K, 0, 0, target - slot - 1, rng.randrange(2)))
    start = [Instruction(op.ALU64 | op.MOV | op.X, 6, 10), Instruction(op.ALU64 | op.MOV | op.X, 7, 10)]
    return [*start, *body, EXIT]


def run(code: list[Instruction], rng: random.Random) -> list[tuple[int, set[int], set[int]]]:
    """One path: (slot, bytes read, bytes written) by offset from r10. Branches go either way."""
    at = dict.fromkeys((6, 7, 10), 0)
    path = []
    slot = 0
    while len(path) < 60 and code[slot] is not EXIT:
        insn = code[slot]
        klass, following = insn.opcode & op.CLASS_MASK, slot + 1
        read: set[int] = set()
        written: set[int] = set()
        if klass in (op.ST, op.STX, op.LDX):
            first = at[insn.src if klass == op.LDX else insn.dst] + insn.off
            touched = set(range(first, first + op.SIZE_BYTES[insn.opcode & op.SIZE_MASK]))
            read, written = (touched, set()) if klass == op.LDX else (set(), touched)
        elif insn.opcode == op.ALU64 | op.MOV | op.X:
            at[insn.dst] = at[insn.src]
        elif klass == op.ALU64:
            at[insn.dst] += insn.imm
        elif rng.random() < 0.5:
            following = cfg.jump_target(insn, slot)
        path.append((slot, read, written))
        slot = following
    return path


@pytest.mark.parametrize("seed", range(40))
def test_dead_cells_are_not_read(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(10):
        code = random_program(rng, 14)
        live = live_cells(cfg.build(code))
        for _ in range(4):
            needed: set[int] = set()  # bytes that the rest of the path reads before it writes them
            for slot, read, written in reversed(run(code, rng)):
                needed = (needed - written) | read
                cells = {(-byte - 1) // 8 for byte in needed if -512 <= byte < 0}
                assert all(live[slot] >> cell & 1 for cell in cells), (slot, code)


def test_not_everything_is_live() -> None:
    """The analysis is of use: in random programs at least a third of the cells that are touched are dead somewhere."""
    rng = random.Random(1)
    dead = total = 0
    for _ in range(200):
        live = live_cells(cfg.build(random_program(rng, 14)))
        total += 6 * len(live)
        dead += sum(not mask >> cell & 1 for mask in live for cell in range(6))
    assert dead > total / 3
