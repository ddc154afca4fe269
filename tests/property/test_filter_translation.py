"""A classic program and its translation to eBPF return the same number: interpreted, as native code, and in the kernel.

Random programs over random packets, and real expressions over every kind of packet, whole and cut at every length.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import skep
from skep.engine import Engine
from skep.errors import CompileError, UnsupportedError
from skep.frontend.pcap import ClassicProgram, compile_expression, translate
from skep.isa.classic import ClassicInstruction as I
from skep.isa.classic import opcodes as op
from skep.isa.classic.check import check
from skep.isa.classic.instruction import FORMS, is_conditional
from skep.isa.classic.interpreter import run
from skep.vm.engine import VmEngine
from tests.unit.frontend_pcap import packet_mix
from tests.unit.frontend_pcap.expressions import ETHERNET

LINK_HEADER = bytes(12) + b"\x88\xb5"  # a test run takes it off before a socket filter sees the packet
LEAST = 1  # bytes that must follow it

numbers = st.one_of(
    st.integers(0, 40), st.integers(0, 0xFFFFFFFF),
    st.sampled_from((14, 31, 32, 255, 0x1FFF, 0x7FFFFFFF, 0x80000000, 0xFFDFFFFF, 0xFFFFFFFF)),
)  # fmt: skip


@st.composite
def programs(draw: st.DrawFn) -> tuple[I, ...]:
    """Legal programs: jumps anywhere forward, every instruction, constants at the edges."""
    size = draw(st.integers(1, 24))
    insns = []
    for at in range(size):
        code = draw(st.sampled_from(tuple(FORMS)))
        k, room = draw(numbers), size - at - 1
        klass, is_constant = code & op.CLASS_MASK, not code & op.SOURCE_MASK
        if klass == op.RET and draw(st.integers(0, 3)):
            code, klass = op.LD | op.ABS | op.B, op.LD
        if klass == op.ALU and is_constant and code & op.OP_MASK in (op.DIV, op.MOD):
            k = k or 1
        elif klass == op.ALU and is_constant and code & op.OP_MASK in (op.LSH, op.RSH):
            k &= 31
        elif klass in (op.ST, op.STX) or (klass in (op.LD, op.LDX) and code & op.MODE_MASK == op.MEM):
            k &= 15
        elif klass == op.LD and code & op.MODE_MASK == op.ABS:
            k = k % 64 if k < op.NEGATIVE else min(k, op.LINK_OFFSETS - 1)
        elif code == op.JMP | op.JA:
            k = draw(st.integers(0, room))
        jumps = is_conditional(code)
        insns.append(I(code, draw(st.integers(0, room)) if jumps else 0, draw(st.integers(0, room)) if jumps else 0, k))
    return (*insns, draw(st.sampled_from((I(op.RET | op.RET_A), I(op.RET | op.K, 0, 0, 7)))))


@contextmanager
def loaded(program: Sequence[I], engine: str | Engine) -> Iterator[skep.Program]:
    with skep.load(translate(ClassicProgram(tuple(program))), engine=engine) as live:
        yield live.programs["filter"]


def assert_same(program: Sequence[I], packets: Iterable[bytes], engine: str | Engine) -> None:
    with loaded(program, engine) as translated:
        for packet in packets:
            expected = run(program, packet)
            assert translated.run(LINK_HEADER + packet).retval == expected, (packet.hex(), len(packet))


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(programs(), st.lists(st.binary(min_size=LEAST, max_size=80), min_size=1, max_size=8))
def test_random_programs_as_native_code(program: tuple[I, ...], packets: list[bytes]) -> None:
    check(program)
    assert_same(program, packets, "vm")


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(programs(), st.lists(st.binary(min_size=LEAST, max_size=80), min_size=1, max_size=8))
def test_random_programs_interpreted(program: tuple[I, ...], packets: list[bytes]) -> None:
    engine = VmEngine(interpret=True)
    assert_same(program, packets, engine)
    engine.close()


@pytest.mark.kernel
@pytest.mark.usefixtures("kernel")
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(programs(), st.lists(st.binary(min_size=LEAST, max_size=80), min_size=1, max_size=8))
def test_random_programs_in_the_kernel(program: tuple[I, ...], packets: list[bytes]) -> None:
    assert_same(program, packets, "kernel")


def sampled(count: int, seed: int) -> list[ClassicProgram]:
    """Some expressions, compiled."""
    found = []
    for expression in random.Random(seed).sample(ETHERNET, count):
        try:
            found.append(compile_expression(expression, netmask=0xFFFFFF00))
        except CompileError:
            continue  # it rejects all packets
    return found


def test_expressions_over_every_packet_as_native_code() -> None:
    packets = [*random.Random(1).sample(packet_mix.frames(), 400), *packet_mix.truncated()[1::3]]
    for program in sampled(20, 1):
        assert_same(program.insns, packets, "vm")


def test_expressions_interpreted() -> None:
    packets = [*random.Random(2).sample(packet_mix.frames(), 25), *packet_mix.truncated()[7::40]]
    engine = VmEngine(interpret=True)
    for program in sampled(25, 2):
        assert_same(program.insns, packets, engine)
    engine.close()


@pytest.mark.kernel
@pytest.mark.usefixtures("kernel")
def test_expressions_in_the_kernel() -> None:
    """Every expression is accepted by the kernel's verifier; what it returns is what the classic program does."""
    packets = [packet for packet in packet_mix.truncated()[::29] if len(packet) >= LEAST]
    packets += random.Random(3).sample(packet_mix.frames(), 40)
    for program in sampled(len(ETHERNET), 3):
        assert_same(program.insns, packets, "kernel")


