"""`skep filter` on live packets: the same packets match in this process and in the kernel, tagged ones too."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

import skep
from skep.errors import UsageError
from skep.frontend.pcap import compile_expression
from skep.model.hooks import PacketSocket
from skep.testing.captures import packets
from skep.tools.filter import run_filter_live
from skep.vm.hooks.capture import read_packets
from skep.vm.hooks.packet_socket import attach_packet_socket
from tests.unit.vm_live.network import frame, in_namespace, make_veth, wire
from tests.unit.vm_live.programs import returns

PASS = 2
EXPRESSIONS = (
    "tcp",
    "not tcp",
    "udp port 53",
    "vlan",
    "vlan 5",
    "vlan and tcp",
    "greater 500",
    "",
    "ether proto 0x88b5",
)


def traffic() -> list[bytes]:
    plain = list(packets(60))
    tagged = [packet[:12] + b"\x81\x00\x00\x05" + packet[12:] for packet in plain[:20]]
    return [*plain, *tagged, frame(1), frame(2)]


@pytest.mark.kernel
@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_engines_match_the_same_packets(expression: str, tmp_path: Path) -> None:
    found = {}
    for in_kernel in (False, True):
        out = tmp_path / f"{in_kernel}.pcap"
        seen, matched = run(expression, out, in_kernel)
        found[in_kernel] = [packet.data for packet in read_packets(out)]
        assert matched == len(found[in_kernel])
        if not in_kernel:
            assert seen == len(traffic())
        elif expression == "tcp":
            assert seen < len(traffic()) - 20  # the kernel kept UDP out
    assert found[True] == found[False]
    assert found[True]
    assert len(found[True]) < len(traffic()) or expression == ""


def run(expression: str, out: Path, in_kernel: bool) -> tuple[int, int]:
    """In a namespace: packets that the loop saw, and that matched."""
    result: list[tuple[int, int]] = []

    @in_namespace
    def body() -> None:
        make_veth()

        def send(link: skep.Link) -> None:
            with wire("va") as a:
                for packet in traffic():
                    a.send(packet)
            threading.Timer(0.1, link.stop).start()

        done = run_filter_live(
            compile_expression(expression), PacketSocket("vb", out=out), in_kernel=in_kernel, duration=5, started=send
        )
        assert (done.ended, done.lost) == ("stopped", 0)
        result.append((done.packets, done.passed))

    body()
    return result[0]


@in_namespace
def test_a_program_of_this_process_is_not_for_the_kernel() -> None:
    make_veth()
    with (
        skep.load(skep.compile_filter("tcp")) as vm,
        pytest.raises(UsageError, match="in_kernel is no program of the kernel engine"),
    ):
        attach_packet_socket(returns(PASS), PacketSocket("vb", in_kernel=vm.programs["filter"]))
