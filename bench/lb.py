"""skep lb with 10 and 1,000 backends: packets per second on one core, what moves when a backend comes or goes, and how
long a table takes.

Packets are those of bench/packets.py turned to one VIP (IMIX, 1,000 clients), so that each is looked up among the
connections and leaves with an outer header, or translated. On the vm over a capture and from the ring of a packet
socket; in the kernel as XDP under a flood through a veth pair (what is more than with `return XDP_TX`), and as single
runs of BPF_PROG_TEST_RUN (the median; reading the clock twice is in it).
"""

from __future__ import annotations

import os
import statistics
import struct
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

import skep
from bench.flood import Flood, in_namespace
from bench.packets import DROP_ALL
from skep.engine import PacketRun
from skep.errors import SkepError
from skep.testing.captures import packets
from skep.tools.lb import Config, LoadBalancer, parse_config
from skep.tools.lb.frames import checksum
from skep.tools.lb.maglev import TABLE, Candidate, TableBuilder

COUNTS = (10, 1_000)
ROUNDS = 5
PACKETS = 1_000_000
DISTINCT = 20_000
RING = 256 << 20
RING_PACKETS = 200_000
LIVE_SECONDS = 1.0
VIP = bytes((203, 0, 113, 10))
PORT = 443


def config(count: int, forward: str) -> Config:
    backends = ", ".join(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(1, count + 1))
    return parse_config(
        f"source4: 192.0.2.1\nservices:\n"
        f"  - {{vip: 203.0.113.10, proto: tcp, port: {PORT}, forward: {forward}, backends: [{backends}]}}\n"
        f"  - {{vip: 203.0.113.10, proto: udp, port: {PORT}, forward: {forward}, "
        f"backends: [{backends}]}}\n"
    )


def to_the_vip(frame: bytes) -> bytes:
    """A frame of bench/packets.py, to the VIP, no larger than leaves room for an outer header."""
    changed = bytearray(frame[:1474])
    changed[30:34] = VIP
    changed[36:38] = PORT.to_bytes(2, "big")
    changed[16:18] = (len(changed) - 14).to_bytes(2, "big")
    if changed[23] == 17:
        changed[38:40] = (len(changed) - 34).to_bytes(2, "big")
    changed[24:26] = b"\0\0"
    changed[24:26] = checksum(bytes(changed[14:34])).to_bytes(2, "big")
    return bytes(changed)


def write_capture(path: Path) -> None:
    frames = [to_the_vip(frame) for frame in packets(DISTINCT)]
    block = b"".join(struct.pack("<IIII", 1, 0, len(frame), len(frame)) + frame for frame in frames)
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for _ in range(PACKETS // DISTINCT):
            file.write(block)


def main(console: Console) -> None:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    _tables(console)
    table = Table("forward", "backends", "vm, capture: M packets/s", "ns/packet", "kernel, test run: ns/packet")
    with tempfile.TemporaryDirectory() as folder:
        capture = Path(folder) / "in.pcap"
        write_capture(capture)
        for forward in ("ipip", "gue", "nat"):
            for count in COUNTS:
                with LoadBalancer(config(count, forward)) as balancer:
                    hook = skep.hooks.Pcap(capture)
                    balancer.run(hook)
                    cost = min(cpu_ns(lambda: balancer.run(hook)) for _ in range(ROUNDS))  # noqa: B023
                rate = f"{1e3 / cost:.1f}"
                table.add_row(forward, f"{count:,}", rate, f"{cost:.0f}", kernel_ns(config(count, forward)))
    console.print(f"capture of {PACKETS:,} packets, one core, best of {ROUNDS} rounds")
    console.print(table)
    in_namespace(console, lambda: measure_live(console))


def _tables(console: Console) -> None:
    table = Table("backends", "table: ms", "one goes: moved", "one comes: moved", "ideal")
    with TableBuilder() as builder:
        for count in (10, 100, 1_000):
            names = [f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}:80" for n in range(count + 1)]

            def built(some: list[str], numbers: dict[str, int]) -> tuple[int, ...]:
                return builder.build([Candidate(name, 1, numbers[name]) for name in some])

            numbers = {name: number for number, name in enumerate(names)}
            whole = built(names[:count], numbers)
            started = time.perf_counter()
            built(names[:count], numbers)
            seconds = time.perf_counter() - started
            less, more = built(names[1:count], numbers), built(names, numbers)
            moved = [sum(a != b for a, b in zip(whole, other, strict=True)) / TABLE for other in (less, more)]
            cells = (f"{seconds * 1e3:.0f}", *(f"{share:.2%}" for share in moved), f"{1 / count:.2%}")
            table.add_row(f"{count:,}", *cells)
    console.print(table)


def cpu_ns(run: Callable[[], PacketRun]) -> float:
    """Nanoseconds of CPU time for each packet: others may want the core, too."""
    started = time.process_time_ns()
    done = run()
    return (time.process_time_ns() - started) / done.packets


def kernel_ns(made: Config) -> str:
    """Nanoseconds of one run in the kernel, or why there is none. No repeat: the second run would see what has left."""
    frame = to_the_vip(next(packets(1)))
    try:
        with LoadBalancer(made, engine="kernel") as balancer:
            program = balancer.object.programs["lb"]
            return f"{statistics.median(program.run(frame).duration_ns for _ in range(2000)):.0f}"
    except SkepError as error:
        return error.diagnostic.code


def measure_live(console: Console) -> None:
    """A flood through a veth pair with the load balancer at the other end."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    flood = Flood([to_the_vip(frame) for frame in packets(1024)])
    send_back = skep.compile(skep.SourceFile("tx.bpf.c", DROP_ALL.replace("XDP_DROP", "XDP_TX")))
    with skep.load(send_back, engine="kernel") as live, live.programs["drop_all"].attach(skep.hooks.Xdp("vb")):
        floor = flood.ns_per_packet("va", LIVE_SECONDS)
    table = Table("backends", "kernel, XDP: M packets/s", "ns more than XDP_TX", "vm, from the ring: M packets/s")
    for count in COUNTS:
        with LoadBalancer(config(count, "ipip"), engine="kernel") as balancer:
            balancer.object.programs["lb"].attach(skep.hooks.Xdp("vb"))
            cost = flood.ns_per_packet("va", LIVE_SECONDS)
        table.add_row(f"{count:,}", f"{1e3 / cost:.2f}", f"{cost - floor:.0f}", _from_ring(count, flood))
    console.print(f"live, veth, one core, sender and load balancer together; with `return XDP_TX` {floor:.0f} ns")
    console.print(table)


def _from_ring(count: int, flood: Flood) -> str:
    """The ring is filled while nobody reads; then the loop runs over it: that is what a core can take."""
    with LoadBalancer(config(count, "ipip")) as balancer:
        hook = skep.hooks.PacketSocket("vb", ring_bytes=RING)
        with balancer.object.programs["lb"].attach(hook) as link:
            costs = []
            for _ in range(ROUNDS):
                flood.send("va", RING_PACKETS)
                time.sleep(0.05)
                costs.append(cpu_ns(lambda: link.run(packets=RING_PACKETS, duration=10)))
    return f"{1e3 / min(costs):.2f}"
