"""Packet sockets: every packet once, in order; lost ones counted; programs replaced; packets sent."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import skep
from skep.abi.prog_types import ProgType
from skep.engine import PacketRun
from skep.errors import ClosedError, UnsupportedError, UsageError
from skep.model.hooks import PacketSocket
from skep.tools.capture import expression_spec
from skep.vm.hooks.capture import read_packets
from skep.vm.hooks.live import LiveLink
from skep.vm.hooks.packet_socket import attach_packet_socket
from skep.vm.programs import VmProgram
from tests.conftest import ROOT
from tests.unit.vm_live.network import frame, in_namespace, ip, make_veth, number_of, received, wire
from tests.unit.vm_live.programs import redirects, returns

DROP, PASS, TX = 1, 2, 3
CAPLESS = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]


@contextmanager
def attached(program: VmProgram, hook: PacketSocket) -> Iterator[LiveLink]:
    link = attach_packet_socket(program, hook)
    try:
        yield link
    finally:
        link.close()


@contextmanager
def running(link: LiveLink) -> Iterator[list[PacketRun]]:
    """The link runs in a thread; its result is in the list after the block."""
    results: list[PacketRun] = []
    thread = threading.Thread(target=lambda: results.append(link.run_live()))
    thread.start()
    try:
        while link.status().ended != "running":
            time.sleep(0.001)
        yield results
    finally:
        link.stop()
        thread.join(10)
        assert not thread.is_alive()


@in_namespace
def test_packets_come_once_in_order_and_whole(tmp_path: Path) -> None:
    make_veth()
    sent = [frame(n, size=60 + n * 7 % 1400) for n in range(500)]
    out = tmp_path / "out.pcap"
    with attached(returns(PASS), PacketSocket("vb", out=out)) as link, wire("va") as a:
        for packet in sent:
            a.send(packet)
        run = link.run_live(packets=500)
    assert [packet.data for packet in read_packets(out)] == sent
    assert (run.packets, run.passed, run.bytes, run.ended) == (500, 500, sum(map(len, sent)), "packets")
    assert (run.verdicts, run.lost, run.sent, run.not_sent) == ({"PASS": 500}, 0, 0, 0)


@in_namespace
def test_runs_go_on_where_the_last_one_ended(tmp_path: Path) -> None:
    make_veth()
    found: list[int] = []
    out = tmp_path / "out.pcap"
    with attached(returns(PASS), PacketSocket("vb", out=out)) as link, wire("va") as a:
        for number in range(100):
            a.send(frame(number))
        for count in (1, 0, 41, 58):
            assert link.run_live(packets=count, duration=5).packets == count
            found += [number_of(packet.data) for packet in read_packets(out)]
        assert found == list(range(100))
        a.send(frame(100))
        run = link.run_live(duration=0.05)
        assert (run.packets, run.ended) == (1, "duration")
        assert 0.05 <= run.seconds < 1


@in_namespace
def test_limit_of_passing_packets(tmp_path: Path) -> None:
    make_veth()
    out = tmp_path / "out.pcap"
    with attached(returns(DROP), PacketSocket("vb", out=out)) as link, wire("va") as a:
        a.send(frame(1))
        assert link.run_live(passed=3, duration=0.1).verdicts == {"DROP": 1}
        link.update(returns(PASS))
        for number in range(10):
            a.send(frame(number))
        run = link.run_live(passed=3)
    assert (run.packets, run.passed, run.ended) == (3, 3, "packets")
    assert [number_of(packet.data) for packet in read_packets(out)] == [0, 1, 2]


@in_namespace
def test_direction() -> None:
    make_veth()
    with wire("va") as a, wire("vb") as b:
        for direction, expected in {"in": 2, "out": 3, "both": 5}.items():
            with attached(returns(PASS), PacketSocket("vb", direction=direction)) as link:
                for number in range(2):
                    a.send(frame(number))
                for number in range(3):
                    b.send(frame(number))
                assert link.run_live(duration=0.1).packets == expected


@in_namespace
def test_vlan_tags_are_put_back(tmp_path: Path) -> None:
    make_veth()
    tagged = frame(7, kind=b"\x81\x00\x60\x2a\x88\xb5", size=100)
    double = frame(8, kind=b"\x88\xa8\x00\x64\x81\x00\x00\xc8\x88\xb5", size=100)
    sent = [tagged, double, frame(9)]
    out = tmp_path / "out.pcap"
    for prog_type, verdict in ((ProgType.XDP, PASS), (ProgType.SCHED_CLS, 0)):
        with attached(returns(verdict, prog_type), PacketSocket("vb", out=out)) as link, wire("va") as a:
            for packet in sent:
                a.send(packet)
            link.run_live(packets=3)
        assert [packet.data for packet in read_packets(out)] == sent


@in_namespace
def test_replaced_programs_lose_nothing() -> None:
    make_veth()
    count = 20_000
    programs = returns(PASS), returns(DROP)
    with attached(programs[1], PacketSocket("vb", ring_bytes=32 << 20)) as link, wire("va") as a:
        with running(link) as results:

            def send() -> None:
                for number in range(count):
                    a.send(frame(number))

            sender = threading.Thread(target=send)
            sender.start()
            updates = 0
            while sender.is_alive():
                link.update(programs[updates % 2])
                updates += 1
            sender.join()
        (run,) = results
    assert updates > 3
    assert (run.packets, run.lost) == (count, 0)
    assert sum(run.verdicts.values()) == count
    assert set(run.verdicts) == {"PASS", "DROP"}


@in_namespace
def test_lost_packets_are_counted() -> None:
    make_veth()
    with attached(returns(PASS), PacketSocket("vb", ring_bytes=512 << 10)) as link, wire("va") as a:
        for number in range(2000):
            a.send(frame(number, size=1000))
        run = link.run_live(duration=0.1)
        assert run.lost > 0
        assert run.packets + run.lost == 2000
        assert link.run_live(duration=0.05).lost == 0


@pytest.mark.parametrize("fanout", ["hash", "balance"])
def test_threads_share_the_packets(fanout: str, tmp_path: Path) -> None:
    @in_namespace
    def body() -> None:
        make_veth()
        out = tmp_path / "out.pcap"
        hook = PacketSocket("vb", threads=3, out=out, fanout=fanout)
        with attached(returns(PASS), hook) as link, wire("va") as a:
            for number in range(3000):
                a.send(frame(number))
            run = link.run_live(duration=0.1)
            busy = [int(port.live.packets) for port in link.ports]
        assert run.packets == 3000
        assert sorted(number_of(packet.data) for packet in read_packets(out)) == list(range(3000))
        if fanout == "balance":
            assert busy == [1000, 1000, 1000]

    body()


@in_namespace
def test_threads_share_a_limit() -> None:
    make_veth()
    with attached(returns(PASS), PacketSocket("vb", threads=3, fanout="balance")) as link, wire("va") as a:
        for number in range(3000):
            a.send(frame(number))
        assert link.run_live(packets=1000, duration=5).packets == 1000


@in_namespace
def test_tx_and_redirect_are_sent_only_when_asked() -> None:
    make_veth()
    make_veth("vc", "vd")
    ifindex = socket.if_nametoindex("vc")
    with wire("va") as a, wire("vd") as d:
        with attached(returns(TX), PacketSocket("vb")) as link:
            a.send(frame(1))
            run = link.run_live(packets=1)
            assert (run.verdicts, run.sent, run.not_sent) == ({"TX": 1}, 0, 0)
        with attached(returns(TX), PacketSocket("vb", transmit=True)) as link:
            for number in range(200):
                a.send(frame(number))
            run = link.run_live(packets=200)
            assert (run.sent, run.not_sent) == (200, 0)
            assert [number_of(packet) for packet in received(a, 200)] == list(range(200))
        for prog_type in (ProgType.XDP, ProgType.SCHED_CLS):
            with attached(redirects(ifindex, prog_type), PacketSocket("vb", transmit=True)) as link:
                for number in range(200):
                    a.send(frame(number))
                run = link.run_live(packets=200)
                assert (run.sent, run.not_sent) == (200, 0)
                assert [number_of(packet) for packet in received(d, 200)] == list(range(200))
        with attached(redirects(9999), PacketSocket("vb", transmit=True)) as link:
            for number in range(10):
                a.send(frame(number))
            run = link.run_live(packets=10)
            assert (run.sent, run.not_sent) == (0, 10)


@in_namespace
def test_interface_down_and_up_and_gone() -> None:
    make_veth()
    with attached(returns(PASS), PacketSocket("vb")) as link, wire("va") as a:
        with running(link) as results:
            a.send(frame(1))
            time.sleep(0.05)
            ip("link", "set", "vb", "down")
            time.sleep(0.05)
            ip("link", "set", "vb", "up")
            end = time.monotonic() + 5
            while link.status().packets < 2 and time.monotonic() < end:  # the carrier takes its time
                a.send(frame(2))
                time.sleep(0.05)
        assert results[0].ended == "stopped"
        assert results[0].packets >= 2
    with attached(returns(PASS), PacketSocket("vb")) as link, wire("va") as a:
        a.send(frame(1))
        threading.Timer(0.1, ip, ("link", "del", "va")).start()
        run = link.run_live(duration=10)
        assert (run.packets, run.ended) == (1, "gone")


@in_namespace
def test_close_and_misuse(tmp_path: Path) -> None:
    make_veth()
    link = attach_packet_socket(returns(PASS), PacketSocket("vb"))
    with running(link) as results:
        with pytest.raises(UsageError, match="H0608"):
            link.run_live()
        with pytest.raises(UsageError, match="H0204"):
            link.update(returns(1, ProgType.SCHED_CLS))
        link.close()
    assert results[0].ended == "stopped"
    link.close()
    with pytest.raises(ClosedError):
        link.run_live()
    with attached(returns(PASS), PacketSocket("vb")) as link:
        for limits in ({"packets": 1, "passed": 1}, {"packets": -1}, {"duration": -0.1}):
            with pytest.raises(UsageError, match="H0607"):
                link.run_live(**limits)
    for wrong in (
        PacketSocket("vb", threads=0),
        PacketSocket("vb", threads=65),
        PacketSocket("vb", direction="up"),
        PacketSocket("vb", fanout="random"),
        PacketSocket("vb", ring_bytes=1),
        PacketSocket("vb", timeout_ms=0),
    ):
        with pytest.raises(UsageError, match="H0606"):
            attach_packet_socket(returns(PASS), wrong)
    for name in ("nope", "", "x" * 40, "a/b", 99999):
        with pytest.raises(UsageError, match="H0601"):
            attach_packet_socket(returns(PASS), PacketSocket(name))
    with pytest.raises(UsageError, match="H0202"):
        attach_packet_socket(returns(PASS), PacketSocket("vb", out=tmp_path / "no" / "out.pcap"))
    with pytest.raises(UnsupportedError, match="H0201"):
        attach_packet_socket(returns(0, ProgType.KPROBE), PacketSocket("vb"))


@in_namespace
def test_an_exception_leaves_no_output(tmp_path: Path) -> None:
    make_veth()
    out = tmp_path / "out.pcap"

    def interrupt(packets: int, total: int) -> None:
        assert total == 0
        if packets:
            raise KeyboardInterrupt

    with attached(returns(PASS), PacketSocket("vb", out=out)) as link, wire("va") as a:
        a.send(frame(1))
        with pytest.raises(KeyboardInterrupt):
            link.run_live(interrupt)
        assert list(tmp_path.iterdir()) == []
        a.send(frame(2))
        assert link.run_live(packets=1).packets == 1
    assert [number_of(packet.data) for packet in read_packets(out)] == [2]


@in_namespace
def test_a_stop_before_the_first_run_counts() -> None:
    make_veth()
    with attached(returns(PASS), PacketSocket("vb")) as link, wire("va") as a:
        a.send(frame(1))
        link.stop()
        run = link.run_live(duration=10)
        assert (run.packets, run.ended) == (1, "stopped")
        assert run.seconds < 5
        link.stop()
        a.send(frame(2))
        assert link.run_live(packets=1).ended == "packets"


def test_a_limit_for_captures(examples: Path, tmp_path: Path) -> None:
    real, out = examples / "data" / "real.pcap", tmp_path / "out.pcap"
    with skep.load(expression_spec("ip6")) as live:
        (program,) = live.programs.values()
        link = program.attach(skep.hooks.Pcap(real, out=out))
        whole = link.run()
        packets = [packet.data for packet in read_packets(out)]
        assert len(packets) == whole.passed > 3
        run = link.run(passed=3)
        assert (run.passed, run.ended, whole.ended) == (3, "packets", "end")
        assert run.packets < whole.packets
        assert [packet.data for packet in read_packets(out)] == packets[:3]
        for wrong in (0, -1):
            with pytest.raises(UsageError, match="H0607"):
                link.run(passed=wrong)


@pytest.mark.parametrize("engine", ["vm", "interpreter"])
def test_through_the_public_api(engine: str) -> None:
    @in_namespace
    def body() -> None:
        make_veth()
        with skep.load(expression_spec("ether[17] & 1 = 0"), engine=engine) as live, wire("va") as a:
            (program,) = live.programs.values()
            link = program.attach(skep.hooks.PacketSocket("vb"))
            for number in range(20):
                a.send(frame(number))
            seen: list[int] = []
            run = link.run(lambda packets, _: seen.append(packets), passed=5)
            assert (run.packets, run.passed, run.verdicts) == (9, 5, {"DROP": 4, "PASS": 5})
            assert link.status().packets == 9
            link.stop()
            with pytest.raises(UsageError, match="U0208"):
                program.attach(skep.hooks.Pcap(__file__)).run(duration=1)

    body()


@in_namespace
def test_an_interface_with_plain_ip_packets(tmp_path: Path) -> None:
    """A TUN device: what the host sends and receives there starts with the IP header."""
    with tun_device("tun0") as device:
        ip("addr", "add", "10.7.0.1/24", "dev", "tun0")
        ip("link", "set", "tun0", "up")
        out = tmp_path / "out.pcap"
        hook = PacketSocket("tun0", direction="both", out=out)
        with attached(returns(0, ProgType.SCHED_CLS), hook) as link:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.sendto(b"hello", ("10.7.0.2", 7))
            os.write(device, bytes.fromhex("4500001c000100004011664c0a0700020a070001000700070008e4d8"))
            run = link.run_live(packets=2, duration=5)
        assert run.packets == 2
        packets = list(read_packets(out))
        assert [packet.link_type for packet in packets] == [101, 101]
        assert [packet.data[0] >> 4 for packet in packets] == [4, 4]
        assert packets[0].data.endswith(b"hello")


@contextmanager
def tun_device(name: str) -> Iterator[int]:
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        pytest.skip("no access to /dev/net/tun")
    fd = os.open("/dev/net/tun", os.O_RDWR)
    try:
        fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH22x", name.encode(), 0x1001))  # TUNSETIFF: IFF_TUN | IFF_NO_PI
        yield fd
    finally:
        os.close(fd)


@in_namespace
def test_nothing_stays_open() -> None:
    make_veth()
    attach_packet_socket(returns(PASS), PacketSocket("vb", threads=2)).close()
    before = len(list(Path("/proc/self/fd").iterdir()))
    link = attach_packet_socket(returns(PASS), PacketSocket("vb", threads=2, transmit=True))
    link.run_live(duration=0.01)
    link.close()
    with pytest.raises(UsageError):
        attach_packet_socket(returns(PASS), PacketSocket("vb", out="/nowhere/out.pcap"))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


UNPRIVILEGED = """
import sys
from tests.unit.vm_live.programs import returns
from skep.model.hooks import PacketSocket, Tap
from skep.vm.engine import VmEngine
from skep.errors import EngineError
for hook in (PacketSocket("lo"), Tap("t0")):
    try:
        VmEngine().attach(returns(2), hook)
        print("attached")
    except EngineError as error:
        print(error.diagnostic.code, error.diagnostic.why[0][:20])
