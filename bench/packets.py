"""Packets per second on one core over a capture of 1 GB: XDP drop-all, parse and count in a hash map, the firewall.

The capture lies in a temporary file that is read once before measuring, so that the page cache is warm.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

import skep
from skep.testing.captures import write_capture

SIZE = int(os.environ.get("SKEP_BENCH_CAPTURE_BYTES", 1 << 30))
ROUNDS = 5
EXAMPLES = Path(__file__).parent.parent / "examples"

DROP_ALL = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("xdp") int drop_all(struct xdp_md *ctx) { return XDP_DROP; }
char LICENSE[] SEC("license") = "GPL";
"""

PARSE_AND_COUNT = """
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 65536); __type(key, __be32); __type(value, __u64);
} sources SEC(".maps");
SEC("xdp") int parse_and_count(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	__be32 source = ip->saddr;
	__u64 one = 1, *count = bpf_map_lookup_elem(&sources, &source);
	if (count)
		(*count)++;
	else
		bpf_map_update_elem(&sources, &source, &one, BPF_ANY);
	return XDP_DROP;
}
char LICENSE[] SEC("license") = "GPL";
"""


def main(console: Console) -> None:
    table = Table("program", "packets", "M packets/s", "ns/packet", "GB/s")
    with tempfile.TemporaryDirectory() as folder:
        capture = Path(folder) / "large.pcap"
        write_capture(capture, SIZE)
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        specs = (
            skep.compile(skep.SourceFile("drop_all.bpf.c", DROP_ALL)),
            skep.compile(skep.SourceFile("parse_and_count.bpf.c", PARSE_AND_COUNT)),
            skep.compile(EXAMPLES / "firewall.bpf.c"),
        )
        for spec in specs:
            (name,) = spec.programs
            with skep.load(spec) as live:
                if "networks" in live.maps:
                    _block_networks(live)
                link = live.programs[name].attach(skep.hooks.Pcap(capture))
                link.run()
                runs = [link.run() for _ in range(ROUNDS)]
            seconds = statistics.median(run.seconds for run in runs)
            count, size = runs[0].packets, runs[0].bytes
            table.add_row(
                name,
                str(count),
                f"{count / seconds / 1e6:.1f}",
                f"{seconds / count * 1e9:.1f}",
                f"{size / seconds / 1e9:.2f}",
            )
    console.print(f"capture of {SIZE / 1e9:.2f} GB, IMIX sizes, 1000 sources, one core, median of {ROUNDS} rounds")
    console.print(table)


def _block_networks(live: skep.Object) -> None:
    """256 networks of 24 bits: about one packet in 256 is dropped."""
    for number in range(256):
        key = {"prefixlen": 96 + 24, "address": bytes(10) + b"\xff\xff\x0a" + bytes((number, number, 0))}
        live.maps["networks"][key] = 3
