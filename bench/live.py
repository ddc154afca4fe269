"""Packets per second of the vm on live packets: a packet socket on a veth pair, in a namespace of its own.

First the ring is filled while nobody reads, then the loop runs over it: that is what a core can take. Then the loop
runs while packets are sent as fast as one thread can, and what is lost is counted.
"""

from __future__ import annotations

import statistics
import threading
import time

from rich.console import Console
from rich.table import Table

import skep
from bench.flood import Flood, in_namespace
from bench.packets import DROP_ALL, PARSE_AND_COUNT
from skep.engine import PacketRun

ROUNDS = 5
RING = 256 << 20
PACKETS = 400_000
SECONDS = 3.0
FRAME = bytes.fromhex(  # Ethernet, IPv4, UDP
    "ffffffffffff02000000000108004500002e00000000401100000a0000010a00000213881388001a0000"
).ljust(60, b"\0")
FLOOD = Flood([FRAME])


def main(console: Console) -> None:
    in_namespace(console, lambda: _measure(console))


def _measure(console: Console) -> None:
    table = Table("program", "threads", "packets", "M packets/s from a full ring", "ns/packet", "sent live", "lost")
    for source, name in ((DROP_ALL, "drop_all"), (PARSE_AND_COUNT, "parse_and_count")):
        spec = skep.compile(skep.SourceFile(f"{name}.bpf.c", source))
        for threads in (1, 2):
            with skep.load(spec) as live:
                hook = skep.hooks.PacketSocket("vb", threads=threads, ring_bytes=RING // threads, fanout="balance")
                with live.programs[name].attach(hook) as link:
                    runs = [_from_full_ring(link) for _ in range(ROUNDS)]
                    seconds = statistics.median(run.seconds / run.packets for run in runs)
                    sent, under_load = _under_load(link)
            rates = (f"{1e-6 / seconds:.1f}", f"{seconds * 1e9:.0f}", f"{sent / SECONDS / 1e6:.2f} M/s")
            lost = f"{under_load.lost / max(sent, 1):.1%}"
            table.add_row(name, str(threads), str(runs[0].packets), *rates, lost)
    console.print(table)
    console.print(
        "sender: sendmmsg through a packet socket, 60-byte frames; sender and loop share this machine's cores"
    )


def _from_full_ring(link: skep.Link) -> PacketRun:
    FLOOD.send("va", PACKETS)
    time.sleep(0.05)
    return link.run(packets=PACKETS, duration=10)


def _under_load(link: skep.Link) -> tuple[int, PacketRun]:
    link.run(duration=0.05)
    sent: list[int] = []
    thread = threading.Thread(target=lambda: sent.append(FLOOD.send("va", seconds=SECONDS)))
    thread.start()
    run = link.run(duration=SECONDS + 0.3)
    thread.join()
    return sent[0], run
