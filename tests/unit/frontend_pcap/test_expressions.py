"""Expressions: what they compile to, where their errors are, and that no text does harm."""

from __future__ import annotations

import functools
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skep.errors import CompileError, SkepError, UnsupportedError
from skep.frontend.pcap import LinkLayer, compile_expression
from skep.frontend.pcap.names import KEYWORDS
from skep.isa.classic.instruction import is_conditional
from skep.isa.classic.interpreter import run
from skep.isa.classic.listing import listing
from tests.unit.frontend_pcap import packet_mix
from tests.unit.frontend_pcap.expressions import ETHERNET

# What tcpdump 4.99.3 (libpcap 1.10.3) prints for it.
TCP_443 = """\
(000) ldh      [12]
(001) jeq      #0x86dd          jt 2\tjf 8
(002) ldb      [20]
(003) jeq      #0x6             jt 4\tjf 19
(004) ldh      [54]
(005) jeq      #0x1bb           jt 18\tjf 6
(006) ldh      [56]
(007) jeq      #0x1bb           jt 18\tjf 19
(008) jeq      #0x800           jt 9\tjf 19
(009) ldb      [23]
(010) jeq      #0x6             jt 11\tjf 19
(011) ldh      [20]
(012) jset     #0x1fff          jt 19\tjf 13
(013) ldxb     4*([14]&0xf)
(014) ldh      [x + 14]
(015) jeq      #0x1bb           jt 18\tjf 16
(016) ldh      [x + 16]
(017) jeq      #0x1bb           jt 18\tjf 19
(018) ret      #262144
(019) ret      #0"""


def test_the_code_of_libpcap() -> None:
    assert listing(compile_expression("tcp port 443").insns) == TCP_443


def test_empty_keeps_all() -> None:
    assert listing(compile_expression("  ").insns) == "(000) ret      #262144"


def test_snaplen() -> None:
    assert compile_expression("ip", keep=68).insns[-2].k == 68


@pytest.mark.parametrize(
    ("expression", "code", "line", "column", "length"),
    [
        ("tcp port 443 and nto host 10.0.0.1", "H0402", 1, 22, 4),
        ("tcp and port 70000", "H0411", 1, 14, 5),
        ("net 10.0.0.1/8", "H0410", 1, 5, 10),
        ("ip[0] = 1 / 0", "H0405", 1, 11, 1),
        ("tcp and\n  host nosuch", "H0409", 2, 8, 6),
        ("tcp $ udp", "H0401", 1, 5, 1),
        ("(tcp", "H0402", 1, 5, 1),
        ("ip proto tcp", "H0402", 1, 10, 3),
        ("ip[99999999999] = 1", "H0405", 1, 4, 11),
        ("ip[0] = 09", "H0405", 1, 9, 2),
        ("ip broadcast", "H0412", 1, 4, 9),
        ("mpls and arp", "H0406", 1, 10, 3),
        ("vlan 4096", "H0405", 1, 6, 4),
    ],
)
def test_errors_say_where(expression: str, code: str, line: int, column: int, length: int) -> None:
    with pytest.raises(CompileError) as error:
        compile_expression(expression)
    found = error.value.diagnostic
    assert found.span is not None
    assert (found.code, found.span.line, found.span.column, found.span.length) == (code, line, column, length)
    assert "^" * length in str(error.value)


@pytest.mark.parametrize(
    "expression",
    ["gateway 10.0.0.1", "geneve", "geneve 5", "inbound", "outbound", "type mgt",
     "addr1 00:11:22:33:44:55", "decnet host 10.1",
     "ifname eth0", "lane", "fisu", "radio", "llc", "subtype data", "ah[0] = 1", "vpi 5"],
)  # fmt: skip
def test_what_is_missing_has_a_name(expression: str) -> None:
    with pytest.raises(UnsupportedError) as error:
        compile_expression(expression)
    assert error.value.diagnostic.code == "H0407"
    assert error.value.diagnostic.span is not None


def test_the_help_knows_keywords() -> None:
    with pytest.raises(CompileError, match=r"write \\tcp"):
        compile_expression("ip proto tcp")


def test_contradictions_are_told() -> None:
    with pytest.raises(CompileError, match="rejects all packets"):
        compile_expression("tcp and udp and ip and arp")


def test_ip_broadcast_with_a_netmask() -> None:
    program = compile_expression("ip broadcast", netmask=0xFFFFFF00).insns
    frame = packet_mix.ethernet(0x800, packet_mix.ipv4(17, bytes(8), dst=bytes((10, 0, 0, 255))))
    assert run(program, frame)
    assert not run(program, packet_mix.ethernet(0x800, packet_mix.ipv4(17, bytes(8))))


