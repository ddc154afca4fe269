"""AF_XDP: the queue's packets come here and nowhere else; TX, a peer, replacement, and refusals by name."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from skep.errors import UnsupportedError, UsageError
from skep.kernel.xsk_redirect import redirect_queue
from skep.model.hooks import Xsk
from skep.vm.hooks.capture import read_packets
from skep.vm.hooks.live import LiveLink
from skep.vm.hooks.xsk import attach_xsk
from skep.vm.programs import VmProgram
from tests.unit.vm_live.network import frame, in_namespace, make_veth, number_of, received, wire
from tests.unit.vm_live.programs import returns

DROP, PASS, TX = 1, 2, 3

pytestmark = pytest.mark.usefixtures("kernel")


@contextlib.contextmanager
def attached(program: VmProgram, hook: Xsk) -> Iterator[LiveLink]:
    link = attach_xsk(program, hook, redirect_queue)
    try:
        yield link
    finally:
        link.close()


@pytest.mark.parametrize("generic", [False, True])
def test_packets_are_taken_from_the_host(generic: bool, tmp_path: Path) -> None:
    @in_namespace
    def body() -> None:
        make_veth()
        out = tmp_path / "out.pcap"
        sent = [frame(n, size=60 + n % 1400) for n in range(1000)]
        with wire("va") as a, wire("vb") as b:
            b.settimeout(0.2)
            with attached(returns(PASS), Xsk("vb", out=out, generic=generic)) as link:
                for packet in sent:
                    a.send(packet)
                run = link.run_live(packets=1000, duration=5)
                assert (run.packets, run.passed, run.lost) == (1000, 1000, 0)
                assert received(b, 1) == []
                link.update(returns(TX))
                for packet in sent[:200]:
                    a.send(packet)
                run = link.run_live(packets=200, duration=5)
                assert (run.verdicts, run.sent) == ({"TX": 200}, 200)
                assert received(a, 200) == sent[:200]
            a.send(frame(5))
            assert [number_of(packet) for packet in received(b, 1)] == [5]
        assert [packet.data for packet in read_packets(out)] == []

    body()


@in_namespace
def test_all_frames_come_back_again_and_again() -> None:
    """More packets than frames: each frame must have gone back to the kernel."""
    make_veth()
    with attached(returns(DROP), Xsk("vb", frames=64)) as link, wire("va") as a:
        for turn in range(20):
            for number in range(50):
                a.send(frame(turn * 50 + number))
            assert link.run_live(packets=50, duration=5).packets == 50
        for number in range(200):
            a.send(frame(number))
        time.sleep(0.05)
        run = link.run_live(duration=0.05)
        assert run.lost > 0
        assert run.packets + run.lost == 200


@in_namespace
def test_between_two_interfaces() -> None:
    make_veth()
    make_veth("vc", "vd")
    with attached(returns(PASS), Xsk("vb", peer="vc")) as link, wire("va") as a, wire("vd") as d:
        for number in range(100):
            a.send(frame(number))
        assert link.run_live(packets=100, duration=5).sent == 100
        assert [number_of(packet) for packet in received(d, 100)] == list(range(100))
        for number in range(100):
            d.send(frame(number))
        assert link.run_live(packets=100, duration=5).sent == 100
        assert [number_of(packet) for packet in received(a, 100)] == list(range(100))


@in_namespace
def test_refusals_name_the_reason() -> None:
    make_veth()
    with attached(returns(PASS), Xsk("vb")), pytest.raises(UnsupportedError, match="already"):
        attach_xsk(returns(PASS), Xsk("vb"), redirect_queue)
    with pytest.raises(UnsupportedError, match="there is no receive queue 9"):
        attach_xsk(returns(PASS), Xsk("vb", queue=9), redirect_queue)
    with pytest.raises(UnsupportedError, match="H0612"):
        attach_xsk(returns(PASS), Xsk("vb"), None)
    for wrong in (Xsk("vb", frames=100), Xsk("vb", frames=1), Xsk("vb", queue=-1)):
        with pytest.raises(UsageError, match="H0611"):
            attach_xsk(returns(PASS), wrong, redirect_queue)
    with pytest.raises(UsageError, match="H0610"):
        attach_xsk(returns(PASS), Xsk("vb", peer="vb"), redirect_queue)
    with pytest.raises(UsageError, match="H0601"):
        attach_xsk(returns(PASS), Xsk("nope"), redirect_queue)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(UsageError, match="H0202"):
        attach_xsk(returns(PASS), Xsk("vb", out="/nowhere/x.pcap"), redirect_queue)
    with attached(returns(PASS), Xsk("vb")):
        pass
    assert len(list(Path("/proc/self/fd").iterdir())) == before
