"""``skep verify --unprivileged``: for a loader without CAP_PERFMON."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from skep.cli.main import root

SOURCE = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("xdp") int tell(struct xdp_md *ctx) { bpf_printk("a packet"); return XDP_PASS; }
char _license[] SEC("license") = "GPL";
"""


def test_a_helper_that_needs_the_capability(tmp_path: Path) -> None:
    file = tmp_path / "tell.bpf.c"
    file.write_text(SOURCE)
    runner = CliRunner()
    allowed = runner.invoke(root, ["verify", str(file), "--json"])
    assert json.loads(allowed.stdout)[0]["verdict"] == "accepted"
    refused = runner.invoke(root, ["verify", str(file), "--unprivileged", "--json"])
    assert [found["code"] for found in json.loads(refused.stdout)[0]["diagnostics"]] == ["V1104"]


def test_the_kernel_asks_for_its_own_capabilities(tmp_path: Path) -> None:
    file = tmp_path / "tell.bpf.c"
    file.write_text(SOURCE)
    run = CliRunner().invoke(root, ["verify", str(file), "--unprivileged", "--engine", "kernel"])
    assert run.exit_code != 0
    assert "U0351" in run.output + str(run.exception)