#: What Linux's extensions say in a test run of a frame of type 0x88b5 that is given this mark.
MARK = 0x12345678
EXTENSIONS = {
    op.PROTOCOL: 0x88B5,
    op.MARK: MARK,
    op.VLAN_TAG: 0,
    op.VLAN_TAG_PRESENT: 0,
    op.VLAN_TPID: 0,
    op.QUEUE: 0,
    op.IFINDEX: 1,
}


@pytest.mark.parametrize("number", EXTENSIONS)
def test_extensions_of_linux(number: int) -> None:
    check_extension(number, "vm")


@pytest.mark.kernel
@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("number", EXTENSIONS)
def test_extensions_in_the_kernel(number: int) -> None:
    check_extension(number, "kernel")


def check_extension(number: int, engine: str) -> None:
    program = (I(op.LD | op.ABS | op.W, 0, 0, op.ANCILLARY + number), I(op.RET | op.RET_A))
    context = bytes(8) + MARK.to_bytes(4, "little")  # __sk_buff: len, pkt_type, mark
    expected = run(program, bytes(60), metadata=EXTENSIONS)
    assert expected == EXTENSIONS[number]
    with loaded(program, engine) as translated:
        assert translated.run(LINK_HEADER + bytes(60), context.ljust(192, b"\0")).retval == expected


@pytest.mark.parametrize("number", [op.CPU, op.RANDOM, op.NLATTR, op.PAY_OFFSET, op.HATYPE])
def test_other_extensions_are_refused_by_name(number: int) -> None:
    program = (I(op.LD | op.ABS | op.W, 0, 0, op.ANCILLARY + number), I(op.RET | op.RET_A))
    with pytest.raises(UnsupportedError, match=op.ANCILLARY_NAMES[number]):
        translate(ClassicProgram(program))


def test_what_is_too_long_is_refused_by_name() -> None:
    program = (I(op.JMP | op.JEQ, 0, 1, 5), I(op.JMP | op.JA, 0, 0, 40_000), *[I(op.MISC | op.TAX)] * 40_000)
    with pytest.raises(UnsupportedError, match="H0505"):
        translate(ClassicProgram((*program, I(op.RET | op.RET_A))))
