"""Packages, the guest's script, and that a guest is ended with all its processes: with a stand-in for virtme-ng."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from scripts.kernels import packages, suite
from scripts.kernels.guest import Boot, guest_script, run_guest

_NAMES = ("linux-image-6.12.9+deb12-amd64", "linux-image-6.12.117+deb12-amd64", "linux-image-6.1.0-56-amd64")


def test_the_newest_is_by_number() -> None:
    assert packages.newest(_NAMES[:2]) == "linux-image-6.12.117+deb12-amd64"


@pytest.mark.parametrize(
    ("name", "release", "wanted"),
    [
        ("linux-image-6.12.117+deb12-amd64", "6.12", True),
        ("linux-image-6.1.0-56-amd64", "6.1", True),
        ("linux-image-6.12.117+deb12-cloud-amd64", "6.12", False),
        ("linux-image-6.12.117+deb12-rt-amd64", "6.12", False),
        ("linux-image-6.12.117+deb12-amd64-unsigned", "6.12", False),
        ("linux-image-6.12.117+deb12-amd64", "6.1", False),
        ("linux-image-6.12-amd64", "6.12", False),
        ("linux-image-6.1.0-56-arm64", "6.1", False),
    ],
)
def test_only_the_ordinary_kernel_of_the_release(name: str, release: str, wanted: bool) -> None:
    assert packages.is_wanted(name, release) is wanted


def test_a_kernel_without_modules_is_none(tmp_path: Path) -> None:
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot" / "vmlinuz-6.1.0-56-amd64").touch()
    assert packages.unpacked_kernel("6.1", tmp_path) is None
    (tmp_path / "lib" / "modules" / "6.1.0-56-amd64").mkdir(parents=True)
    assert packages.unpacked_kernel("6.1", tmp_path) == packages.Kernel("6.1", tmp_path, "6.1.0-56-amd64")


def test_no_apt_here_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(packages.platform, "machine", lambda: "x86_64")
    with pytest.raises(packages.UnavailableError, match="apt-get"):
        packages.get_kernel("6.1", tmp_path)
    assert not (tmp_path / "6.1").exists()


def test_another_processor_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages.platform, "machine", lambda: "aarch64")
    with pytest.raises(packages.UnavailableError, match="aarch64"):
        packages.get_kernel("6.1", tmp_path)


def test_the_suite_is_what_is_marked(tmp_path: Path) -> None:
    tests = tmp_path / "tests" / "some"
    tests.mkdir(parents=True)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = kernel: x\n")
    (tests / "test_marked.py").write_text("import pytest\n@pytest.mark.kernel\ndef test_a(): pass\n")
    (tests / "test_plain.py").write_text("def test_a(): pass\n")
    assert suite.find_files(["tests/some", "tests/not_yet"], tmp_path) == ["tests/some/test_marked.py"]
    (tests / "test_broken.py").write_text("import no_such_module")
    found = suite.find_files(["tests/some"], tmp_path)
    assert sorted(found) == ["tests/some/test_broken.py", "tests/some/test_marked.py"]
    with pytest.raises(RuntimeError, match="no kernel suite"):
        suite.find_files(["tests/not_yet"], tmp_path)


def make_boot(folder: Path, stand_in: str, **changes: float) -> Boot:
    """A boot whose ``vng`` is a shell script of ours; $script is what the guest would run."""
    virtme = folder / "virtme"
    virtme.mkdir()
    vng = virtme / "vng"
    vng.write_text(f'#!/bin/sh\nfor script in "$@"; do :; done\n{stand_in}\n')
    vng.chmod(0o755)
    return Boot(
        packages.Kernel("6.1", folder, "6.1"), virtme, folder / "work", folder, ["sh", "-c", "echo $NAME"], **changes
    )


def is_running(number: int) -> bool:
    """A process that ended counts as ended, also before its new parent has fetched its status."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_script_quotes(tmp_path: Path) -> None:
    folder = tmp_path / "it's here"
    boot = Boot(
        packages.Kernel("6.1", folder, "6.1"),
        folder,
        folder,
        folder,
        [sys.executable, "-c", "import os; print(os.environ['NAME'])"],
        {"NAME": "a 'b' $c"},
    )
    folder.mkdir()
    # Only the part that a host may run too: from the environment on.
    lines = guest_script(boot).splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("export HOME"))
    subprocess.run(["sh", "-c", "\n".join(lines[start:-1])], check=True, timeout=60)
    assert (folder / "output.log").read_text() == "a 'b' $c\n"
    assert (folder / "status").read_text() == "0\n"


def test_a_guest_that_ends(tmp_path: Path) -> None:
    ended = run_guest(make_boot(tmp_path, f'test -t 0 || exit 1; echo 5 > "{tmp_path}/work/status"'))
    assert (ended.why, ended.status) == ("", 5)
    assert not (tmp_path / "work" / "tmp").exists()


def test_a_guest_that_ends_before_its_command(tmp_path: Path) -> None:
    ended = run_guest(make_boot(tmp_path, "echo no kernel"))
    assert (ended.why, ended.status) == ("it ended before its command did", None)
    assert b"no kernel" in (tmp_path / "work" / "console.log").read_bytes()


def test_a_guest_that_hangs_is_ended_with_its_processes(tmp_path: Path) -> None:
    stand_in = f'sleep 300 & echo $! > "{tmp_path}/child"; trap "" TERM; wait; sleep 300'
    ended = run_guest(make_boot(tmp_path, stand_in, quiet_seconds=1.0))
    assert ended.why == "no sign of life for 1 s"
    child = int((tmp_path / "child").read_text())
    assert not is_running(child)


def test_a_guest_that_is_alive_but_slow_meets_the_limit(tmp_path: Path) -> None:
    began = time.monotonic()
    boot = make_boot(tmp_path, "while :; do echo tick; sleep 0.2; done", quiet_seconds=60.0, limit_seconds=1.5)
    assert run_guest(boot).why == "the time limit of 2 s"
    assert time.monotonic() - began < 30


def test_a_panic_is_named(tmp_path: Path) -> None:
    ended = run_guest(make_boot(tmp_path, "echo '[ 1.0] Kernel panic - not syncing: Attempted to kill init'"))
    assert ended.why == "Kernel panic - not syncing"


def test_a_guest_does_not_outlive_a_killed_runner(tmp_path: Path) -> None:
    make_boot(tmp_path, f'sleep 300 & echo $! > "{tmp_path}/child"; wait')
    code = f"""
from pathlib import Path
from scripts.kernels.guest import Boot, run_guest
from scripts.kernels.packages import Kernel
here = Path({str(tmp_path)!r})
run_guest(Boot(Kernel("6.1", here, "6.1"), here / "virtme", here / "work", here, ["true"]))
"""
    runner = subprocess.Popen([sys.executable, "-c", code], cwd=suite.ROOT)
    child = tmp_path / "child"
    deadline = time.monotonic() + 60
    while not (child.exists() and child.read_text().strip()) and time.monotonic() < deadline:
        time.sleep(0.05)
    runner.kill()
    runner.wait()
    number = int(child.read_text())
    while is_running(number) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(number)
