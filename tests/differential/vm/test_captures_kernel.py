"""A capture through the packet loop: packet by packet the same verdict and bytes as in the running kernel."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from skep.abi.verdicts import verdict_name
from skep.diagnostics import SourceFile
from skep.frontend import compile_c
from skep.kernel.bpf import programs as kernel_programs
from skep.linker import link
from skep.model.hooks import Pcap
from skep.objfile import read_object
from skep.verifier import verify
from skep.vm.engine import VmEngine
from skep.vm.hooks.capture import read_packets
from tests.differential.vm.test_helpers_kernel import InKernel

SOURCE = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

static __always_inline int judge(void *data, void *end)
{
    unsigned char *p = data;
    if (p + 24 > (unsigned char *)end)
        return 0;
    return (p[5] ^ p[11] ^ p[13] ^ p[23]) % 5;
}
SEC("xdp") int look(struct xdp_md *ctx) { return judge((void *)(long)ctx->data, (void *)(long)ctx->data_end); }
SEC("xdp") int move(struct xdp_md *ctx)
{
    int how = judge((void *)(long)ctx->data, (void *)(long)ctx->data_end);
    if (how == 1)
        bpf_xdp_adjust_head(ctx, -8);
    if (how == 2)
        bpf_xdp_adjust_tail(ctx, -7);
    if (how == 3)
        bpf_xdp_adjust_head(ctx, 14);
    unsigned char *p = (void *)(long)ctx->data;
    if (p + 3 <= (unsigned char *)(long)ctx->data_end)
        p[0] = how, p[2] ^= 0x55;
    return XDP_PASS;
}
SEC("tc") int classify(struct __sk_buff *ctx)
{
    int how = judge((void *)(long)ctx->data, (void *)(long)ctx->data_end);
    if (how == 3)
        bpf_skb_change_tail(ctx, ctx->len + 11, 0);
    return ctx->protocol == 0x0608 ? 0 : how;
}
char LICENSE[] SEC("license") = "GPL";
"""


@pytest.mark.kernel
@pytest.mark.parametrize("name", ["look", "move", "classify"])
def test_loop_and_kernel_agree_on_every_packet(examples: Path, tmp_path: Path, name: str) -> None:
    if os.geteuid() != 0 or not kernel_programs.is_allowed():
        pytest.skip("needs root and bpf(2): the kernel is the judge")
    engine = VmEngine()
    linked = link(read_object(compile_c(SourceFile("capture.bpf.c", SOURCE)), "capture"), name, engine.target)
    judge = InKernel(linked)
    capture, out = examples / "data" / "real.pcap", tmp_path / "out.pcap"
    verdicts: Counter[str] = Counter()
    passed = []
    for packet in read_packets(capture):
        run = kernel_programs.test_run(
            judge.program.number, kernel_programs.RunRequest(packet.data, data_out_size=1 << 16)
        )
        verdict = verdict_name(linked.prog_type, run.retval).removeprefix("XDP_").removeprefix("TC_ACT_")
        verdicts[verdict] += 1
        if verdict in ("PASS", "OK", "PIPE", "RECLASSIFY", "UNSPEC"):
            passed.append(run.data)
    result = engine.attach(engine.load_program(verify(linked), {}), Pcap(capture, out=out)).run()  # type: ignore[attr-defined]
    assert result.verdicts == dict(verdicts)
    assert [packet.data for packet in read_packets(out)] == passed
    assert result.passed == len(passed) > 0
