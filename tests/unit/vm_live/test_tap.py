"""TAP devices: a filter between two sides, both directions, real TCP through it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from skep.engine import PacketRun
from skep.errors import UsageError
from skep.model.hooks import Tap
from skep.vm.hooks.live import LiveLink
from skep.vm.hooks.tap import DEVICE, attach_tap
from skep.vm.programs import VmProgram
from tests.unit.vm_live.network import frame, in_namespace, ip, make_veth, number_of, received, wire
from tests.unit.vm_live.programs import returns

DROP, PASS, TX = 1, 2, 3

pytestmark = pytest.mark.skipif(not os.access(DEVICE, os.R_OK | os.W_OK), reason=f"no access to {DEVICE}")


@contextlib.contextmanager
def running(program: VmProgram, hook: Tap) -> Iterator[tuple[LiveLink, list[PacketRun]]]:
    link = attach_tap(program, hook)
    results: list[PacketRun] = []
    thread = threading.Thread(target=lambda: results.append(link.run_live()))
    thread.start()
    try:
        yield link, results
    finally:
        link.stop()
        link.close()
        thread.join(10)
        assert not thread.is_alive()


@in_namespace
def test_between_a_tap_and_an_interface() -> None:
    make_veth()
    with running(returns(PASS), Tap("t0", peer="vb")) as (link, results), wire("va") as a, wire("t0") as t:
        for number in range(300):
            a.send(frame(number))
        assert [number_of(packet) for packet in received(t, 300)] == list(range(300))
        for number in range(300):
            t.send(frame(number, size=1500))
        assert received(a, 300) == [frame(number, size=1500) for number in range(300)]
        link.update(returns(DROP))
        for number in range(10):
            a.send(frame(number))
        a.settimeout(0.2)
        t.settimeout(0.2)
        assert received(t, 1) == received(a, 1) == []
    (run,) = results
    assert (run.packets, run.passed, run.sent, run.not_sent) == (610, 600, 600, 0)
    assert run.verdicts == {"PASS": 600, "DROP": 10}
    assert "t0" not in [name for _, name in socket.if_nameindex()]


@in_namespace
def test_between_two_taps_with_vlan_tags() -> None:
    tagged = frame(7, kind=b"\x81\x00\x60\x2a\x88\xb5", size=100)
    with running(returns(PASS), Tap("t0", peer=Tap("t1"))) as (_, results), wire("t0") as one, wire("t1") as two:
        one.send(tagged)
        two.send(frame(8))
        assert [number_of(packet) for packet in received(one, 1)] == [8]
        assert len(received(two, 1)) == 1
    assert results[0].verdicts == {"PASS": 2}


@in_namespace
def test_tx_comes_back_and_without_peer_packets_end(tmp_path: Path) -> None:
    out = tmp_path / "out.pcap"
    with running(returns(TX), Tap("t0", out=out)) as (link, results), wire("t0") as t:
        t.send(frame(1))
        assert received(t, 1) == [frame(1)]
        link.update(returns(PASS))
        t.send(frame(2))
        t.settimeout(0.2)
        assert received(t, 1) == []
    assert results[0].verdicts == {"PASS": 1, "TX": 1}
    assert (results[0].passed, results[0].sent) == (1, 1)


@in_namespace
def test_misuse() -> None:
    make_veth()
    with pytest.raises(UsageError, match="H0609"):
        attach_tap(returns(PASS), Tap("a-name-that-is-much-too-long"))
    with pytest.raises(UsageError, match="H0610"):
        attach_tap(returns(PASS), Tap("t0", peer=Tap("t1", peer="vb")))
    with pytest.raises(UsageError, match="H0610"):
        attach_tap(returns(PASS), Tap("t0", peer="t0"))
    with pytest.raises(UsageError, match="H0601"):
        attach_tap(returns(PASS), Tap("t0", peer="nope"))
    assert [name for _, name in socket.if_nameindex() if name.startswith("t0")] == []


SERVER = """
import hashlib, socket, sys
with socket.create_server(("10.9.0.2", 5000)) as server:
    print("ready", flush=True)
    with server.accept()[0] as peer:
        digest, total = hashlib.sha256(), 0
        while chunk := peer.recv(1 << 16):
            digest.update(chunk)
            total += len(chunk)
        peer.sendall(digest.digest())
        data = bytes(range(256)) * 16384
        peer.sendall(hashlib.sha256(data).digest() + data)
"""


@in_namespace
def test_real_tcp_goes_through() -> None:
    """The other end is a process in a namespace of its own; its kernel sends segments of 64 KiB without checksums."""
    make_veth(up=False)
    words = ["unshare", "-n", sys.executable, "-c", "import sys; sys.stdin.readline()\n" + SERVER]
    server = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        _wait_for_namespace(server.pid)
        ip("link", "set", "va", "netns", str(server.pid))
        for words in ("addr add 10.9.0.2/24 dev va", "link set va up"):
            subprocess.run(["nsenter", f"--net=/proc/{server.pid}/ns/net", "ip", *words.split()], check=True)
        ip("link", "set", "vb", "up")
        server.stdin.write("go\n")
        server.stdin.flush()
        assert server.stdout.readline() == "ready\n"
        with running(returns(PASS), Tap("t0", peer="vb")) as (_, results):
            ip("addr", "add", "10.9.0.1/24", "dev", "t0")
            data = os.urandom(4 << 20)
            with socket.create_connection(("10.9.0.2", 5000), timeout=20) as peer:
                peer.sendall(data)
                peer.shutdown(socket.SHUT_WR)
                answer = b"".join(iter(lambda: peer.recv(1 << 16), b""))
        assert answer[:32] == hashlib.sha256(data).digest()
        assert answer[32:64] == hashlib.sha256(answer[64:]).digest()
        assert len(answer) == 64 + (4 << 20)
        (run,) = results
        assert run.bytes > 8 << 20
        assert run.bytes / run.packets > 1500
        assert run.not_sent == 0
    finally:
        server.kill()
        server.wait()
        server.stdin.close()
        server.stdout.close()


def _wait_for_namespace(pid: int) -> None:
    own = os.readlink("/proc/thread-self/ns/net")
    end = time.monotonic() + 10
    while os.readlink(f"/proc/{pid}/ns/net") == own and time.monotonic() < end:
        time.sleep(0.01)
