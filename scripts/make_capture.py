"""Record examples/data/real.pcap: real traffic of real programs between two network namespaces of our own.

TCP (HTTP), UDP, DNS, ICMP, ARP, IPv6 and VLAN-tagged packets, a few hundred in all. Needs root, and the programs ip,
ethtool, ping, curl, dig, dnsmasq. Everything it makes (namespaces, processes) is removed, also when it fails.

The namespaces are joined by two cables. The second is VLAN 100: its frames are recorded with the tag that a switch puts
on them where it sends them on through a trunk port (this way the script needs no 8021q in the kernel).

    sudo python scripts/make_capture.py [OUT]
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

OUT = Path(__file__).parent.parent / "examples" / "data" / "real.pcap"
TOOLS = ("ip", "ethtool", "ping", "curl", "dig", "dnsmasq")
CLIENT, SERVER = f"skep-c{os.getpid()}", f"skep-s{os.getpid()}"
PCAP_HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
ETH_P_ALL = 3
VLAN_TAG = struct.pack("!HH", 0x8100, 100)


def sh(command: str, namespace: str | None = None, check: bool = True) -> None:
    """Run one command, in a namespace if one is named."""
    words = ["ip", "netns", "exec", namespace, *command.split()] if namespace else command.split()
    subprocess.run(words, check=check, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=60)


@contextlib.contextmanager
def namespaces() -> Iterator[None]:
    """Two namespaces joined by two veth pairs, with IPv4 and IPv6 on both."""
    try:
        for name in (CLIENT, SERVER):
            sh(f"ip netns add {name}")
        for cable, (network, prefix) in enumerate((("10.77.0", "fd77"), ("10.78.0", "fd78"))):
            sh(f"ip link add c{cable} netns {CLIENT} type veth peer name s{cable} netns {SERVER}")
            for namespace, device, host in ((CLIENT, f"c{cable}", 1), (SERVER, f"s{cable}", 2)):
                sh(f"ethtool -K {device} tso off gso off gro off tx off rx off", namespace)
                sh(f"ip addr add {network}.{host}/24 dev {device}", namespace)
                sh(f"ip addr add {prefix}::{host}/64 dev {device} nodad", namespace)
                sh(f"ip link set {device} up", namespace)
        for namespace in (CLIENT, SERVER):
            sh("ip link set lo up", namespace)
        time.sleep(1)
        yield
    finally:
        for name in (CLIENT, SERVER):
            sh(f"ip netns delete {name}", check=False)


class Recorder:
    """Copies every frame of both cables into a pcap, in order of arrival; those of VLAN 100 get their tag."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("wb")
        self.file.write(PCAP_HEADER)
        self.packets = 0
        self.sockets = {_socket_in(CLIENT, "c0"): b"", _socket_in(CLIENT, "c1"): VLAN_TAG}
        self.stopping = False
        self.thread = threading.Thread(target=self._record)

    def _record(self) -> None:
        while not self.stopping:
            for ready in select.select(list(self.sockets), [], [], 0.1)[0]:
                frame = ready.recv(65535)
                frame = frame[:12] + self.sockets[ready] + frame[12:]
                now = time.time_ns()
                header = struct.pack("<IIII", now // 10**9, now % 10**9 // 1000, len(frame), len(frame))
                self.file.write(header + frame)
                self.packets += 1

    def __enter__(self) -> Recorder:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        time.sleep(0.5)
        self.stopping = True
        self.thread.join()
        for packets in self.sockets:
            packets.close()
        self.file.close()


def _socket_in(namespace: str, device: str) -> socket.socket:
    """A packet socket inside a namespace: the socket keeps its namespace when this process goes back."""
    here = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(f"/var/run/netns/{namespace}", os.O_RDONLY)
    libc_setns(there)
    try:
        packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        packets.bind((device, 0))
    finally:
        libc_setns(here)
        os.close(here)
        os.close(there)
    return packets


def libc_setns(descriptor: int) -> None:
    """setns(2); os.setns exists from Python 3.12."""
    import ctypes

    if ctypes.CDLL(None, use_errno=True).setns(descriptor, 0):
        raise OSError(ctypes.get_errno(), "setns")


def traffic() -> None:
    """What real programs do on a network."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as running:
        (Path(folder) / "index.html").write_text("<p>bees</p>\n" * 400)

        def serve(command: str) -> None:
            words = ["ip", "netns", "exec", SERVER, *command.split()]
            process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            running.callback(process.wait, 10)
            running.callback(process.terminate)

        serve(f"{sys.executable} -m http.server 8080 --directory {folder} --bind ::")
        serve(
            "dnsmasq -k -R -h --port=53 --pid-file= --user=root "
            "--address=/hive.test/10.77.0.2 --address=/hive.test/fd77::2"
        )
        time.sleep(2)
        for command in (
            "ping -c 5 -i 0.05 10.77.0.2",
            "ping -c 5 -i 0.05 -s 1200 fd77::2",
            "ping -c 3 -i 0.05 10.78.0.2",
            "dig +tries=1 +timeout=2 @10.77.0.2 hive.test A",
            "dig +tries=1 +timeout=2 @fd77::2 hive.test AAAA",
            "dig +tries=1 +timeout=2 +tcp @10.77.0.2 hive.test A",
            "curl -s http://10.77.0.2:8080/",
            "curl -s -g http://[fd77::2]:8080/",
            "curl -s http://10.78.0.2:8080/index.html",
            "curl -s http://10.77.0.2:8080/missing",
            "curl -s --max-time 1 http://10.77.0.2:23/",
            "ping -c 1 -W 1 10.77.0.99",
        ):
            sh(command, CLIENT, check=False)


def main() -> None:
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing or os.geteuid() != 0:
        sys.exit(f"needs root and these programs: {', '.join(missing or TOOLS)}")
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else OUT
    with namespaces(), Recorder(out) as recorder:
        traffic()
    print(f"{recorder.packets} packets, {out.stat().st_size} bytes in {out}")


if __name__ == "__main__":
    main()
