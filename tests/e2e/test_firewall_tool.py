"""``skep firewall`` as people start it: over a capture, and on a veth pair of the running Linux."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, Run

PCAP = ROOT / "examples" / "data" / "real.pcap"
RULES = """default: deny
stateful: true
rules:
  - allow: {proto: tcp, port: [80, 443, 8000-9000], name: web}
  - allow: {proto: udp, port: dns, rate: 5/s}
  - allow: {proto: icmp, icmp: echo-request}
"""


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules.yaml"
    path.write_text(RULES)
    return path


def test_check(skep_cli: Run, rules: Path) -> None:
    done = skep_cli("firewall", "check", rules)
    assert done.returncode == 0
    assert "3 rules, no hash table, 0 warnings" in done.stdout
    rules.write_text(RULES + "  - deny: {proto: tcp, port: 443}\n  - deny: {port: 1}\n")
    done = skep_cli("firewall", "check", rules)
    assert done.returncode == 2
    assert "rules.yaml:8" in done.stderr
    rules.write_text(RULES + "  - deny: {proto: tcp, port: 443}\n")
    done = skep_cli("firewall", "check", rules, "--json")
    assert [warning["line"] for warning in json.loads(done.stdout)["warnings"]] == [7]


def test_over_a_capture(skep_cli: Run, rules: Path, tmp_path: Path) -> None:
    done = skep_cli("firewall", "test", rules, "--pcap", PCAP, "--out", tmp_path / "out.pcap", "--packets", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["packets"] == 133
    assert len(found["decisions"]) == 133
    assert sum(decision["action"] == "allow" for decision in found["decisions"]) == found["passed"] == 101
    assert (tmp_path / "out.pcap").stat().st_size > 24
    done = skep_cli("firewall", "test", rules, "--pcap", PCAP)
    assert "engine: vm" in done.stderr
    assert "line 4: web" in done.stdout


def test_what_changes(skep_cli: Run, rules: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(RULES.replace("port: dns", "port: ntp"))
    done = skep_cli("firewall", "diff", rules, other, "--pcap", PCAP)
    assert done.returncode == 0, done.stderr
    assert "packet 49: udp 10.77.0.1:47303 > 10.77.0.2:53" in done.stdout
    assert "  - allow (line 5" in done.stdout
    assert "  + deny (no rule: the default)" in done.stdout
    assert "133 of 133 packets compared: 0 pass now, 4 pass no more" in done.stdout


# ---- on the running Linux ----


def shell(*words: str, pid: int | None = None) -> subprocess.CompletedProcess[str]:
    inside = ["nsenter", "-t", str(pid), "-n"] if pid else []
    return subprocess.run([*inside, *words], capture_output=True, text=True, timeout=20, check=False)


@contextlib.contextmanager
def namespace() -> Iterator[int]:
    """A process that holds a network namespace."""
    holder = subprocess.Popen(["unshare", "-n", "sleep", "300"])
    try:
        deadline = time.monotonic() + 5
        while os.readlink(f"/proc/{holder.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield holder.pid
    finally:
        holder.kill()
        holder.wait()


@pytest.fixture
def network(kernel: None) -> Iterator[tuple[int, int]]:
    """Two namespaces with a veth pair: guarded (va, 10.99.0.1) and outside (vb, 10.99.0.2)."""
    with namespace() as guarded, namespace() as outside:
        made = shell(
            "ip", "link", "add", "va", "type", "veth", "peer", "name", "vb", "netns", str(outside), pid=guarded
        )
        if made.returncode:
            pytest.skip(f"no veth here: {made.stderr}")
        for pid, name, address in ((guarded, "va", "10.99.0.1/24"), (outside, "vb", "10.99.0.2/24")):
            shell("ip", "addr", "add", address, "dev", name, pid=pid)
            shell("ip", "link", "set", name, "up", pid=pid)
        yield guarded, outside


def pings(pid: int, address: str, count: int = 1) -> int:
    """How many of so many echo requests were answered."""
    out = shell("ping", "-c", str(count), "-i", "0.1", "-W", "1", address, pid=pid).stdout
    return int(out.split(" received")[0].split()[-1])


@contextlib.contextmanager
def running(words: list[str], control: Path) -> Iterator[subprocess.Popen[str]]:
    """A firewall that runs; ended by Ctrl-C."""
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while not control.exists():
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        time.sleep(1)
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)


def test_between_a_tap_device_and_an_interface(network: tuple[int, int], tmp_path: Path) -> None:
    """The vm engine: what does not pass does not come out at the other side."""
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        pytest.skip("no /dev/net/tun here")
    guarded, outside = network
    rules, control = tmp_path / "rules.yaml", tmp_path / "control"
    rules.write_text("default: deny\nstateful: true\nrules:\n  - allow: {proto: icmp, icmp: echo-request}\n")
    skep = [sys.executable, "-m", "skep", "firewall"]
    shell("ip", "addr", "flush", "dev", "va", pid=guarded)
    words = ["nsenter", "-t", str(guarded), "-n", *skep, "run", str(rules), "--engine", "vm", "--iface", "va"]
    with running([*words, "--tap", "tp", "--control", str(control), "--json"], control) as process:
        shell("ip", "addr", "add", "10.99.0.1/24", "dev", "tp", pid=guarded)
        shell("ip", "link", "set", "tp", "up", pid=guarded)
        time.sleep(0.5)
        assert pings(outside, "10.99.0.1", 2) == 2
        assert pings(guarded, "10.99.0.2", 2) == 2
        shell(*skep, "deny", "10.99.0.2", "--control", str(control))
        assert pings(outside, "10.99.0.1") == 0
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert "engine: vm" in err
    assert "DROP stops a packet" in err
    assert json.loads(out)["live"][0]["packets"] >= 1


@pytest.mark.kernel
def test_on_an_interface(network: tuple[int, int], tmp_path: Path) -> None:
    guarded, outside = network
    rules, control = tmp_path / "rules.yaml", tmp_path / "control"
    rules.write_text(
        "default: {in: deny, out: allow}\nstateful: true\nrules:\n"
        "  - allow: {proto: icmp, icmp: echo-request, from: 10.99.0.2, rate: 3/m, burst: 3}\n"
    )
    skep = [sys.executable, "-m", "skep", "firewall"]
    words = ["nsenter", "-t", str(guarded), "-n", *skep, "run", str(rules), "--iface", "va", "--control", str(control)]
    with running([*words, "--json"], control) as process:
        assert pings(guarded, "10.99.0.2") == 1  # the reply is known
        assert pings(outside, "10.99.0.1", 5) == 3  # the burst
        shell(*skep, "reload", "--control", str(control))
        assert pings(outside, "10.99.0.1") == 1  # buckets begin anew
        assert "is denied" in shell(*skep, "deny", "10.99.0.2", "--control", str(control)).stdout
        assert pings(outside, "10.99.0.1") == 0
        shell(*skep, "forget", "10.99.0.2", "--control", str(control))
        shell("ip", "link", "set", "va", "down", pid=guarded)
        shell("ip", "link", "set", "va", "up", pid=guarded)
        time.sleep(0.5)
        assert pings(outside, "10.99.0.1") == 1
        rules.write_text("default: allow\nrules:\n  - deny: {from: 10.99.0.0/33}\n")
        failed = shell(*skep, "reload", "--control", str(control))
        assert failed.returncode == 2
        assert "F0113" in failed.stderr
        rules.write_text("default: {in: allow, out: allow}\nrules:\n  - deny: {direction: in, proto: icmp}\n")
        process.send_signal(signal.SIGHUP)
        time.sleep(1.5)
        assert pings(outside, "10.99.0.1") == 0
        top = json.loads(shell(*skep, "top", "--once", "--json", "--control", str(control)).stdout)
        assert top["reasons"]["over_rate"]["packets"] == 2
        assert top["rules"][0]["packets"] >= 1
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert "engine: kernel" in err
    assert json.loads(out)["reasons"]["reply"]["packets"] >= 1
    assert not control.exists()
