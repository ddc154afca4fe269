"""A network of namespaces for the load balancer: one switch; on it a client, the load balancer, and backends.

Everything lives in namespaces that child processes hold: it is gone when they are, however a test ends. Checksums are
computed by the senders, as a network card would see to it (docs/tools/lb.md).
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SLOWNESS
from tests.e2e.test_firewall_tool import namespace, shell

VIP, VIP6 = "203.0.113.10", "2001:db8:f::10"
CLIENT, CLIENT6 = "10.1.0.2", "fd00:1::2"

DECAPSULATE = """
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* What a backend's tunnel device does: take the outer header off (IPIP, GUE variant 0). */
SEC("xdp") int decapsulate(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u8 macs[12], protocol, inner;
	__u32 size;

	if (data + 14 + 52 > end)
		return XDP_PASS;
	if (data[12] == 0x08 && data[13] == 0x00) {
		size = 20;
		protocol = data[14 + 9];
		inner = data[14 + 20 + 9];
	} else if (data[12] == 0x86 && data[13] == 0xdd) {
		size = 40;
		protocol = data[14 + 6];
		inner = data[14 + 40 + 9];
	} else {
		return XDP_PASS;
	}
	if (protocol == 17 && data[14 + size + 2] == 6080 >> 8 && data[14 + size + 3] == (6080 & 255)) {
		protocol = inner;
		size += 12;
	}
	if (protocol != 4 && protocol != 41)
		return XDP_PASS;
	__builtin_memcpy(macs, data, 12);
	if (bpf_xdp_adjust_head(ctx, size))
		return XDP_DROP;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (data + 14 > end)
		return XDP_DROP;
	__builtin_memcpy(data, macs, 12);
	data[12] = protocol == 4 ? 0x08 : 0x86;
	data[13] = protocol == 4 ? 0x00 : 0xdd;
	return XDP_PASS;
}
char LICENSE[] SEC("license") = "GPL";
"""

#: Fetches / again and again over connections that stay open; one line of JSON at the end.
CLIENT_PROGRAM = """
import http.client, json, sys, threading, time
vip, count, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
results, end = [], time.monotonic() + seconds

def fetch():
    found = {"backends": [], "requests": 0, "error": None}
    results.append(found)
    try:
        link = http.client.HTTPConnection(vip, 80, timeout=10)
        link.connect()
        found["at"] = time.monotonic()
        while time.monotonic() < end:
            link.request("GET", "/name.txt")
            name = link.getresponse().read().decode().strip()
            found["requests"] += 1
            if name not in found["backends"]:
                found["backends"].append(name)
            time.sleep(0.1)
    except Exception as error:
        found["error"] = f"{error!r} after {time.monotonic() - found.get('at', 0):.1f} s"

threads = []
for number in range(count):
    thread = threading.Thread(target=fetch)
    thread.start()
    threads.append(thread)
    time.sleep(seconds / count / 4)
for thread in threads:
    thread.join()
print(json.dumps(results))
"""


@dataclass
class Network:
    """Who holds the namespaces (process ids), hardware addresses by name, and the servers."""

    pids: dict[str, int] = field(default_factory=dict)
    macs: dict[str, str] = field(default_factory=dict)
    servers: dict[str, subprocess.Popen[str]] = field(default_factory=dict)

    def run(self, where: str, *words: str) -> subprocess.CompletedProcess[str]:
        return shell(*words, pid=self.pids[where])

    def must(self, where: str, text: str) -> None:
        done = self.run(where, *text.split())
        assert done.returncode == 0, f"{text}: {done.stderr}"

    def start(self, where: str, *words: str, **named: Any) -> subprocess.Popen[str]:
        inside = ["nsenter", "-t", str(self.pids[where]), "-n", *words]
        named = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | named
        return subprocess.Popen(inside, text=True, **named)

    def fetch(self, count: int, seconds: float, vip: str = VIP) -> subprocess.Popen[str]:
        """A client with so many connections, one after the other."""
        return self.start("client", sys.executable, "-c", CLIENT_PROGRAM, vip, str(count), str(seconds))

    def fetched(self, client: subprocess.Popen[str]) -> list[dict[str, Any]]:
        out, err = client.communicate(timeout=60)
        assert client.returncode == 0, err
        found: list[dict[str, Any]] = json.loads(out)
        return found

    def once(self, vip: str = VIP) -> str:
        """The backend that answers one request; what curl says if none does."""
        host = f"[{vip}]" if ":" in vip else vip
        words = ("-s", "-g", "--max-time", "8", "-w", "%{errormsg}")
        done = self.run("client", "curl", *words, f"http://{host}/name.txt")
        return "".join(done.stdout.split("\n"))


def plug(network: Network, name: str) -> None:
    """A cable from a namespace (its end: e0) to the switch; checksums are made in software on both ends."""
    port = f"p{name}"
    made = network.run(
        "switch", "ip", "link", "add", port, "type", "veth", "peer", "name", "e0", "netns", str(network.pids[name])
    )
    if made.returncode:
        pytest.skip(f"no veth here: {made.stderr}")
    network.must("switch", f"ip link set {port} master br0 up")
    network.must(name, "ip link set e0 up")
    network.must(name, "ip link set lo up")
    network.must(name, "sysctl -qw net.ipv6.conf.e0.accept_dad=0 net.ipv6.conf.all.accept_dad=0")
    for where, device in ((name, "e0"), ("switch", port)):
        network.run(where, "ethtool", "-K", device, "tx", "off", "gro", "on" if where == "switch" else "off")
    network.macs[name] = json.loads(network.run(name, "ip", "-j", "link", "show", "e0").stdout)[0]["address"]


@contextlib.contextmanager
def network(folder: Path, backends: int, *, nat: bool) -> Iterator[Network]:
    """The whole of it. ``nat``: backends answer by the load balancer; else directly, with the VIP's address."""
    found = Network()
    with contextlib.ExitStack() as stack:
        names = ["switch", "client", "lb", *(f"b{n}" for n in range(1, backends + 1))]
        for name in names:
            found.pids[name] = stack.enter_context(namespace())
        if found.run("switch", "ip", "link", "add", "br0", "type", "bridge").returncode:
            pytest.skip("this kernel has no bridge (CONFIG_BRIDGE)")
        found.must("switch", "ip link set br0 up")
        for name in names[1:]:
            plug(found, name)
        found.must("lb", f"ip -6 route add blackhole {VIP6}/128")  # vm: the host sees copies, and would answer
        found.must("client", f"ip addr add {CLIENT}/24 dev e0")
        found.must("client", f"ip -6 addr add {CLIENT6}/64 dev e0 nodad")
        for address in ("10.1.0.1/24", "10.2.0.1/24", "fd00:1::1/64", "fd00:2::1/64"):
            found.must("lb", f"ip addr add {address} dev e0" + (" nodad" if ":" in address else ""))
        found.must("client", f"ip route add {VIP}/32 via 10.1.0.1")
        found.must("client", f"ip -6 route add {VIP6}/128 via fd00:1::1")
        for number in range(1, backends + 1):
            stack.callback(stop_server, found, f"b{number}")
            make_backend(found, folder, number, nat)
        yield found


