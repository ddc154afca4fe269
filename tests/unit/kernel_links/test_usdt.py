"""Static probes: notes and arguments as text, and a program of our own with probes that is traced while it runs."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import skep
from skep.errors import EngineError, SkepError, UnsupportedError
from skep.kernel.links.executables import Executable
from skep.kernel.links.usdt_arguments import ARM64_REGISTERS, X86_REGISTERS, Argument, Where, parse_arguments
from skep.model import hooks

pytestmark = pytest.mark.kernel

SOURCE = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/usdt.bpf.h>
__u32 pid; __u64 hits; long first, second, third; __u64 cookie; int count;
SEC("usdt") int BPF_USDT(plain, int a, long b, int c)
{ hits++; first = a; second = b; third = c; cookie = bpf_usdt_cookie(ctx); count = bpf_usdt_arg_cnt(ctx); return 0; }
SEC("usdt") int BPF_USDT(memory, int a, short b) { hits++; first = a; second = b; return 0; }
SEC("usdt") int BPF_USDT(guarded, unsigned short a) { hits++; first = a; return 0; }
SEC("uprobe") int other(void *ctx) { return 0; }
char LICENSE[] SEC("license") = "GPL";
"""
Load = Callable[..., skep.Object]


def test_spellings_of_arguments() -> None:
    rdi, rbp, rax = (X86_REGISTERS[name] for name in ("rdi", "rbp", "rax"))
    assert parse_arguments("8@%rdi -4@-20(%rbp) 1@$-3 -2@2(%rbp,%rax,2)", "x86_64") == (
        Argument(Where.REG, 0, rdi, 0, 0, 8, False),
        Argument(Where.REG_DEREF, -20, rbp, 0, 0, 4, True),
        Argument(Where.CONST, -3, 0, 0, 0, 1, False),
        Argument(Where.SIB, 2, rbp, rax, 1, 2, True),
    )
    assert parse_arguments("8@x1 -4@[sp, 12] 4@7 8@[x2]", "aarch64") == (
        Argument(Where.REG, 0, ARM64_REGISTERS["x1"], 0, 0, 8, False),
        Argument(Where.REG_DEREF, 12, ARM64_REGISTERS["sp"], 0, 0, 4, True),
        Argument(Where.CONST, 7, 0, 0, 0, 4, False),
        Argument(Where.REG_DEREF, 0, ARM64_REGISTERS["x2"], 0, 0, 8, False),
    )


@pytest.mark.parametrize(
    "text", ["8f@%xmm0", "3@%rdi", "8@%nothing", "8@sym(%rip)", "rubbish", "8@", " ".join(["8@%rdi"] * 13)]
)
def test_arguments_that_cannot_be_read(text: str) -> None:
    with pytest.raises(UnsupportedError):
        parse_arguments(text, "x86_64")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """probes.c as a program."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler for programs of this machine (cc)")
    path = tmp_path_factory.mktemp("usdt") / "probes"
    source = Path(__file__).with_name("probes.c")
    subprocess.run([compiler, "-O1", "-o", path, source], check=True, capture_output=True)
    return path


@pytest.fixture
def running(demo: Path) -> Iterator[Callable[[], str]]:
    """The program; each call makes it pass its probes once, and returns the semaphore that it saw."""
    child = subprocess.Popen([demo], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdin is not None and child.stdout is not None  # noqa: PT018

    def turn() -> str:
        child.stdin.write("x")  # type: ignore[union-attr]
        child.stdin.flush()  # type: ignore[union-attr]
        return child.stdout.readline().strip()  # type: ignore[union-attr]

    turn.pid = child.pid  # type: ignore[attr-defined]
    try:
        yield turn
    finally:
        child.kill()
        child.wait()
        child.stdin.close()
        child.stdout.close()


def test_notes_of_a_program(demo: Path) -> None:
    probes = {probe.name: probe for probe in Executable(demo).probes()}
    assert set(probes) == {"plain", "memory", "guarded"}
    assert probes["plain"].provider == "demo"
    assert (probes["plain"].semaphore, probes["guarded"].semaphore > 0) == (0, True)


def test_arguments_and_cookie_of_a_running_program(load: Load, demo: Path, running: Callable[[], str]) -> None:
    live = load(SOURCE, programs=["plain", "memory"])
    pid = running.pid  # type: ignore[attr-defined]
    with live.programs["plain"].attach(hooks.Usdt(demo, "demo", "plain", pid=pid, cookie=55)) as link:
        running()
        values = {name: live.variables[name].value for name in ("hits", "first", "second", "third", "cookie", "count")}
        assert values == {"hits": 1, "first": -7, "second": 0x1122334455667788, "third": 42, "cookie": 55, "count": 3}
        assert len(link.info()["members"]) == 1
    with live.programs["memory"].attach(hooks.Usdt(demo, "demo", "memory", pid=pid)):
        running()
        assert (live.variables["first"].value, live.variables["second"].value) == (-7, -4)
    running()
    assert live.variables["hits"].value == 2


def test_semaphore_is_raised_while_attached(load: Load, demo: Path, running: Callable[[], str]) -> None:
    live = load(SOURCE, programs=["guarded"])
    assert running() == "0"
    with live.programs["guarded"].attach(hooks.Usdt(demo, "demo", "guarded", pid=running.pid)):  # type: ignore[attr-defined]
        assert running() == "1"
        assert (live.variables["hits"].value, live.variables["first"].value) == (1, 1)
    assert running() == "0"


def test_probe_that_is_not_there_and_program_that_reads_none(load: Load, demo: Path) -> None:
    live = load(SOURCE, programs=["plain", "other"])
    with pytest.raises(EngineError, match="it has: demo:guarded, demo:memory, demo:plain"):
        live.programs["plain"].attach(hooks.Usdt(demo, "demo", "nothing"))
    with pytest.raises(EngineError, match=r"usdt\.bpf\.h"):
        live.programs["other"].attach(hooks.Usdt(demo, "demo", "plain"))


def test_hostile_executables(tmp_path: Path, demo: Path) -> None:
    whole = demo.read_bytes()
    for cut in (0, 3, 20, 63, 64, 200, len(whole) // 2, len(whole) - 10):
        broken = tmp_path / f"cut{cut}"
        broken.write_bytes(whole[:cut])
        with pytest.raises(SkepError):
            Executable(broken).offset_of_symbol("main")
    for at in range(0, 64, 3):
        broken = tmp_path / f"byte{at}"
        broken.write_bytes(whole[:at] + b"\xff" + whole[at + 1 :])
        try:
            Executable(broken).probes()
        except SkepError:
            continue
