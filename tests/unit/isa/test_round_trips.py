"""encode and decode, assemble and disassemble are inverse, for every row of the table."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skep.errors import InputError
from skep.isa.assembler import assemble
from skep.isa.codec import decode, encode
from skep.isa.disassembler import disassemble
from skep.isa.forms import FORMS, Form, Role, explain_illegal, find_form
from skep.isa.instruction import FuncRef, Instruction, KfuncRef, KsymRef, MapRef, MapValueRef
from skep.isa.opcodes import LD_IMM64

_I32 = st.integers(-(1 << 31), (1 << 31) - 1)
_I16 = st.integers(-(1 << 15), (1 << 15) - 1)


def field(role: Role | int, name: str) -> st.SearchStrategy[int]:
    match role:
        case Role.REGISTER:
            return st.integers(0, 10)
        case Role.IMMEDIATE64:
            return st.integers(0, (1 << 64) - 1)
        case Role.LOW_WORD:
            return st.integers(0, (1 << 32) - 1)
        case Role.INDEX:
            return st.integers(0, (1 << 15) - 1)
        case Role():
            return {"off": _I16, "imm": _I32}[name]
        case _:
            return st.just(role)


def instructions_of(form: Form) -> st.SearchStrategy[Instruction]:
    fields = (field(getattr(form, name), name) for name in ("dst", "src", "off", "imm"))
    return st.builds(Instruction, st.just(form.opcode), *fields)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_every_form(form: Form, data: st.DataObject) -> None:
    insn = data.draw(instructions_of(form))
    assert find_form(insn) is form
    text = disassemble(insn)
    assert assemble(text) == (insn,), text
    assert assemble(disassemble(insn, slot=12)) == (insn,), text
    for order in ("little", "big"):
        assert decode(encode([insn], order), order) == (insn,)


@pytest.mark.parametrize("order", ["little", "big"])
@given(data=st.binary(max_size=80))
def test_decoding_any_bytes(order: str, data: bytes) -> None:
    try:
        insns = decode(data, order)
    except InputError:
        return
    assert encode(insns, order) == data
    for insn in insns:
        if find_form(insn) is None:
            assert explain_illegal(insn)
        assert assemble(disassemble(insn)) == (insn,)


def test_byte_orders_swap_fields_and_nibbles() -> None:
    insn = Instruction(0x79, dst=1, src=10, off=-8)
    assert encode([insn]).hex() == "79a1f8ff00000000"
    assert encode([insn], "big").hex() == "791afff800000000"
    wide = Instruction(LD_IMM64, dst=2, imm=0x1122334455667788)
    assert encode([wide]).hex() == "18020000887766550000000044332211"
    assert encode([wide], "big").hex() == "18200000556677880000000011223344"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ("18000000", "O0201"),
        ("1800000000000000", "O0202"),
        ("18000000000000009500000000000000", "O0203"),
        ("18000000000000000000010000000000", "O0203"),
    ],
)
def test_undecodable(data: str, code: str) -> None:
    with pytest.raises(InputError) as caught:
        decode(bytes.fromhex(data))
    assert caught.value.diagnostic.code == code


@pytest.mark.parametrize(
    ("text", "insn"),
    [
        ("r1 = map[name:hits]", Instruction(LD_IMM64, 1, 1, ref=MapRef("hits"))),
        ("r1 = map[name:.rodata.str1.1][0]+8", Instruction(LD_IMM64, 1, 2, ref=MapValueRef(".rodata.str1.1", 8))),
        ("r2 = func[callback]", Instruction(LD_IMM64, 2, 4, ref=FuncRef("callback"))),
        ("r3 = ksym[bpf_prog_active]", Instruction(LD_IMM64, 3, 3, ref=KsymRef("bpf_prog_active"))),
        ("call func[helper]", Instruction(0x85, src=1, ref=FuncRef("helper"))),
        ("call kfunc[bpf_rdonly_cast]", Instruction(0x85, src=2, ref=KfuncRef("bpf_rdonly_cast"))),
    ],
)
def test_symbolic_operands(text: str, insn: Instruction) -> None:
    assert assemble(text) == (insn,)
    assert disassemble(insn) == text


def test_helper_names() -> None:
    assert (
        disassemble(Instruction(0x85, imm=1), helper_names={1: "bpf_map_lookup_elem"}) == "call bpf_map_lookup_elem#1"
    )
    assert disassemble(Instruction(0x85, imm=1)) == "call unknown#1"
    assert assemble("call bpf_map_lookup_elem", helpers={"bpf_map_lookup_elem": 1}) == (Instruction(0x85, imm=1),)


def test_the_table_has_no_two_rows_for_one_instruction() -> None:
    for form in FORMS:
        for other in FORMS:
            if other is form or other.opcode != form.opcode:
                continue
            apart = any(
                not isinstance(a, Role) and not isinstance(b, Role) and a != b
                for a, b in ((form.dst, other.dst), (form.src, other.src), (form.off, other.off), (form.imm, other.imm))
            )
            # MOV with off = 1 and an immediate is a cast; without one it would be nothing else.
            assert apart, f"{form.name} and {other.name} overlap"
