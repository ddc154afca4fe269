"""Corners of the arithmetic, written down by hand from RFC 9669; the kernel confirms them in tests/differential."""

from __future__ import annotations

import pytest

from skep.isa import arithmetic as a
from skep.isa import opcodes as op
from skep.isa.assembler import assemble

MIN64, MIN32 = 1 << 63, 1 << 31
ONES64, ONES32 = (1 << 64) - 1, (1 << 32) - 1


@pytest.mark.parametrize(
    ("text", "dst", "src", "result"),
    [
        ("r1 /= r2", 7, 0, 0),
        ("r1 %= r2", 7, 0, 7),
        ("w1 %= w2", ONES64, 0, ONES32),
        ("w1 /= w2", ONES64, 1 << 32, 0),
        ("r1 s/= r2", MIN64, ONES64, MIN64),
        ("r1 s%= r2", MIN64, ONES64, 0),
        ("w1 s/= w2", MIN32, ONES32, MIN32),
        ("r1 s/= r2", -13 & ONES64, 3, -4 & ONES64),
        ("r1 s%= r2", -13 & ONES64, 3, -1 & ONES64),
        ("r1 s%= r2", 13, -3 & ONES64, 1),
        ("w1 s%= w2", -13 & ONES64, 0, -13 & ONES32),
        ("r1 /= -2", ONES64, 0, 1),
        ("w1 += w2", ONES64, 1, 0),
        ("w1 = w2", 0, ONES64, ONES32),
        ("w1 = -1", 0, 0, ONES32),
        ("r1 = -1", 0, 0, ONES64),
        ("r1 <<= r2", 1, 65, 2),
        ("w1 <<= w2", 1, 33, 2),
        ("r1 >>= r2", MIN64, 127, 1),
        ("r1 s>>= r2", MIN64, 63, ONES64),
        ("w1 s>>= w2", MIN32, 31, ONES32),
        ("w1 s>>= 4", 0x1_8000_0000, 0, 0xF800_0000),
        ("r1 = -r1", MIN64, 0, MIN64),
        ("w1 = -w1", 1, 0, ONES32),
        ("r1 = (s8)r2", 0, 0x80, -128 & ONES64),
        ("w1 = (s8)w2", 0, 0x80, -128 & ONES32),
        ("r1 = (s32)r2", 0, MIN32, -MIN32 & ONES64),
        ("r1 = be16 r1", 0x11223344, 0, 0x4433),
        ("r1 = le16 r1", 0x11223344, 0, 0x3344),
        ("r1 = le64 r1", ONES64 - 1, 0, ONES64 - 1),
        ("r1 = bswap32 r1", 0x5511223344, 0, 0x44332211),
        ("r1 *= -1", 5, 0, -5 & ONES64),
    ],
)
def test_evaluate(text: str, dst: int, src: int, result: int) -> None:
    assert a.evaluate(assemble(text)[0], dst, src) == result


def test_byte_order_of_the_machine_decides_le_and_be() -> None:
    assert a.byteswap(0x1122, 16, "be", "big") == 0x1122
    assert a.byteswap(0x1122, 16, "le", "big") == 0x2211
    assert a.byteswap(0x1122, 16, "bswap", "big") == 0x2211


@pytest.mark.parametrize(
    ("text", "dst", "src", "taken"),
    [
        ("if r1 > -1 goto +1", ONES64, 0, False),
        ("if r1 == -1 goto +1", ONES64, 0, True),
        ("if r1 == 0xffffffff goto +1", ONES64, 0, True),
        ("if w1 == -1 goto +1", ONES32, 0, True),
        ("if r1 == -1 goto +1", ONES32, 0, False),
        ("if w1 s< w2 goto +1", MIN32, 0, True),
        ("if r1 s< r2 goto +1", MIN32, 0, False),
        ("if r1 & 0x80000000 goto +1", MIN64, 0, True),  # the immediate is sign-extended
        ("if w1 & 8 goto +1", 7, 0, False),
        ("if w1 == w2 goto +1", 1 << 32, 0, True),
    ],
)
def test_branches(text: str, dst: int, src: int, taken: bool) -> None:
    assert a.branches(assemble(text)[0], dst, src) is taken


def test_atomics() -> None:
    assert a.atomic(op.ATOMIC_ADD | op.FETCH, ONES32, 1, 32) == 0
    assert a.atomic(op.XCHG, 5, ONES64, 32) == ONES32
    assert a.atomic(op.ATOMIC_XOR, 5, 5, 64) == 0
