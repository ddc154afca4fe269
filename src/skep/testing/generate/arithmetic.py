"""Numbers: every operation, and the many ways in which C code keeps a number small enough."""

from __future__ import annotations

from collections.abc import Callable

from skep.isa import opcodes as op
from skep.testing.generate.code import Function, Label

ALU_CODES = (op.ADD, op.SUB, op.MUL, op.DIV, op.OR, op.AND, op.MOD, op.XOR, op.MOV, op.LSH, op.RSH, op.ARSH)
CONDITIONS = (op.JEQ, op.JGT, op.JGE, op.JSET, op.JNE, op.JSGT, op.JSGE, op.JLT, op.JLE, op.JSLT, op.JSLE)
_SHIFTS = (op.LSH, op.RSH, op.ARSH)


def alu(f: Function) -> None:
    """One operation on numbers."""
    chance = f.chance
    group = chance.choice((op.ALU, op.ALU64))
    dst, src = f.number(), f.number()
    if dst in f.busy:
        return
    width = 64 if group == op.ALU64 else 32
    kind = chance.randrange(10)
    if kind < 7:
        code = chance.choice(ALU_CODES)
        signed = int(code in (op.DIV, op.MOD) and chance.random() < 0.5)
        if chance.random() < 0.5:
            f.emit(group | code | op.X, dst, src, signed)
            return
        imm = chance.randrange(width) if code in _SHIFTS else f.imm()
        f.emit(group | code | op.K, dst, off=signed, imm=imm or int(code in (op.DIV, op.MOD)))
    elif kind == 7:
        f.emit(group | op.NEG, dst)
    elif kind == 8:
        f.emit(group | op.MOV | op.X, dst, src, chance.choice((8, 16, 32) if width == 64 else (8, 16)))
    else:
        source = op.K if group == op.ALU64 else chance.choice((op.K, op.X))
        f.emit(group | op.END | source, dst, imm=chance.choice((16, 32, 64)))


def compare(f: Function, to: Label) -> None:
    """A conditional jump on numbers."""
    chance = f.chance
    group, code = chance.choice((op.JMP, op.JMP32)), chance.choice(CONDITIONS)
    if chance.random() < 0.4:
        f.jump(to, group | code | op.X, f.number(), f.number())
    else:
        f.jump(to, group | code | op.K, f.number(), imm=f.imm())


# ---- a number that must lie between 0 and a limit ----


def bound(f: Function, r: int, limit: int) -> None:
    """Keep r within 0..limit, or jump to ``f.fail``; sometimes not quite."""
    limit = max(limit, 0)
    if f.slip(0.1):
        limit += f.chance.choice((1, 1, 2, 7, 8))
    f.chance.choice(_BOUNDS)(f, r, limit)


def _mask(f: Function, r: int, limit: int) -> None:
    mask = (1 << (limit + 1).bit_length() - 1) - 1
    if f.chance.random() < 0.3:
        mask = limit
    f.emit(f.chance.choice((op.ALU64, op.ALU64, op.ALU)) | op.AND | op.K, r, imm=mask)


def _unsigned(f: Function, r: int, limit: int) -> None:
    if f.chance.random() < 0.5:
        f.jump(f.fail, op.JMP | op.JGT | op.K, r, imm=limit)
    else:
        f.jump(f.fail, op.JMP | op.JGE | op.K, r, imm=limit + (not f.slip(0.05)))


def _signed(f: Function, r: int, limit: int) -> None:
    checks = [(op.JSGT, limit), (op.JSLT, 0)]
    f.chance.shuffle(checks)
    group = op.JMP
    if f.slip(0.1):
        checks.pop()
    if f.slip(0.1):
        group = op.JMP32
    for code, imm in checks:
        f.jump(f.fail, group | code | op.K, r, imm=imm)


def _narrow(f: Function, r: int, limit: int) -> None:
    if not f.slip(0.1):
        f.emit(op.ALU | op.MOV | op.X, r, r)
    f.jump(f.fail, op.JMP32 | op.JGT | op.K, r, imm=limit)


def _narrow_later(f: Function, r: int, limit: int) -> None:
    f.jump(f.fail, op.JMP32 | op.JGT | op.K, r, imm=limit)
    if not f.slip(0.2):
        f.emit(op.ALU | op.MOV | op.X, r, r)


