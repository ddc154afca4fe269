"""``skep verify --kernel``: the table, the JSON, the first kernel, guards in the code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from skep.cli.main import main
from skep.errors import CompileError
from skep.frontend import compile_c

NEWER = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

static int visit(__u32 index, void *ctx)
{
    return 0;
}

SEC("xdp")
int looping(struct xdp_md *ctx)
{
    bpf_loop(4, visit, 0, 0);
    return XDP_PASS;
}

extern unsigned int LINUX_KERNEL_VERSION __kconfig;

SEC("xdp")
int guarded(struct xdp_md *ctx)
{
    if (LINUX_KERNEL_VERSION >= 0x051100)
        bpf_loop(4, visit, 0, 0);
    return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "newer.bpf.c"
    path.write_text(NEWER)
    try:
        compile_c(path)
    except CompileError as error:
        pytest.skip(error.diagnostic.what)
    return path


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[object, str]]:
    """``skep verify`` with some words: its exit code, and what it printed."""

    def run(*words: str) -> tuple[object, str]:
        with pytest.raises(SystemExit) as ended:
            main(["verify", *words])
        said = capsys.readouterr()
        return ended.value.code, said.out + said.err

    return run


Ask = Callable[..., tuple[object, str]]


def test_first_kernel_and_verdicts(source: Path, ask: Ask) -> None:
    code, said = ask(str(source), "--program", "looping", "--kernel", "5.15", "--kernel", "6.1", "--json")
    (row,) = json.loads(said)
    assert code == 1
    assert row["first_kernel"] == "5.17"
    assert {kernel: found["verdict"] for kernel, found in row["kernels"].items()} == {
        "5.15": "rejected",
        "6.1": "accepted",
    }
    assert [d["code"] for d in row["kernels"]["5.15"]["diagnostics"]] == ["V1902"]


def test_a_program_that_asks_for_the_version_loads_everywhere(source: Path, ask: Ask) -> None:
    code, said = ask(str(source), "--program", "guarded", "--kernel", "all", "--json")
    (row,) = json.loads(said)
    verdicts = {kernel: found["verdict"] for kernel, found in row["kernels"].items()}
    assert verdicts["5.15"] == verdicts["6.18"] == "accepted"
    # Callbacks' functions are in the code, dead or not: 5.4 and 5.10 do not know the instruction.
    assert code == (0 if set(verdicts.values()) == {"accepted"} else 1)


def test_text(source: Path, ask: Ask) -> None:
    code, said = ask(str(source), "--program", "looping", "--kernel", "all")
    assert code == 1
    assert "5.17" in said
    assert said.count("bpf_loop() came with Linux 5.17") == 1


def test_no_version(source: Path, ask: Ask) -> None:
    code, said = ask(str(source), "--kernel", "newest")
    assert code == 2
    assert "U0352" in said