def test_localhost_is_known_everywhere() -> None:
    program = compile_expression("host localhost").insns
    loopback = bytes((127, 0, 0, 1))
    assert run(program, packet_mix.ethernet(0x800, packet_mix.ipv4(17, bytes(8), src=loopback)))
    assert run(program, packet_mix.ethernet(0x86DD, packet_mix.ipv6(17, bytes(8), dst=bytes(15) + b"\x01")))


def test_protochain_looks_through_headers() -> None:
    """Up to six, authentication headers among them; the seventh is one too many."""
    program = compile_expression("ip6 protochain 17").insns
    order = (0, 60, 43, 51, 44, 60)

    def chain(kinds: tuple[int, ...]) -> bytes:
        body, following = packet_mix.udp(1, 2), 17
        for kind in reversed(kinds):
            length = 24 if kind == 51 else 8 if kind == 44 else 16
            counted = length // 4 - 2 if kind == 51 else 0 if kind == 44 else length // 8 - 1
            body, following = bytes((following, counted)) + bytes(length - 2) + body, kind
        return packet_mix.ethernet(0x86DD, packet_mix.ipv6(following, body))

    assert all(run(program, chain(order[:count])) for count in range(7))
    assert not run(program, chain((*order, 0)))
    assert not run(compile_expression("ip6 protochain 6").insns, chain(order))


def test_jumps_of_any_length() -> None:
    """2,000 hosts: most blocks are further than 255 instructions from the ends."""
    hosts = [f"10.{n >> 8}.{n & 255}.1" for n in range(2000)]
    started = time.perf_counter()
    program = compile_expression("src host " + " or ".join(hosts)).insns
    assert time.perf_counter() - started < 20
    for number in (0, 1, 255, 256, 1000, 1999):
        packet = packet_mix.ethernet(
            0x800, packet_mix.ipv4(6, bytes(20), src=bytes((10, number >> 8, number & 255, 1)))
        )
        assert run(program, packet) == 262144
    assert run(program, packet_mix.ethernet(0x800, packet_mix.ipv4(6, bytes(20), src=bytes((10, 0, 0, 2))))) == 0
    assert sum(not is_conditional(insn.code) and insn.code & 7 == 5 for insn in program) > 0


@pytest.mark.parametrize(
    "expression",
    ["(" * 5000 + "tcp" + ")" * 5000, "not " * 5000 + "tcp", "len = " + "(" * 5000, "len = " + "-" * 5000 + "1",
     "len = " + "+".join(["ip[0]"] * 5000) + " + 1", "port " + "(" * 5000, "ip[" * 3000, "x" * 100_000, "1" * 100_000,
     "\x00", "é", "(" * 60 + "len" + ")" * 60],
)  # fmt: skip
def test_deep_and_long_texts(expression: str) -> None:
    with pytest.raises(SkepError):
        compile_expression(expression)


@pytest.mark.parametrize("operator", ["+", "%", "^"])
def test_long_sums_of_bytes_take_few_cells(operator: str) -> None:
    program = compile_expression("len = " + operator.join(f"ether[{n}]" for n in range(90))).insns
    frame = bytes(range(1, 91))
    sums = {"+": sum(frame), "^": functools.reduce(lambda a, b: a ^ b, frame), "%": 1}
    assert run(program, frame, wire_length=sums[operator])
    assert not run(program, frame, wire_length=sums[operator] + 1)
    right = "len = " + "-(".join(f"ether[{n}]" for n in range(40)) + ")" * 39
    assert run(compile_expression(right).insns, frame, wire_length=sum(frame[:40:2]) - sum(frame[1:40:2]) & 0xFFFFFFFF)


def test_long_sums_are_fine() -> None:
    program = compile_expression("len > " + " + ".join(["1"] * 150)).insns
    assert run(program, bytes(151))
    assert not run(program, bytes(150))


def compiled(text: str, link: LinkLayer) -> str | None:
    """The code of the error; None: it compiles and runs."""
    try:
        run(compile_expression(text, link=link).insns, bytes(60))
    except SkepError as error:
        return error.diagnostic.code
    return None


words = st.sampled_from(
    [*KEYWORDS, "10.0.0.1", "80", "0x10", "(", ")", "[", "]", ":", "+", "-", "/", "%", "&", "=", "!=", "<", "/24",
     "::1", "00:11:22:33:44:55", "tcpflags", "http", "80-90", "1", "2", "4", "\\tcp", "$", "\n"]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(words, max_size=12).map(" ".join), st.sampled_from(list(LinkLayer)[:1] + list(LinkLayer)[3:]))
def test_any_text_compiles_or_is_refused(text: str, link: LinkLayer) -> None:
    code = compiled(text, link)
    assert code is None or code.startswith("H04")


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(ETHERNET), st.integers(0, 200), st.characters(max_codepoint=127))
def test_damaged_expressions(expression: str, at: int, letter: str) -> None:
    damaged = expression[:at] + letter + expression[at + 1 :]
    code = compiled(damaged, LinkLayer.ETHERNET)
    assert code is None or code.startswith("H04")
