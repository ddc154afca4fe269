"""The main job, as a user types it: C source to real packets."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from tests.conftest import Run


def packets_of(path: Path) -> list[bytes]:
    """A reader of its own: a little-endian pcap in microseconds."""
    data, at, found = path.read_bytes(), 24, []
    assert struct.unpack("<I", data[:4])[0] == 0xA1B2C3D4
    while at < len(data):
        length = struct.unpack_from("<I", data, at + 8)[0]
        found.append(data[at + 16 : at + 16 + length])
        at += 16 + length
    return found


def is_blocked(packet: bytes) -> bool:
    """The firewall's rules with networks.json and port 53, in Python."""
    kind, l3 = packet[12:14], 14
    if kind == b"\x81\x00":
        kind, l3 = packet[16:18], 18
    if kind == b"\x08\x00":
        source, protocol = packet[l3 + 12 : l3 + 16], packet[l3 + 9]
        l4 = l3 + (packet[l3] & 15) * 4
        if source == bytes([10, 77, 0, 2]) or source[:3] == bytes([10, 78, 0]):
            return True
    elif kind == b"\x86\xdd":
        source, protocol, l4 = packet[l3 + 8 : l3 + 24], packet[l3 + 6], l3 + 40
        if source[:8] == bytes.fromhex("fd78000000000000"):
            return True
    else:
        return False
    return protocol in (6, 17) and packet[l4 + 2 : l4 + 4] == b"\x00\x35"


def test_firewall_over_real_packets(skep_cli: Run, examples: Path, tmp_path: Path) -> None:
    capture, out = examples / "data" / "real.pcap", tmp_path / "passed.pcap"
    result = skep_cli(
        "run", examples / "firewall.bpf.c", "--pcap", capture, "--out", out, "--json",
        "--map", f"networks={examples / 'data' / 'networks.json'}", "--set", "blocked_port=53",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)
    packets = packets_of(capture)
    expected = [packet for packet in packets if not is_blocked(packet)]
    assert 0 < len(expected) < len(packets)
    assert answer["program"] == "firewall"
    assert answer["packets"] == len(packets)
    assert answer["bytes"] == sum(map(len, packets))
    assert answer["verdicts"] == {"PASS": len(expected), "DROP": len(packets) - len(expected)}
    assert packets_of(out) == expected
    counted = sum(sum(c["packets"] for c in element["value"]) for element in answer["maps"]["rules"])
    assert counted == len(packets)


def test_text_output_names_verdicts_and_maps(skep_cli: Run, examples: Path) -> None:
    result = skep_cli("run", examples / "counter.bpf.c", "--pcap", examples / "data" / "real.pcap")
    assert result.returncode == 0, result.stderr
    packets = len(packets_of(examples / "data" / "real.pcap"))
    assert f"counter: {packets} packets" in result.stdout
    assert "map ethertypes (hash)" in result.stdout
    assert "\x1b[" not in result.stdout


