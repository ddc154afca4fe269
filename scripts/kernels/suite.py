"""Which tests are the kernel suite, and running them: here for the running kernel, in a guest for the others."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scripts.kernels import results
from scripts.kernels.guest import Boot, run_guest
from scripts.kernels.packages import Kernel

ROOT: Final = Path(__file__).resolve().parent.parent.parent
#: The suite: in these folders, in this order, what is marked ``kernel``. New files in them join by themselves. What
#: compiles hundreds of programs comes last: under emulation it takes longer than all the rest.
WHOLE: Final = (
    *("tests/kernels", "tests/engines", "tests/differential/kernel", "tests/differential/links", "tests/unit"),
    *("tests/e2e", "tests/property", "tests/differential", "tests/differential/random"),
)
#: What CI runs in an emulated kernel: engine and links; the oracles (tables, ISA) ran on the live kernel.
QUICK: Final = ("tests/kernels", "tests/engines", "tests/differential/kernel", "tests/differential/links")
_BOOTS: Final = 6  # a kernel that dies more often than this is not worth more time
_COLLECT_SECONDS: Final = 300
_COLLECTED: Final = re.compile(r"(?:ERROR )?(tests/\S+?\.py)\b")
_PYTEST: Final = (
    *(sys.executable, "-m", "pytest", "-m", "kernel", "-p", "no:cacheprovider"),
    "--continue-on-collection-errors",
)


@dataclass(frozen=True, slots=True)
class Run:
    """One column of the table: results file and what went wrong around the tests ("" when nothing did)."""

    title: str
    results: Path
    trouble: str


def find_files(folders: Sequence[str], root: Path = ROOT) -> list[str]:
    """The test files that have a test marked ``kernel``, those of the first folder first.

    A file that cannot be collected is among them, and fails where it runs.

    Raises:
        RuntimeError: there are none.
    """
    there = [folder for folder in folders if (root / folder).exists()]
    if not there:
        raise RuntimeError(f"no kernel suite: there is no {', '.join(folders)}")
    # -qq: one line for each file, "path: count"; "ERROR path" for what cannot be collected.
    command = [*_PYTEST, "--collect-only", "-qq", *there]
    done = subprocess.run(
        command, cwd=root, capture_output=True, text=True, timeout=_COLLECT_SECONDS, check=False, env=_environment()
    )
    found = [line[1] for line in map(_COLLECTED.match, done.stdout.splitlines()) if line]

    def order(file: str) -> int:
        return there.index(max((folder for folder in there if file.startswith(folder)), key=len))

    files = sorted(dict.fromkeys(found), key=order)
    if not files:
        raise RuntimeError(f"no kernel suite in {', '.join(folders)}:\n{done.stdout[-2000:]}{done.stderr}")
    return files


def run_here(files: Sequence[str], work: Path, limit_seconds: float) -> Run:
    """The suite on the running kernel."""
    work.mkdir(parents=True, exist_ok=True)
    path = work / "results.jsonl"
    path.unlink(missing_ok=True)
    release = os.uname().release
    title = f"{'.'.join(release.split('.')[:2])} live"
    trouble = ""
    with (work / "output.log").open("wb") as output:
        try:
            subprocess.run(
                pytest_command(files),
                cwd=ROOT,
                env=_environment(path, work.parent / "compiled"),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=limit_seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            trouble = f"the time limit of {limit_seconds:.0f} s"
    return Run(title, path, trouble or _close(path, "hung or died"))


def run_on(kernel: Kernel, virtme: Path, files: Sequence[str], work: Path, limit_seconds: float, quiet: float) -> Run:
    """The suite on a kernel in a guest; booted again after a test that killed or hung the guest, which has failed."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    path = work / "results.jsonl"
    path.touch()
    compiled = work.parent / "compiled"
    compiled.mkdir(exist_ok=True)
    environment = _environment(path, compiled) | {
        "SKEP_EXPECT_KERNEL": "1",
        "SKEP_KERNEL_ROW": kernel.release,
        "SKEP_KERNEL_CONFIG": str(kernel.config),
        "SKEP_SLOW": "1",
        "HYPOTHESIS_STORAGE_DIRECTORY": "/tmp/hypothesis",
    }
    if types := _save_types(work.parent):
        environment["SKEP_BUILT_WITH"] = str(types)
    own = {name: value for name, value in environment.items() if os.environ.get(name) != value}
    deadline = time.monotonic() + limit_seconds
    trouble = ""
    for boot_number in range(1, _BOOTS + 1):
        before = len(_ends(path))
        ended = run_guest(
            Boot(
                kernel=kernel,
                virtme=virtme,
                work=work,
                folder=ROOT,
                command=pytest_command(files),
                environment=own,
                cached=_cached_folders(work),
                copied=[compiled],
                quiet_seconds=quiet,
                limit_seconds=max(1.0, deadline - time.monotonic()),
            ),
            sign_of_life=_size_of(path, work / "output.log"),
        )
        print(f"Linux {kernel.release}: boot {boot_number}, {ended.seconds:.0f} s, {ended.why or 'done'}", flush=True)
        if not ended.why:
            trouble = "" if results.is_finished(path) else f"pytest ended with {ended.status}: {_last_line(work)}"
            break
        trouble = ended.why
        killer = results.unfinished(path)
        if killer is None and len(_ends(path)) == before:
            break  # it does not even come up; once more would not help
        if time.monotonic() >= deadline:
            trouble += f", during {killer}" if killer else ""
            break
        if killer is not None:
            results.append_end(path, killer, "failed", f"the guest died in this test: {ended.why}")
        trouble = f"{ended.why} (after {boot_number} boots)"
    return Run(kernel.release, path, trouble)


