"""The same packets as libpcap: every expression over every packet, whole and truncated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from skep.errors import CompileError, SkepError
from skep.frontend.pcap import LinkLayer, compile_expression
from skep.isa.classic.interpreter import run
from tests.unit.frontend_pcap import packet_mix
from tests.unit.frontend_pcap.expressions import COOKED, DEVIATIONS, ETHERNET, OTHERS, WRONG

pcapy = pytest.importorskip("pcapy", reason="the oracle is missing: pip install pcapy-ng")

NETMASK = 0xFFFFFF00
REAL = Path(__file__).parents[3] / "examples" / "data" / "real.pcap"
SNAPLEN = 262144
_DLT_RAW = 12  # on Linux; in files it is 101


def libpcap(link: LinkLayer, expression: str) -> Any:
    number = _DLT_RAW if link is LinkLayer.RAW else int(link)
    return pcapy.compile(number, SNAPLEN, expression, 1, NETMASK)


def compare(link: LinkLayer, expression: str, packets: Sequence[bytes]) -> tuple[list[str], int]:
    """Packets on which the two disagree, and how many libpcap matches."""
    theirs = [
        libpcap_filter(packet) != 0 for libpcap_filter in [libpcap(link, expression).filter] for packet in packets
    ]
    try:
        ours = compile_expression(expression, link=link, netmask=NETMASK).insns
    except CompileError as error:
        if error.diagnostic.code != "H0408":  # no packet can match, and libpcap has not seen it
            raise
        return [p.hex() for p, match in zip(packets, theirs, strict=True) if match], sum(theirs)
    wrong = [p.hex() for p, match in zip(packets, theirs, strict=True) if (run(ours, p) != 0) != match]
    return wrong, sum(theirs)


def check_all(link: LinkLayer, expressions: Sequence[str], packets: Sequence[bytes], least_useful: int) -> None:
    wrong, useful = {}, 0
    for expression in expressions:
        differences, matches = compare(link, expression, packets)
        useful += 0 < matches < len(packets)
        if differences:
            wrong[expression] = len(differences), differences[0]
    assert not wrong
    assert useful >= least_useful, "the packets do not tell the expressions apart"


@pytest.mark.parametrize("part", range(4))
def test_ethernet(part: int) -> None:
    assert len(set(ETHERNET)) >= 300
    packets = (*packet_mix.frames(), *packet_mix.read_pcap(REAL))
    expressions = ETHERNET[part::4]
    check_all(LinkLayer.ETHERNET, expressions, packets, len(expressions) - 12)


def test_truncated() -> None:
    """Tests in the same order: a packet that ends early fails at the same load (almost always)."""
    packets = packet_mix.truncated()
    differing = {}
    for expression in ETHERNET[::2]:
        differences, _ = compare(LinkLayer.ETHERNET, expression, packets)
        if differences:
            differing[expression] = len(differences)
    assert sum(differing.values()) <= 8, differing


@pytest.mark.parametrize(
    ("link", "expressions", "packets"),
    [
        (LinkLayer.RAW, OTHERS, packet_mix.raw_packets()),
        (LinkLayer.LINUX_SLL, COOKED, packet_mix.cooked()),
        (LinkLayer.NULL, OTHERS, packet_mix.null_frames("<")),
        (LinkLayer.LOOP, OTHERS, packet_mix.null_frames(">")),
    ],
    ids=lambda value: value.name if isinstance(value, LinkLayer) else "",
)
def test_other_links(link: LinkLayer, expressions: tuple[str, ...], packets: tuple[bytes, ...]) -> None:
    check_all(link, expressions, packets, len(expressions) - 8)


@pytest.mark.parametrize("expression", DEVIATIONS)
def test_known_deviations(expression: str) -> None:
    """libpcap matches more, and only where the protocol that the expression reads is not there."""
    theirs, ours = libpcap(LinkLayer.ETHERNET, expression), compile_expression(expression).insns
    more = [p for p in packet_mix.frames() if theirs.filter(p) and not run(ours, p)]
    less = [p for p in packet_mix.frames() if run(ours, p) and not theirs.filter(p)]
    protocol = compile_expression("tcp" if "tcp" in expression else "ip").insns
    assert not less
    later_fragment = compile_expression("ip[6:2] & 0x1fff != 0").insns
    assert all(not run(protocol, p) or run(later_fragment, p) or p[12:14] == b"\x86\xdd" for p in more)


@pytest.mark.parametrize("expression", WRONG)
def test_both_refuse(expression: str) -> None:
    with pytest.raises(pcapy.PcapError):
        pcapy.compile(int(LinkLayer.ETHERNET), SNAPLEN, expression, 1, 0xFFFFFFFF)
    with pytest.raises(SkepError):
        compile_expression(expression)


def test_optimiser_changes_nothing() -> None:
    for expression in ETHERNET[::2]:
        try:
            fast = compile_expression(expression, netmask=NETMASK).insns
        except CompileError:
            continue
        slow = compile_expression(expression, netmask=NETMASK, optimised=False).insns
        for packet in packet_mix.frames():
            assert run(fast, packet) == run(slow, packet), (expression, packet.hex())
