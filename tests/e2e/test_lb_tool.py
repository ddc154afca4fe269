"""``skep lb`` as people start it: real HTTP servers behind it, in network namespaces of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT, Run
from tests.e2e.lb_network import (
    SKEP,
    VIP,
    VIP6,
    Network,
    balancing,
    config_text,
    network,
    put_decapsulation,
    stop_server,
    wait_for,
)
from tests.e2e.test_firewall_tool import shell

EXAMPLE = ROOT / "examples" / "lb.yaml"


def test_the_example(skep_cli: Run, tmp_path: Path) -> None:
    done = skep_cli("lb", "check", EXAMPLE)
    assert done.returncode == 0, done.stderr
    assert "3 services, 7 backends" in done.stdout
    flow = "tcp 198.51.100.7:4711 > 203.0.113.10:80"
    done = skep_cli("lb", "simulate", EXAMPLE, "--flow", flow, "--out", tmp_path / "out.pcap")
    assert done.returncode == 0, done.stderr
    assert "engine: vm" in done.stderr
    assert "packet 1: tcp 198.51.100.7:4711 > 203.0.113.10:80, 54 bytes" in done.stdout
    assert "of web; TX, 94 bytes leave" in done.stdout
    assert (tmp_path / "out.pcap").stat().st_size == 24 + 16 + 94
    done = skep_cli("lb", "simulate", EXAMPLE, "--pcap", ROOT / "examples" / "data" / "real.pcap", "--json")
    assert [each["reason"] for each in json.loads(done.stdout)] == ["not_ours"] * 133


def test_errors_name_the_line(skep_cli: Run, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(EXAMPLE.read_text().replace("forward: ipip", "forward: carrier-pigeon"))
    done = skep_cli("lb", "check", path)
    assert done.returncode == 2
    assert "N0103" in done.stderr
    assert "not one of: ipip, gue, nat" in done.stderr
    for words, code in ((("--flow", "tcp 1.2.3.4 > 5"), "N0301"), (("--packet", "xy"), "N0302"), ((), "N0303")):
        done = skep_cli("lb", "simulate", EXAMPLE, *words)
        assert (done.returncode, code in done.stderr) == (2, True), done.stderr
    done = skep_cli("lb", "show", "--control", tmp_path / "nobody")
    assert "no lb answers" in done.stderr


# ---- on the running Linux ----


def verb(control: Path, *words: str) -> subprocess.CompletedProcess[str]:
    done = shell(*SKEP, *words, "--control", str(control))
    assert done.returncode == 0, done.stderr
    return done


def shown(control: Path) -> dict[str, dict[str, object]]:
    """Backends of the service, by name."""
    found = json.loads(verb(control, "show", "--json").stdout)
    return {backend["name"]: backend for backend in found["services"][0]["backends"]}


def check_life(net: Network, control: Path) -> None:
    """A backend drained, one killed in the middle, one added: connections to others do not notice."""
    client = net.fetch(40, 10)  # so many that each of three has one, but for one run in ten millions
    time.sleep(3)
    verb(control, "drain", "web", "10.2.0.11")
    time.sleep(1)
    stop_server(net, "b2")
    wait_for(lambda: shown(control)["10.2.0.12:8080"]["state"] == "down")
    assert {net.once() for _ in range(12)} == {"b3"}
    verb(control, "drain", "web", "10.2.0.11", "--undo")
    verb(control, "weight", "web", "10.2.0.11", "5")
    assert {net.once() for _ in range(80)} == {"b1", "b3"}  # b3 has one part of six
    verb(control, "remove", "web", "10.2.0.12")
    found = net.fetched(client)
    assert len(found) == 40
    assert {name for each in found for name in each["backends"]} == {"b1", "b2", "b3"}
    for each in found:
        assert len(each["backends"]) == 1, each
        assert each["requests"] > 0, each
        assert each["error"] is None or each["backends"] == ["b2"], each
    assert sum(each["error"] is not None for each in found) >= 1


@pytest.mark.kernel
@pytest.mark.parametrize("mode", ["generic", "native"])
def test_a_backend_is_killed_behind_nat(kernel: None, tmp_path: Path, mode: str) -> None:
    with network(tmp_path, 3, nat=True) as net:
        text = config_text(net, 3, "nat")
        with balancing(net, tmp_path, text, "--mode", mode) as (process, control):
            check_life(net, control)
            assert "1 services in force" in verb(control, "reload").stdout
            process.send_signal(signal.SIGHUP)
            wait_for(lambda: "10.2.0.12:8080" in shown(control))
            assert "10.2.0.12:8080" in verb(control, "show").stdout
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "engine: kernel" in err
    assert "lb.yaml: 1 services in force" in err
    assert "10.2.0.12:8080 of web is down" in err
    assert json.loads(out)["reasons"]["replied"]["packets"] > 100
    assert not control.exists()


def test_a_backend_is_killed_behind_nat_on_the_vm(tmp_path: Path) -> None:
    """Through a packet socket: this process forwards, no program is in the kernel."""
    with network(tmp_path, 3, nat=True) as net:
        text = config_text(net, 3, "nat")
        with balancing(net, tmp_path, text, "--engine", "vm") as (process, control):
            check_life(net, control)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "engine: vm" in err
    assert "privileges: CAP_NET_RAW" in err
    assert json.loads(out)["reasons"]["replied"]["packets"] > 100


def test_between_a_tap_device_and_an_interface(kernel: None, tmp_path: Path) -> None:
    """The host's own connections to a VIP, through a TAP device: translated there and back, out by two interfaces."""
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        pytest.skip("no /dev/net/tun here")
    with network(tmp_path, 1, nat=True) as net:
        net.must("lb", "ip addr flush dev e0")
        net.must("lb", "sysctl -qw net.ipv4.conf.e0.rp_filter=1")  # the host must not hear what comes in before us
        text = config_text(net, 1, "nat").replace("mac:", "interface: e0, mac:")
        with balancing(net, tmp_path, text, "--engine", "vm", "--tap", "t0") as (_, control):
            for words in ("ip addr add 10.2.0.1/24 dev t0", f"ip route add {VIP}/32 dev t0", "ethtool -K t0 tx off"):
                net.must("lb", words)
            net.must("lb", f"ip neigh add {VIP} dev t0 lladdr {net.macs['b1']}")
            done = net.run("lb", "curl", "-s", "--max-time", "8", "-w", "%{errormsg}", f"http://{VIP}/name.txt")
            assert done.stdout.strip() == "b1"
            assert shown(control)["10.2.0.11:8080"]["replies"]


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("forward", "vip", "outer6", "engine"),
    [
        ("ipip", VIP, False, "kernel"),
        ("gue", VIP, False, "kernel"),
        ("ipip", VIP6, True, "kernel"),
        ("gue", VIP, True, "kernel"),
        ("ipip", VIP, True, "vm"),
        ("gue", VIP6, True, "vm"),
    ],
)
def test_direct_server_return(kernel: None, tmp_path: Path, forward: str, vip: str, outer6: bool, engine: str) -> None:
    """Requests go by the load balancer with an outer header, answers go straight to the client."""
    with network(tmp_path, 2, nat=False) as net, put_decapsulation(net, ["b1", "b2"]):
        text = config_text(net, 2, forward, outer6=outer6, vip=vip)
        with balancing(net, tmp_path, text, "--engine", engine) as (_, control):
            assert {net.once(vip) for _ in range(24)} == {"b1", "b2"}
            found = net.fetched(net.fetch(6, 1.5, vip))
            assert all(each["error"] is None and len(each["backends"]) == 1 for each in found)
            if ":" not in vip:  # IPv6 addresses do not outlive it
                net.must("lb", "ip link set e0 down")
                net.must("lb", "ip link set e0 up")
                wait_for(lambda: net.once(vip) in ("b1", "b2"))
            counts = json.loads(verb(control, "show", "--json").stdout)
    assert counts["reasons"].keys() <= {"forwarded", "not_ours"}
    assert all(backend["replies"] == 0 for backend in counts["services"][0]["backends"])


