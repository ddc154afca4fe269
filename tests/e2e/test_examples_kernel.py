"""The three examples that a newcomer runs first, and the verbs that attach and show; each on places of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from skep.kernel.links.places import inside
from skep.kernel.links.tracepoint import find_id
from tests.conftest import ROOT, Run
from tests.unit.kernel_links.conftest import Network, bpffs, cgroup, network, run_in  # noqa: F401

pytestmark = pytest.mark.kernel

CONNECT = """
import socket, sys, time
for line in sys.stdin:
    host, port = line.split()
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as s:
        try: s.connect((host, int(port))); print("connected", flush=True)
        except OSError as error: print(error.strerror, flush=True)
sys.exit(7)
"""
XDP = (
    '#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\nSEC("xdp") int pass(struct xdp_md *ctx) { return XDP_PASS; }'
)
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(autouse=True)
def _needs_the_kernel(kernel: None) -> None:
    """All of this file runs in Linux."""


@pytest.fixture
def start(tmp_path: Path) -> object:
    """Start a program in the background; killed at the end."""
    children: list[subprocess.Popen[str]] = []

    def run(*words: object, **options: object) -> subprocess.Popen[str]:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        child = subprocess.Popen([sys.executable, *map(str, words)], **pipes | options)  # type: ignore[call-overload]
        children.append(child)
        return child

    yield run
    for child in children:
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout, child.stderr):
            if pipe is not None:
                pipe.close()


def wait_for(child: subprocess.Popen[str], text: str) -> str:
    """Read stderr until a line has this text."""
    assert child.stderr is not None
    read = ""
    for line in child.stderr:
        read += line
        if text in line:
            return read
    raise AssertionError(f"'{text}' was not said:\n{read}")


def execsnoop(start: Start, *words: object) -> tuple[subprocess.Popen[str], str]:
    find_id("sched", "sched_process_exec")
    program = ROOT / "examples" / "execsnoop.bpf.c"
    child = start(
        "-m", "skep", "run", program, "--set", f"only_parent={os.getpid()}", *words, env=os.environ | {"NO_COLOR": "1"}
    )
    return child, ""


def test_execsnoop_prints_a_table_until_ctrl_c(start: Start) -> None:
    child, _ = execsnoop(start)
    wait_for(child, "attached")
    subprocess.run(["sh", "-c", "exit 3"], check=False)
    subprocess.run(["sh", "-c", "kill -9 $$"], check=False)
    time.sleep(0.4)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=20)
    assert child.returncode == 0, err
    header, *rows = out.splitlines()
    assert header.split() == ["KIND", "PID", "PPID", "UID", "EXIT_CODE", "SIGNAL", "LIVED_US", "COMM", "ARGUMENTS"]
    assert any(re.match(rf"STARTED +\d+ +{os.getpid()} .* sh +sh -c exit 3$", row) for row in rows), out
    assert any(re.match(rf"ENDED +\d+ +{os.getpid()} +0 +3 +0 +\d+ +sh$", row) for row in rows), out
    assert any(re.match(rf"ENDED +\d+ +{os.getpid()} +0 +0 +9 +\d+ +sh$", row) for row in rows), out


def test_execsnoop_prints_json_lines(start: Start) -> None:
    child, _ = execsnoop(start, "--json", "--count", 2, "--seconds", 60)
    deadline = time.monotonic() + 60
    while child.poll() is None and time.monotonic() < deadline:  # --json says nothing when it is ready
        subprocess.run(["sh", "-c", "exit 4", "two words"], check=False)
        time.sleep(0.2)
    out, err = child.communicate(timeout=20)
    assert child.returncode == 0, err
    first, second = map(json.loads, out.splitlines())
    assert (first["kind"], first["arguments"], first["ppid"]) == ("STARTED", "sh -c exit 4 two words", os.getpid())
    assert (second["kind"], second["exit_code"], second["pid"]) == ("ENDED", 4, first["pid"])


def test_guard_denies_logs_and_its_list_is_live(start: Start, tmp_path: Path) -> None:
    rules = tmp_path / "rules.txt"
    rules.write_text("127.0.0.0/8:9,10  # a comment\n")
    guard = ROOT / "examples" / "guard.py"
    child = start(guard, "--list", rules, "--json", "--", sys.executable, "-c", CONNECT)
    assert child.stdin is not None and child.stdout is not None and child.stderr is not None  # noqa: PT018

    def ask(target: str) -> str:
        child.stdin.write(target + "\n")  # type: ignore[union-attr]
        child.stdin.flush()  # type: ignore[union-attr]
        return child.stdout.readline().strip()  # type: ignore[union-attr]

    assert ask("127.0.0.1 9") == "Connection refused"
    assert ask("127.0.0.1 11") == "Operation not permitted"
    denial = json.loads(child.stderr.readline())
    assert (denial["address"], denial["port"], denial["protocol"]) == ("127.0.0.1", 11, "tcp")
    assert ask("::1 9") == "Operation not permitted"
    assert json.loads(child.stderr.readline())["address"] == "::1"
    rules.write_text("::1\n")
    deadline = time.monotonic() + 10
    while ask("::1 9") != "Connection refused":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert ask("127.0.0.1 9") == "Operation not permitted"
    child.stdin.close()
    assert child.wait(timeout=20) == 7
    assert not list(Path("/sys/fs/cgroup").glob("**/skep-guard-*"))


def test_guard_refuses_a_list_that_cannot_be_read(start: Start) -> None:
    child = start(ROOT / "examples" / "guard.py", "--allow", "300.1.1.1", "--", "true")
    _, err = child.communicate(timeout=60)
    assert child.returncode != 0
    assert "300.1.1.1" in err


def test_firewall_live_demo_counts_and_is_replaced(start: Start, tmp_path: Path) -> None:
    for name in ("firewall_live.py", "firewall.bpf.c"):
        (tmp_path / name).write_bytes((ROOT / "examples" / name).read_bytes())
    child = start("-u", tmp_path / "firewall_live.py", "--demo", "--seconds", 30)
    assert child.stdout is not None
    source = tmp_path / "firewall.bpf.c"
    counts: dict[str, list[dict[str, int]]] = {"1": [], "2": []}
    for line in child.stdout:
        found = re.match(r"version (\d): (\{.*\})", line)
        if not found:
            continue
        counts[found[1]].append(eval(found[2]))
        if found[1] == "1" and len(counts["1"]) == 2:
            source.write_text(source.read_text().replace("return decide(ctx, RULE_PORT, XDP_DROP)",
                                                         "return decide(ctx, RULE_PASSED, XDP_PASS)"))  # fmt: skip
        if len(counts["2"]) == 2:
            break
    assert counts["1"][1]["blocked port"] > counts["1"][0]["blocked port"] > 0
    assert counts["2"][1]["passed"] > 0
    assert "blocked port" not in counts["2"][1]


def test_attach_pin_show_and_detach(skep_cli: Run, network: Network, bpffs: Path, tmp_path: Path) -> None:  # noqa: F811
    source = tmp_path / "pass.bpf.c"
    source.write_text(XDP)
    folder = bpffs / "links"
    done = skep_cli("attach", source, "--iface", network.inner, "--netns", network.path, "--pin", folder, "--json")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert (row["type"], row["program"], row["pinned"]) == ("xdp", "pass", str(folder / "pass"))
    shown = json.loads(skep_cli("link", "show", "id", row["id"], "--json").stdout)
    assert (shown["id"], shown["type"], shown["prog_id"]) == (row["id"], "xdp", row["prog_id"])
    assert f"{row['id']}: xdp  prog {row['prog_id']}" in skep_cli("link", "show").stdout
    net = json.loads(skep_cli("net", "show", "--netns", network.path, "--json").stdout)
    (xdp,) = net[0]["xdp"]
    assert (xdp["devname"], xdp["mode"], xdp["id"]) == (network.inner, "driver", row["prog_id"])
    assert (
        f"driver id {row['prog_id']}" in skep_cli("net", "show", "dev", network.inner, "--netns", network.path).stdout
    )
    assert skep_cli("link", "pin", "id", row["id"], bpffs / "second").returncode == 0
    assert skep_cli("link", "detach", "pinned", folder / "pass").returncode == 0
    assert "xdp" not in network.ip(f"link show {network.inner}")
    folder.rmdir()


def test_cgroup_verbs(skep_cli: Run, start: Start, cgroup: Path, tmp_path: Path) -> None:  # noqa: F811
    source = tmp_path / "deny.bpf.c"
    source.write_text('#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\n'
                      'SEC("cgroup/connect4") int deny(struct bpf_sock_addr *ctx) { return 0; }')  # fmt: skip
    child = start("-m", "skep", "attach", source, "--cgroup", cgroup, env=os.environ | {"NO_COLOR": "1"})
    wait_for(child, "attached deny")
    (row,) = json.loads(skep_cli("cgroup", "show", cgroup, "--json").stdout)
    assert (row["attach_type"], row["attach_flags"], row["name"]) == ("cgroup_inet4_connect", "multi", "deny")
    assert re.search(r"cgroup_inet4_connect +multi +deny", skep_cli("cgroup", "tree", cgroup).stdout)
    assert "not permitted" in run_in(cgroup, "import socket\ntry: socket.socket().connect(('127.0.0.1', 9))\n"
                                             "except OSError as error: print(error.strerror)")  # fmt: skip
    child.send_signal(signal.SIGTERM)
    assert child.wait(timeout=20) == 0
    assert json.loads(skep_cli("cgroup", "show", cgroup, "--json").stdout) == []


def test_errors_say_what_to_do(skep_cli: Run, network: Network, tmp_path: Path) -> None:  # noqa: F811
    source = tmp_path / "pass.bpf.c"
    source.write_text(XDP)
    assert 'it needs skep.hooks.Xdp("eth0")' in skep_cli("attach", source).stderr
    with inside(network.path):
        done = skep_cli("attach", source, "--iface", "nowhere")
    assert (done.returncode, "there is no interface 'nowhere'" in done.stderr) == (1, True)
    assert skep_cli("link", "show", "id", 999999999).returncode == 1
    assert skep_cli("link", "show", "sideways").returncode == 2
    assert skep_cli("cgroup", "show", tmp_path / "nothing").returncode == 1