def pytest_command(files: Sequence[str]) -> list[str]:
    """pytest with the results plugin, on files."""
    return [*_PYTEST, "-p", "scripts.kernels.results", "--tb=short", "-v", *files]


def _environment(path: Path | None = None, cache: Path | None = None) -> dict[str, str]:
    extra = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"} if path else {}
    if path:
        extra |= {"SKEP_RESULTS": str(path)}
    if cache:
        extra |= {"SKEP_CACHE": str(cache)}
    return os.environ | extra


def _save_types(folder: Path) -> Path | None:
    """The running kernel's types, for guests to compile with: the live run has compiled with them already."""
    try:
        data = Path("/sys/kernel/btf/vmlinux").read_bytes()
    except OSError:
        return None
    path = folder / "built-with.btf"
    path.write_bytes(data)
    return path


def _cached_folders(work: Path) -> list[Path]:
    """What tests read much: the checkout, the environment, Python; not what virtme lays an overlay over."""
    folders = [ROOT, Path(sys.prefix), Path(sys.base_prefix)]
    overlaid = ("/usr", "/lib", "/etc", "/home", "/opt", "/srv", "/var", "/tmp")
    return [
        folder
        for folder in dict.fromkeys(folders)
        if not any(folder.is_relative_to(root) for root in overlaid)
        and not work.is_relative_to(folder)  # the guest writes there
        and not any(folder != other and folder.is_relative_to(other) for other in folders)
    ]


def _size_of(*paths: Path) -> Callable[[], object]:
    return lambda: [path.stat().st_size if path.exists() else 0 for path in paths]


def _ends(path: Path) -> list[str]:
    return [event["id"] for event in results.read_events(path) if event["event"] == "end"]


def _close(path: Path, why: str) -> str:
    killer = results.unfinished(path)
    if killer is not None:
        results.append_end(path, killer, "failed", f"the run {why} in this test")
    return "" if results.is_finished(path) else f"pytest {why}"


def _last_line(work: Path) -> str:
    try:
        lines = (work / "output.log").read_text(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1] if lines else "it said nothing"
