"""Packets per second of the vm on live packets: a packet socket on a veth pair, in a namespace of its own.

First the ring is filled while nobody reads, then the loop runs over it: that is what a core can take. Then the loop
runs while packets are sent as fast as one thread can, and what is lost is counted.
"""

from __future__ import annotations

import ctypes
import os
import socket
import statistics
import subprocess
import threading
import time

from rich.console import Console
from rich.table import Table

import skep
from bench.packets import DROP_ALL, PARSE_AND_COUNT
from skep.engine import PacketRun

ROUNDS = 5
BATCH = 64
RING = 256 << 20
PACKETS = 400_000
SECONDS = 3.0
CLONE_NEWNET = 0x40000000
FRAME = bytes.fromhex(  # Ethernet, IPv4, UDP
    "ffffffffffff02000000000108004500002e00000000401100000a0000010a00000213881388001a0000"
).ljust(60, b"\0")


def main(console: Console) -> None:
    failed: list[BaseException] = []

    def body() -> None:
        try:
            _measure(console)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


def _measure(console: Console) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        console.print(f"left out: unshare(CLONE_NEWNET): {os.strerror(ctypes.get_errno())}: needs root")
        return
    for words in ("link add va type veth peer name vb", "link set va up", "link set vb up"):
        subprocess.run(["ip", *words.split()], check=True)
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
    send(PACKETS)
    time.sleep(0.05)
    return link.run(packets=PACKETS, duration=10)


def _under_load(link: skep.Link) -> tuple[int, PacketRun]:
    link.run(duration=0.05)
    sent: list[int] = []
    thread = threading.Thread(target=lambda: sent.append(send(1 << 40, SECONDS)))
    thread.start()
    run = link.run(duration=SECONDS + 0.3)
    thread.join()
    return sent[0], run


def send(count: int, seconds: float = 1e9) -> int:
    """Send frames into va with sendmmsg; how many went out."""
    from skep.vm.hooks.live_layout import Sender

    libc = ctypes.CDLL(None, use_errno=True)
    frame = ctypes.create_string_buffer(FRAME, len(FRAME))
    state = Sender()
    for number in range(BATCH):
        piece = (ctypes.c_uint64 * 2).from_buffer(state, Sender.pieces.offset + 16 * number)
        piece[0], piece[1] = ctypes.addressof(frame), len(FRAME)
        message = (ctypes.c_uint64 * 8).from_buffer(state, Sender.messages.offset + 64 * number)
        message[2], message[3] = ctypes.addressof(piece), 1
    messages = ctypes.addressof(state) + Sender.messages.offset
    end, sent = time.perf_counter() + seconds, 0
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as opened:
        opened.bind(("va", 0))
        while sent < count and time.perf_counter() < end:
            done = libc.sendmmsg(opened.fileno(), ctypes.c_void_p(messages), min(BATCH, count - sent), 0)
            if done < 0:
                raise OSError(ctypes.get_errno(), "sendmmsg")
            sent += done
    return sent