def _narrow_signed(f: Function, r: int, limit: int) -> None:
    checks = [(op.JSGT, limit), (op.JSLT, 0)]
    f.chance.shuffle(checks)
    if f.slip(0.1):
        checks.pop()
    for code, imm in checks:
        f.jump(f.fail, op.JMP32 | code | op.K, r, imm=imm)
    if f.chance.random() < 0.7:
        f.emit(op.ALU | op.MOV | op.X, r, r)
    else:
        f.emit(op.ALU64 | op.MOV | op.X, r, r, 32)


def _shift(f: Function, r: int, limit: int) -> None:
    bits = (limit + 1).bit_length() - 1
    if f.chance.random() < 0.6:
        f.emit(op.ALU64 | op.RSH | op.K, r, imm=min(63, 64 - bits))
    else:
        f.emit(op.ALU | op.RSH | op.K, r, imm=min(31, 32 - min(bits, 32)))
    if not bits:
        f.emit(op.ALU64 | op.AND | op.K, r, imm=0)


def _modulo(f: Function, r: int, limit: int) -> None:
    group = f.chance.choice((op.ALU64, op.ALU))
    f.emit(group | op.MOD | op.K, r, imm=limit + 1)


def _signed_modulo(f: Function, r: int, limit: int) -> None:
    f.emit(op.ALU64 | op.MOD | op.K, r, off=1, imm=limit + 1)
    if not f.slip(0.2):
        f.jump(f.fail, op.JMP | op.JSLT | op.K, r, imm=0)


def _extend(f: Function, r: int, limit: int) -> None:
    """Sign extension by two shifts or movsx, then signed checks."""
    if f.chance.random() < 0.5:
        f.emit(op.ALU64 | op.LSH | op.K, r, imm=32)
        f.emit(op.ALU64 | op.ARSH | op.K, r, imm=32)
    else:
        f.emit(op.ALU64 | op.MOV | op.X, r, r, f.chance.choice((8, 16, 32)))
    _signed(f, r, limit)


def _by_register(f: Function, r: int, limit: int) -> None:
    other = f.temporary(r)
    f.set(other, limit)
    f.scalars.add(other)
    code = op.JGT if f.chance.random() < 0.7 else op.JSGT
    f.jump(f.fail, op.JMP | code | op.X, r, other)
    if code == op.JSGT and not f.slip(0.1):
        f.jump(f.fail, op.JMP | op.JSLT | op.K, r, imm=0)


def _by_twin(f: Function, r: int, limit: int) -> None:
    """A copy, moved, is compared: the verifier must carry over what it learns, and wrap where the machine wraps."""
    twin, step = f.temporary(r), f.chance.choice((0, 0, 1, 4, 8, -1, -8, 1000))
    if f.chance.random() < 0.5 and not f.slip(0.1):
        f.emit(op.ALU | op.MOV | op.X, r, r)
    if f.chance.random() < 0.8:
        f.move(twin, r)
    else:
        f.emit(op.ALU | op.MOV | op.X, twin, r)
    if step:
        f.emit((op.ALU64 if f.chance.random() < 0.8 else op.ALU) | op.ADD | op.K, twin, imm=step)
    f.scalars.add(twin)
    group = op.JMP if f.chance.random() < 0.8 else op.JMP32
    f.jump(f.fail, group | op.JGT | op.K, twin, imm=limit + step if limit + step >= 0 else limit)
    if step < 0 and not f.slip(0.2):
        f.jump(f.fail, op.JMP | op.JLT | op.K, r, imm=0)
        f.jump(f.fail, op.JMP | op.JGT | op.K, r, imm=limit)


def _bits(f: Function, r: int, limit: int) -> None:
    """No bit above the mask is set."""
    mask = (1 << (limit + 1).bit_length() - 1) - 1
    group = op.JMP if f.chance.random() < 0.7 else op.JMP32
    f.jump(f.fail, group | op.JSET | op.K, r, imm=~mask)
    if group == op.JMP32 and not f.slip(0.3):
        f.emit(op.ALU | op.MOV | op.X, r, r)


