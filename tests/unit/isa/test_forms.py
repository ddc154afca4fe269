"""What the table says beyond encodings."""

from __future__ import annotations

import pytest

from skep.isa.assembler import assemble
from skep.isa.forms import BY_NAME, FORMS, explain_illegal, registers_read, registers_written
from skep.isa.instruction import Instruction


@pytest.mark.parametrize(
    ("text", "read", "written"),
    [
        ("r1 += r2", {1, 2}, {1}),
        ("r1 = r2", {2}, {1}),
        ("r1 = 5", set(), {1}),
        ("w3 = -w3", {3}, {3}),
        ("r1 = *(u8 *)(r2 +0)", {2}, {1}),
        ("*(u8 *)(r2 +0) = r3", {2, 3}, set()),
        ("*(u8 *)(r2 +0) = 3", {2}, set()),
        ("lock *(u64 *)(r2 +0) += r3", {2, 3}, set()),
        ("r3 = atomic64_fetch_add((u64 *)(r2 +0), r3)", {2, 3}, {3}),
        ("r0 = atomic64_cmpxchg((u64 *)(r2 +0), r0, r3)", {0, 2, 3}, {0}),
        ("r4 = load_acquire((u64 *)(r2 +0))", {2}, {4}),
        ("if r1 s> r2 goto +1", {1, 2}, set()),
        ("if w1 > 2 goto +1", {1}, set()),
        ("call 1", set(), {0, 1, 2, 3, 4, 5}),
        ("callx r9", {9}, {0, 1, 2, 3, 4, 5}),
        ("r0 = *(u32 *)skb[r7 + 4]", {6, 7}, {0, 1, 2, 3, 4, 5}),
        ("exit", {0}, set()),
        ("r5 = 0x1122334455667788", set(), {5}),
        ("goto +1", set(), set()),
    ],
)
def test_registers(text: str, read: set[int], written: set[int]) -> None:
    (insn,) = assemble(text)
    assert (registers_read(insn), registers_written(insn)) == (read, written)


def test_every_row_is_complete() -> None:
    assert len(BY_NAME) == len(FORMS)
    assert {form.isa_version for form in FORMS} == {1, 2, 3, 4}
    assert {form.group for form in FORMS} == {
        "base32", "base64", "divmul32", "divmul64", "atomic32", "atomic64", "callx", "packet", "linux",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("insn", "kernel"),
    [
        (Instruction(0xFF), "unknown opcode ff"),
        (Instruction(0x0F, 1, 2, 1), "BPF_ALU64 uses reserved fields"),
        (Instruction(0x0F, 11, 2), "R11 is invalid"),
        (Instruction(0xD7, 1, imm=8), "BPF_END uses reserved fields"),
        (Instruction(0x95, imm=1), "BPF_EXIT uses reserved fields"),
        (Instruction(0xDB, 10, 1, -8, 0x10), "BPF_ATOMIC uses invalid atomic opcode 10"),
        (Instruction(0x18, 1, 7), "invalid bpf_ld_imm64 insn"),
    ],
)
def test_why_an_encoding_is_illegal(insn: Instruction, kernel: str) -> None:
    assert explain_illegal(insn) == kernel
