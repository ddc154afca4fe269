"""Spellings that differ from the kernel's, labels, and text that is no assembly."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skep.errors import AssemblerError
from skep.isa.assembler import assemble
from skep.isa.disassembler import disassemble

KERNEL_TEXT = """
; int probe(void *ctx)
0: (bf) r6 = r1                       ; R1=ctx() R6_w=ctx()
1: (18) r1 = 0xffff888103d2a400       ; R1_w=map_ptr(map=hits,ks=4,vs=8)
3: (85) call bpf_map_lookup_elem#1
4: (15) if r0 == 0x0 goto pc+2
5: (db) r1 = atomic64_fetch_add((u64 *)(r0 +0), r1)
6: (c3) lock *(u32 *)(r10 -4) ^= r1
7: (95) exit
"""


def texts(source: str) -> list[str]:
    return [disassemble(insn) for insn in assemble(source)]


def test_kernel_log_is_read_as_it_is() -> None:
    expected = [
        line.split(") ", 1)[1].split("  ")[0].strip() for line in KERNEL_TEXT.splitlines() if line[:1].isdigit()
    ]
    expected[2] = "call unknown#1"
    assert texts(KERNEL_TEXT) == expected


@pytest.mark.parametrize(
    ("source", "kernel"),
    [
        ("r1 = *(u32 *)(r2 + 8)", "r1 = *(u32 *)(r2 +8)"),
        ("w1 = *(u32 *)(r2 - 8)", "r1 = *(u32 *)(r2 -8)"),
        ("*(u8 *)(r10 - 1) = w3", "*(u8 *)(r10 -1) = r3"),
        ("r1 = *(u64*)(r2)", "r1 = *(u64 *)(r2 +0)"),
        ("w0 = atomic_fetch_add((u32 *)(r10 - 4), w0)", "r0 = atomic_fetch_add((u32 *)(r10 -4), r0)"),
        ("r1 = 5 ll", "r1 = 0x5"),
        ("r1 = -1 ll", "r1 = 0xffffffffffffffff"),
        ("r1 = -0x10", "r1 = 0xfffffffffffffff0"),
        ("r1 = 0x10 ll", "r1 = 0x10"),
        ("w1 = 0xffffffff", "w1 = -1"),
        ("if r1 s> -5 goto +3", "if r1 s> 0xfffffffb goto pc+3"),
        ("if w1 & w2 goto -3", "if w1 & w2 goto pc-3"),
        ("r0 = *(u16 *)skb[r7 + -4]", "r0 = *(u16 *)skb[r7 + -4]"),
        ("mov32 %r1, 0x87654321", "w1 = -2023406815"),
        ("mov %r1, -1", "r1 = -1"),
        ("lock cmpxchg32 [%r10-8], %r1", "r0 = atomic_cmpxchg((u32 *)(r10 -8), r0, r1)"),
        ("lock fetch add [%r10-8], %r1", "r1 = atomic64_fetch_add((u64 *)(r10 -8), r1)"),
        ("lock xor32 [%r1], %r2", "lock *(u32 *)(r1 +0) ^= r2"),
        ("call %r2", "callx r2"),
        ("call 5", "call unknown#5"),
        ("ldxsh %r0, [%r1]", "r0 = *(s16 *)(r1 +0)"),
        ("movsx1632 %r0, %r1", "w0 = (s16)w1"),
        ("swap16 %r0", "r0 = bswap16 r0"),
        ("lddw %r0, 0x8877665544332211", "r0 = 0x8877665544332211"),
        ("jsle32 %r1, -1, +2", "if w1 s<= 0xffffffff goto pc+2"),
        ("r0 = 1 # one", "r0 = 1"),
        ("r0 = 1 // one", "r0 = 1"),
        ("r0 = /* one */ 1", "r0 = 1"),
        ("here: r0 = 1", "r0 = 1"),
    ],
)
def test_spellings(source: str, kernel: str) -> None:
    assert texts(source) == [kernel]


def test_labels_count_slots() -> None:
    source = """
        start:
          r1 = 0x1122334455667788   # two slots
          if r1 == 0 goto done
          call add
          gotol start
        done: exit
        add:
          r2 = subprog[add]
          may_goto done
          exit
    """
    assert texts(source) == [
        "r1 = 0x1122334455667788",
        "if r1 == 0x0 goto pc+2",
        "call pc+2",
        "gotol pc-5",
        "exit",
        "r2 = subprog[-1]",
        "may_goto pc-4",
        "exit",
    ]


def test_exit_is_a_label_of_the_conformance_cases() -> None:
    assert texts("jne %r0, 1, exit\nmov %r0, 2\nexit\nja exit")[0] == "if r0 != 0x1 goto pc+1"
    with pytest.raises(AssemblerError):
        assemble("ja exit")


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("r1 = r2 + r3", "U0301"),
        ("r11 = 0", "U0301"),
        ("frobnicate", "U0301"),
        ("r0 = be16 r1", "U0301"),
        ("w1 = (s32)w2", "U0301"),
        ("r1 = atomic64_cmpxchg((u64 *)(r10 -8), r0, r1)", "U0301"),
        ("r1 = \x00", "U0301"),
        ("r1 = kfunc[x]", "U0301"),
        ("call map[name:hits]", "U0301"),
        ("r1 += 0x1ffffffff", "U0302"),
        ("r1 = *(u8 *)(r1 +32768)", "U0302"),
        ("goto +32768", "U0302"),
        ("r1 = " + "9" * 5000, "U0302"),
        ("goto nowhere", "U0303"),
        ("a:\na: exit", "U0303"),
    ],
)
def test_errors_name_the_line(source: str, code: str) -> None:
    with pytest.raises(AssemblerError) as caught:
        assemble("exit\n" + source, name="x.s")
    diagnostic = caught.value.diagnostic
    assert diagnostic.code == code
    assert diagnostic.span is not None
    assert diagnostic.span.line == (2 if "\n" not in source else 3)


@given(st.text(alphabet="rw0123 =+-*(u84)[]sifgoto,%#;:xl\n", max_size=60) | st.text(max_size=40))
def test_any_text_gives_instructions_or_a_diagnostic(source: str) -> None:
    with contextlib.suppress(AssemblerError):
        assemble(source)
