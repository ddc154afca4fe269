"""Classic BPF: the table, the listings in and out, the rules, and what programs mean."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skep.errors import InputError, UnsupportedError
from skep.isa.classic import ClassicInstruction as I
from skep.isa.classic import opcodes as op
from skep.isa.classic.check import check
from skep.isa.classic.codec import decode, encode
from skep.isa.classic.instruction import FORMS, is_conditional
from skep.isa.classic.interpreter import run
from skep.isa.classic.listing import LISTINGS, c_listing, listing, number_listing, parse

# What tcpdump 4.99.3 prints for "ip and udp[0:2] + len > 5".
TCPDUMP_D = """\
(000) ldh      [12]
(001) jeq      #0x800           jt 2\tjf 13
(002) ldb      [23]
(003) jeq      #0x11            jt 4\tjf 13
(004) ldh      [20]
(005) jset     #0x1fff          jt 13\tjf 6
(006) ldxb     4*([14]&0xf)
(007) ldh      [x + 14]
(008) st       M[1]
(009) ldx      #pktlen
(010) add      x
(011) jgt      #0x5             jt 12\tjf 13
(012) ret      #262144
(013) ret      #0"""
PROGRAM = parse(TCPDUMP_D)
RETURN = I(op.RET | op.K, 0, 0, 7)


def every_instruction() -> list[I]:
    """A program with each form once, in which all jumps are legal."""
    body = []
    for code, form in FORMS.items():
        if code & op.CLASS_MASK == op.RET:
            continue
        has_number = "{" in form.operand.value
        k = 2 if has_number else 0
        body.append(I(code, 1, 2, k) if is_conditional(code) else I(code, 0, 0, k))
    return [*body, RETURN, RETURN, I(op.RET | op.RET_A)]


def test_listing_is_tcpdumps() -> None:
    assert listing(PROGRAM) == TCPDUMP_D
    assert c_listing(PROGRAM[:2]) == "{ 0x28, 0, 0, 0x0000000c },\n{ 0x15, 0, 11, 0x00000800 },"
    assert number_listing(PROGRAM[:2]) == "2\n40 0 0 12\n21 0 11 2048"
    assert listing([I(op.MISC | op.TAX), I(op.RET | op.RET_A)]) == "(000) tax      \n(001) ret      "


@pytest.mark.parametrize("kind", LISTINGS)
def test_every_form_survives_a_listing(kind: int) -> None:
    program = tuple(every_instruction())
    check(program)
    assert parse(LISTINGS[kind](program)) == program
    assert len(FORMS) == 49


def test_commas_for_newlines() -> None:
    """As iptables -m bpf --bytecode wants it."""
    assert parse(number_listing(PROGRAM).replace("\n", ",")) == PROGRAM


def test_bytes() -> None:
    data = encode(PROGRAM)
    assert data[:8] == b"\x28\0\0\0\x0c\0\0\0"
    assert decode(data) == PROGRAM
    assert decode(encode(PROGRAM, "big"), "big") == PROGRAM
    with pytest.raises(InputError, match="H0502"):
        decode(data[:-1])


@pytest.mark.parametrize(
    ("program", "what"),
    [
        ([], "no instructions"),
        ([I(op.LD | op.IMM)], "does not return"),
        ([I(0xFF), RETURN], "no instruction 0xff"),
        ([I(op.LD | op.MEM, 0, 0, 16), RETURN], "no memory cell"),
        ([I(op.ST, 0, 0, 16), RETURN], "no memory cell"),
        ([I(op.ALU | op.DIV, 0, 0, 0), RETURN], "divides by zero"),
        ([I(op.ALU | op.MOD, 0, 0, 0), RETURN], "divides by zero"),
        ([I(op.ALU | op.LSH, 0, 0, 32), RETURN], "shifts by 32"),
        ([I(op.JMP | op.JEQ, 1, 0, 0), RETURN], "jumps to instruction 2"),
        ([I(op.JMP | op.JEQ, 0, 200, 0), RETURN], "jumps to instruction 201"),
        ([I(op.JMP | op.JA, 0, 0, 0xFFFFFFFE), RETURN], "jumps to instruction"),
        ([I(op.LD | op.ABS, 0, 0, 1 << 32), RETURN], "does not fit"),
    ],
)
def test_illegal_programs(program: list[I], what: str) -> None:
    with pytest.raises(InputError, match=what) as error:
        check(program)
    assert error.value.diagnostic.code == "H0501"