def _choice(f: Function, r: int, limit: int) -> None:
    """One of two numbers, by a branch."""
    after = Label()
    compare(f, after) if f.scalars - {r} else None
    values = [f.chance.randint(0, limit), limit]
    low, high = Label(), Label()
    f.jump(low, op.JMP | f.chance.choice((op.JGT, op.JSET, op.JSGE)) | op.K, r, imm=f.imm())
    f.set(r, values[0])
    f.jump(high)
    f.place(low)
    f.set(r, values[1])
    f.place(high)
    f.place(after)
    f.emit(op.ALU64 | op.AND | op.K, r, imm=(1 << (limit + 1).bit_length() - 1) - 1)


def _equal(f: Function, r: int, limit: int) -> None:
    done = Label()
    for value in sorted({0, limit, f.chance.randint(0, limit)}):
        f.jump(done, f.chance.choice((op.JMP, op.JMP, op.JMP32)) | op.JEQ | op.K, r, imm=value)
    f.jump(f.fail)
    f.place(done)


def _subtract(f: Function, r: int, limit: int) -> None:
    """limit - (r & mask): between."""
    mask = (1 << (limit + 1).bit_length() - 1) - 1
    f.emit(op.ALU64 | op.AND | op.K, r, imm=mask)
    f.emit(op.ALU64 | op.NEG, r)
    f.add(r, limit)


def _spilled(f: Function, r: int, limit: int) -> None:
    """Bounded after it went through the stack, in part or whole."""
    size = f.chance.choice((8, 8, 4, 4, 2))
    off = f.stack_offset(8)
    if f.chance.random() < 0.5:
        f.store(10, off, 8 if f.chance.random() < 0.7 else size, r)
        f.load(r, 10, off, size)
        _unsigned(f, r, limit)
        return
    _unsigned(f, r, limit)
    f.store(10, off, size, r)
    f.load(r, 10, off, size if not f.slip(0.2) else 8)


def _rotated(f: Function, r: int, limit: int) -> None:
    """Byte swapped, then small because the mask says so."""
    f.emit(op.ALU | op.END | f.chance.choice((op.K, op.X)), r, imm=f.chance.choice((16, 32, 64)))
    _mask(f, r, limit)


_BOUNDS: tuple[Callable[[Function, int, int], None], ...] = (
    _mask, _mask, _unsigned, _unsigned, _signed, _narrow, _narrow_later, _narrow_signed, _shift, _modulo,
    _signed_modulo, _extend, _by_register, _by_twin, _by_twin, _bits, _choice, _equal, _subtract, _spilled, _spilled,
    _rotated,
)  # fmt: skip


def index(f: Function, limit: int, *besides: int) -> int:
    """A register with a number in 0..limit, made by bounding and then calculating."""
    r = f.fresh(*besides)
    with f.keeping(r, *besides):
        kind = f.chance.randrange(7)
        if kind == 0 and limit >= 4:
            scale = f.chance.choice((2, 4, 8) if limit >= 16 else (2,))
            bound(f, r, limit // scale)
            f.emit(op.ALU64 | op.LSH | op.K, r, imm=scale.bit_length() - 1)
        elif kind == 1 and limit >= 6:
            scale = f.chance.choice((3, 5, 6))
            bound(f, r, limit // scale)
            f.emit(f.chance.choice((op.ALU64, op.ALU)) | op.MUL | op.K, r, imm=scale)
        elif kind == 2 and limit >= 2:
            step = f.chance.randint(1, limit)
            bound(f, r, limit - step)
            f.emit(f.chance.choice((op.ALU64, op.ALU)) | op.ADD | op.K, r, imm=step)
        elif kind == 3 and limit >= 8:
            bound(f, r, limit * 2 + 1)
            f.emit(f.chance.choice((op.ALU64, op.ALU)) | op.RSH | op.K, r, imm=1)
        elif kind == 4 and limit >= 4:
            other = f.fresh(r, *besides)
            with f.keeping(other):
                bound(f, r, limit // 2)
                bound(f, other, limit // 2)
            f.emit(op.ALU64 | op.ADD | op.X, r, other)
        elif kind == 5 and limit >= 4:
            bound(f, r, limit)
            f.emit(op.ALU64 | f.chance.choice((op.DIV, op.AND, op.RSH)) | op.K, r, imm=f.chance.randint(1, 3))
        else:
            bound(f, r, limit)
    return r