def make_backend(network: Network, folder: Path, number: int, nat: bool) -> None:
    name = f"b{number}"
    network.must(name, f"ip addr add 10.2.0.{10 + number}/24 dev e0")
    network.must(name, f"ip -6 addr add fd00:2::{10 + number}/64 dev e0 nodad")
    if nat:
        network.must(name, "ip route add default via 10.2.0.1")
        network.must(name, "ip -6 route add default via fd00:2::1")
    else:
        for address in (f"{VIP}/32", f"{VIP6}/128"):
            network.must(name, f"ip addr add {address} dev lo" + (" nodad" if ":" in address else ""))
        network.must(name, "ip route add 10.1.0.0/24 dev e0")
        network.must(name, "ip -6 route add fd00:1::/64 dev e0")
    home = folder / name
    home.mkdir()
    (home / "name.txt").write_text(f"{name}\n")
    start_server(network, name, home, 8080 if nat else 80)


def start_server(network: Network, name: str, home: Path, port: int) -> None:
    """python -m http.server, IPv4 and IPv6, with connections that stay."""
    words = ["-m", "http.server", str(port), "--protocol", "HTTP/1.1", "--bind", "::", "--directory", str(home)]
    # It writes a line for each request: into a pipe that nobody reads it would stop after some 800.
    network.servers[name] = network.start(name, sys.executable, *words, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 20 * SLOWNESS
    while network.run(name, "curl", "-s", f"http://127.0.0.1:{port}/name.txt").stdout.strip() != name:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def stop_server(network: Network, name: str) -> None:
    """Kill it, as a crash would."""
    server = network.servers.pop(name, None)
    if server is not None:
        server.kill()
        server.communicate()


def put_decapsulation(network: Network, names: list[str]) -> contextlib.ExitStack:
    """The backends' tunnel ends, in the kernel; gone when the stack is closed."""
    import skep

    stack = contextlib.ExitStack()
    spec = skep.compile(skep.SourceFile("decapsulate.bpf.c", DECAPSULATE))
    live = stack.enter_context(skep.load(spec, engine="kernel"))
    for name in names:
        netns = f"/proc/{network.pids[name]}/ns/net"
        live.programs["decapsulate"].attach(skep.hooks.Xdp("e0", netns=netns))
    return stack


def config_text(network: Network, backends: int, forward: str, *, outer6: bool = False, vip: str = VIP) -> str:
    """One service; each backend behind its own hardware address, for all are on one wire."""
    lines = ["source4: 10.2.0.1", "source6: 'fd00:2::1'", "health: {check: tcp, every: 1s, timeout: 3s, fall: 2}"]
    port = ", port: 8080" if forward == "nat" else ""
    lines += ["services:", f"  - vip: '{vip}'", "    name: web", "    proto: tcp", "    port: 80"]
    lines += [f"    forward: {forward}", "    backends:"]
    v6 = outer6 or (forward == "nat" and ":" in vip)
    for number in range(1, backends + 1):
        address = f"fd00:2::{10 + number}" if v6 else f"10.2.0.{10 + number}"
        lines.append(f"      - {{address: '{address}'{port}, mac: '{network.macs[f'b{number}']}'}}")
    return "\n".join(lines) + "\n"


def wait_for(condition: Any, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds * SLOWNESS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


SKEP = [sys.executable, "-m", "skep", "lb"]


@contextlib.contextmanager
def balancing(network: Network, folder: Path, text: str, *words: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """``skep lb run`` in the load balancer's namespace, and its control socket; ended by Ctrl-C, or killed."""
    import signal

    config, control = folder / "lb.yaml", folder / "control"
    config.write_text(text)
    command = [*SKEP, "run", str(config), "--iface", "e0", "--control", str(control), "--json", *words]
    process = network.start("lb", *command, env=os.environ | {"NO_COLOR": "1"})
    try:
        deadline = time.monotonic() + 60 * SLOWNESS
        while not control.exists():
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        time.sleep(1)
        yield process, control
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=20 * SLOWNESS)
        process.kill()