@pytest.mark.parametrize(
    "text",
    ["", "x", "3\n40 0 0 12\n6 0 0 0", "40 0 0", "40 0 0 99999999999", "99999 0 0 0\n6 0 0 0", "{ 0x28, 0, 0 },",
     "(000) ldh [12] jt 1 jf 2", "(001) ret #0", "(000) bogus #1", "40 0 300 12\n6 0 0 0", "\x00" * 50, "1\n" * 9],
)  # fmt: skip
def test_what_is_no_listing(text: str) -> None:
    with pytest.raises(InputError) as error:
        parse(text)
    assert error.value.diagnostic.code in ("H0501", "H0504")


@settings(max_examples=200)
@given(
    st.one_of(st.text(max_size=60), st.lists(st.sampled_from([*TCPDUMP_D.split(), "\n", "{", "}", ","])).map(" ".join))
)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        program = parse(text)
    except InputError:
        return
    run(program, bytes(64))


def test_too_many_instructions() -> None:
    with pytest.raises(InputError, match="more than 65536"):
        check([RETURN] * 65537)
    with pytest.raises(InputError, match="more than 65536"):
        parse("6 0 0 0\n" * 65537)


def result(*insns: I, packet: bytes = b"", **more: object) -> int:
    program = (*insns, I(op.RET | op.RET_A))
    check(program)
    return run(program, packet, **more)  # type: ignore[arg-type]


def load(k: int) -> I:
    return I(op.LD | op.IMM, 0, 0, k)


def load_x(k: int) -> I:
    return I(op.LDX | op.IMM, 0, 0, k)


def test_loads() -> None:
    packet = bytes.fromhex("4501020304050607")
    assert result(I(op.LD | op.ABS | op.W, 0, 0, 4), packet=packet) == 0x04050607
    assert result(I(op.LD | op.ABS | op.H, 0, 0, 6), packet=packet) == 0x0607
    assert result(I(op.LD | op.ABS | op.B, 0, 0, 7), packet=packet) == 7
    assert result(load_x(2), I(op.LD | op.IND | op.H, 0, 0, 1), packet=packet) == 0x0304
    assert result(I(op.LDX | op.MSH | op.B, 0, 0, 0), I(op.MISC | op.TXA), packet=packet) == 20
    assert result(I(op.LD | op.LEN), packet=packet) == 8
    assert result(I(op.LD | op.LEN), packet=packet, wire_length=1500) == 1500
    assert result(load(9), I(op.ST, 0, 0, 5), load(1), I(op.LD | op.MEM, 0, 0, 5)) == 9


@pytest.mark.parametrize(
    "outside",
    [
        I(op.LD | op.ABS | op.W, 0, 0, 5),
        I(op.LD | op.ABS | op.B, 0, 0, 8),
        I(op.LD | op.ABS | op.B, 0, 0, 0x80000000),
        I(op.LD | op.IND | op.B, 0, 0, 0xFFFFFFFF),
        I(op.LDX | op.MSH | op.B, 0, 0, 8),
    ],
)
def test_loads_outside_the_packet_end_with_0(outside: I) -> None:
    program = (load_x(1), load(5), outside, I(op.RET | op.K, 0, 0, 99))
    assert run(program, bytes(8)) == 0


def test_arithmetic_has_32_bits() -> None:
    assert result(load(0xFFFFFFFF), I(op.ALU | op.ADD, 0, 0, 2)) == 1
    assert result(load(1), I(op.ALU | op.SUB, 0, 0, 2)) == 0xFFFFFFFF
    assert result(load(1), I(op.ALU | op.NEG)) == 0xFFFFFFFF
    assert result(load(0x80000000), I(op.ALU | op.DIV, 0, 0, 2)) == 0x40000000
    assert result(load(17), I(op.ALU | op.MOD, 0, 0, 5)) == 2
    assert result(load(6), load_x(3), I(op.ALU | op.XOR | op.X)) == 5
    assert result(load(1), load_x(32), I(op.ALU | op.LSH | op.X)) == 0


@pytest.mark.parametrize("code", [op.DIV, op.MOD])
def test_division_by_zero_ends_with_0(code: int) -> None:
    program = (load(5), load_x(0), I(op.ALU | code | op.X), I(op.RET | op.K, 0, 0, 99))
    assert run(program, b"") == 0


def test_linux_extensions() -> None:
    vlan = I(op.LD | op.ABS | op.H, 0, 0, op.ANCILLARY + op.VLAN_TAG)
    assert result(vlan, metadata={op.VLAN_TAG: 100}) == 100
    assert result(load(6), load_x(3), I(op.LD | op.ABS | op.W, 0, 0, op.ANCILLARY + op.ALU_XOR_X)) == 5
    with pytest.raises(UnsupportedError, match="'cpu'"):
        result(I(op.LD | op.ABS | op.W, 0, 0, op.ANCILLARY + op.CPU))