def test_rate_limiter_drops_what_exceeds_the_rate(skep_cli: Run, examples: Path) -> None:
    words = ("run", examples / "ratelimit.bpf.c", "--pcap", examples / "data" / "real.pcap", "--json")
    generous = json.loads(skep_cli(*words, "--set", "packets_per_second=1000000", "--set", "burst=1000").stdout)
    strict = json.loads(skep_cli(*words, "--set", "packets_per_second=1", "--set", "burst=2").stdout)
    assert set(generous["verdicts"]) == {"OK"}
    assert strict["verdicts"]["SHOT"] > 10
    dropped = sum(element["value"]["dropped"] for element in strict["maps"]["buckets"])
    assert dropped == strict["verdicts"]["SHOT"]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("run", "missing.bpf.c", "--pcap", "x.pcap"), 2, "missing.bpf.c"),
        (("run", "{examples}/firewall.bpf.c", "--pcap", "missing.pcap"), 2, "missing.pcap"),
        (("run", "{examples}/firewall.bpf.c"), 2, "--pcap"),
        (
            ("run", "{examples}/firewall.bpf.c", "--pcap", "{real}", "--program", "firewal"),
            2,
            "did you mean 'firewall'?",
        ),
        (
            ("run", "{examples}/firewall.bpf.c", "--pcap", "{real}", "--set", "blocked_prt=1"),
            2,
            "did you mean 'blocked_port'?",
        ),
        (("run", "{examples}/firewall.bpf.c", "--pcap", "{real}", "--set", "blocked_port"), 2, "NAME=VALUE"),
        (("run", "{examples}/firewall.bpf.c", "--pcap", "{real}", "--set", "blocked_port=70000"), 2, "blocked_port"),
        (("run", "{examples}/firewall.bpf.c", "--pcap", "{real}", "--map", "nets=x.json"), 2, "there is no map 'nets'"),
        (("run", "{examples}/firewall.bpf.c", "--pcap", "{examples}/firewall.py"), 2, "pcap"),
        (("verify", "{real}"), 2, "neither C source"),
        (("frobnicate",), 2, "frobnicate"),
    ],
)
def test_wrong_use_is_exit_code_2_with_a_diagnostic(
    skep_cli: Run, examples: Path, tmp_path: Path, words: tuple[str, ...], code: int, says: str
) -> None:
    real = examples / "data" / "real.pcap"
    filled = [word.format(examples=examples, real=real) for word in words]
    result = skep_cli(*filled, "--out", "left.pcap") if "--pcap" in words else skep_cli(*filled)
    assert result.returncode == code, result.stderr
    assert result.stderr.startswith("error[")
    assert says in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_c_that_does_not_compile(skep_cli: Run, tmp_path: Path) -> None:
    (tmp_path / "broken.bpf.c").write_text("int main( { return 0; }\n")
    result = skep_cli("run", "broken.bpf.c", "--pcap", "x.pcap", "--json")
    assert result.returncode == 1
    (first, *_) = json.loads(result.stderr)["diagnostics"]
    assert first["file"] == "broken.bpf.c"
    assert first["line"] == 1
    assert result.stdout == ""


REJECTED = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 1); __type(key, __u32); __type(value, __u64);
} hits SEC(".maps");
SEC("xdp") int count(struct xdp_md *ctx)
{
    __u32 key = 0;
    __u64 *counter = bpf_map_lookup_elem(&hits, &key);
    *counter += 1;
    return XDP_PASS;
}
char LICENSE[] SEC("license") = "GPL";
"""


def test_a_rejected_program_is_explained_and_never_runs(skep_cli: Run, examples: Path, tmp_path: Path) -> None:
    (tmp_path / "count.bpf.c").write_text(REJECTED)
    result = skep_cli("run", "count.bpf.c", "--pcap", examples / "data" / "real.pcap", "--out", "out.pcap")
    assert result.returncode == 1
    assert "NULL" in result.stderr
    assert "count.bpf.c:10" in result.stderr
    assert "kernel says: R0 invalid mem access 'map_value_or_null'" in result.stderr
    assert not (tmp_path / "out.pcap").exists()
    rows = json.loads(skep_cli("verify", "count.bpf.c", "--json").stdout)
    assert [(row["program"], row["verdict"]) for row in rows] == [("count", "rejected")]
    assert rows[0]["diagnostics"][0]["line"] == 10


def test_build_verify_dump_an_object(skep_cli: Run, examples: Path, tmp_path: Path) -> None:
    built = skep_cli("build", examples / "firewall.bpf.c", "-o", "fw.o", "--target-cpu", "v2", "--json")
    assert built.returncode == 0, built.stderr
    assert json.loads(built.stdout)["programs"] == ["firewall"]
    verified = skep_cli("verify", "fw.o", "--json")
    assert verified.returncode == 0, verified.stderr
    (row,) = json.loads(verified.stdout)
    assert row["verdict"] == "accepted"
    assert row["prog_type"] == "xdp"
    assert row["processed_insns"] >= row["insns"] // 2
    listing = skep_cli("dump", "fw.o").stdout
    assert "call bpf_map_lookup_elem#1" in listing
    assert "firewall.bpf.c:" in listing
    assert "define" in skep_cli("dump", "fw.o", "--llvm").stdout
    assert "ret" in skep_cli("dump", "fw.o", "--native").stdout
    assert "struct network" in skep_cli("btf", "dump", "fw.o").stdout


@pytest.mark.parametrize("name", ["firewall.py", "openat.py"])
def test_python_examples_run(examples: Path, name: str) -> None:
    import subprocess
    import sys

    result = subprocess.run([sys.executable, examples / name], capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    assert {"firewall.py": "PASS", "openat.py": "flags 0o101"}[name] in result.stdout