"""


def test_without_privileges_the_missing_one_is_named() -> None:
    words = [*CAPLESS, sys.executable, "-c", UNPRIVILEGED]
    result = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    if "setpriv" in result.stderr:
        pytest.skip(f"setpriv cannot drop capabilities: {result.stderr}")
    first, second = result.stdout.splitlines()
    assert first == "H0603 a packet socket need", result.stderr
    assert second == "H0603 a TAP device needs C"


IN_USER_NAMESPACE = """
import subprocess, sys
from tests.unit.vm_live.network import disable_ipv6, frame, make_veth, wire
from tests.unit.vm_live.programs import returns
from skep.model.hooks import PacketSocket
from skep.vm.engine import VmEngine
disable_ipv6()
make_veth()
with wire("va") as a:
    link = VmEngine().attach(returns(3), PacketSocket("vb", threads=2, transmit=True))
    for n in range(100):
        a.send(frame(n))
    run = link.run_live(duration=0.2)
    owner = open("/proc/self/uid_map").read().split()[1]
    print(owner, run.verdicts, run.sent, run.lost)
"""


def test_in_a_user_namespace_of_an_unprivileged_user(tmp_path: Path) -> None:
    """As nobody, in a mount namespace where nobody may read this Python, wherever it is installed."""
    home, top = Path(sys.base_prefix), Path("/", *Path(sys.base_prefix).parts[1:2])
    if ROOT.is_relative_to(top) or tmp_path.is_relative_to(top):
        pytest.skip(f"Python and the checkout both lie in {top}: cannot show nobody only one of them")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        (Path(folder) / "python").mkdir()
        setup = (
            f"mount --bind {home} {folder}/python && mount -t tmpfs -o mode=755 tmpfs {top} && "
            f'mkdir -p {home} && mount --bind {folder}/python {home} && exec "$@"'
        )
        user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "unshare", "-Urn"]
        words = ["unshare", "-m", "sh", "-c", setup, "sh", *user, "env", f"SKEP_CACHE={folder}/cache"]
        probe = subprocess.run([*words, "true"], capture_output=True, text=True, timeout=30, check=False)
        if probe.returncode:
            pytest.skip(f"no user namespaces for unprivileged users here: {probe.stderr}")
        words += [sys.executable, "-c", IN_USER_NAMESPACE]
        result = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert result.stdout == "65534 {'TX': 100} 100 0\n", result.stderr