REPLACING = """
import sys, time
import skep
from pathlib import Path
from skep.tools.lb import LoadBalancer, read_config

config = read_config(Path(sys.argv[1]))
with LoadBalancer(config, engine="kernel") as first, LoadBalancer(config, engine="kernel") as second:
    link = first.object.programs["lb"].attach(skep.hooks.Xdp("e0", mode=skep.hooks.XdpMode.GENERIC))
    print("ready", flush=True)
    new, old = second, first
    for line in sys.stdin:
        count = new.adopt(old)
        link.update(new.object.programs["lb"])
        new, old = old, new
        print(count, flush=True)
    print(first.reasons(), second.reasons(), flush=True)
"""


@pytest.mark.kernel
def test_the_program_is_replaced_while_traffic_flows(kernel: None, tmp_path: Path) -> None:
    """Connections go on over ten replacements, with tables that the connections were carried over to."""
    with network(tmp_path, 3, nat=True) as net:
        (tmp_path / "lb.yaml").write_text(config_text(net, 3, "nat"))
        words = [sys.executable, "-c", REPLACING, str(tmp_path / "lb.yaml")]
        process = net.start("lb", *words, stdin=subprocess.PIPE)
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line.strip() == "ready", process.stderr and process.stderr.read()
            client = net.fetch(10, 5)
            time.sleep(1.5)
            carried = []
            for _ in range(10):
                process.stdin.write("replace\n")
                process.stdin.flush()
                carried.append(int(process.stdout.readline()))
                time.sleep(0.2)
            found = net.fetched(client)
            _, err = process.communicate(timeout=20)
        finally:
            process.kill()
            process.communicate()
    assert process.returncode == 0, err
    assert max(carried) >= 8
    assert all(each["error"] is None and len(each["backends"]) == 1 for each in found), found
