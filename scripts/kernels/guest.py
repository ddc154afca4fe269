"""One boot of a kernel in QEMU with the machine's own files: virtme-ng under a pseudo-terminal, watched and ended here.

The guest sees the host's files read-only (changes stay in its memory) and one folder that both can write. Besides
virtme's root, the folders that tests read much (checkout, Python) are mounted once more with a page cache: without one
every start of the compiler reads its 180 MB again.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import pty
import select
import shlex
import shutil
import signal
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from scripts.kernels.packages import Kernel

MEMORY: Final = "2G"
CPUS: Final = 2
#: What a kernel prints when it dies; QEMU ends by itself after that (panic=-1), but not always soon.
_DEATHS: Final = ("Kernel panic - not syncing", "We are stuck")
_STARTED: Final = b"skep: the guest is up"
_PR_SET_CHILD_SUBREAPER: Final = 36
_GRACE_SECONDS: Final = 20
_READ: Final = 1 << 16
_TAG: Final = "skephost"


@dataclass(frozen=True, slots=True)
class Boot:
    """What to run in a guest.

    Attributes:
        work: the folder that host and guest write; console.log and the guest's script come here.
        command: runs in ``folder`` as root.
        cached: folders of the host that are read much.
        copied: folders of which the guest gets a copy in memory, in the same place, to write to.
        quiet_seconds: without a sign of life for so long, the guest is ended.
    """

    kernel: Kernel
    virtme: Path
    work: Path
    folder: Path
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    cached: Sequence[Path] = ()
    copied: Sequence[Path] = ()
    quiet_seconds: float = 300
    limit_seconds: float = 1800


@dataclass(frozen=True, slots=True)
class Ended:
    """How a guest ended: ``why`` is "" if its command came to its end (with ``status``)."""

    why: str
    status: int | None
    seconds: float


def run_guest(boot: Boot, sign_of_life: Callable[[], object] = lambda: None) -> Ended:
    """Boot, run the command, and leave no process and no temporary file behind.

    Args:
        sign_of_life: the guest is alive while what this returns changes (or its console says something).
    """
    boot.work.mkdir(parents=True, exist_ok=True)
    private = boot.work / "tmp"
    private.mkdir(exist_ok=True)
    status_file = boot.work / "status"
    status_file.unlink(missing_ok=True)
    script = boot.work / "guest.sh"
    script.write_text(guest_script(boot))
    _adopt_orphans()
    began = time.monotonic()
    process, terminal = _start(boot, script, private)
    try:
        why = _watch(boot, process, terminal, sign_of_life, began)
    finally:
        _end_all(process)
        os.close(terminal)
        shutil.rmtree(private, ignore_errors=True)
    status = _read_status(status_file)
    if status is None and not why:
        why = "it ended before its command did"
    return Ended("" if status is not None else why, status, time.monotonic() - began)


def guest_script(boot: Boot) -> str:
    """The shell script that the guest runs."""
    q = shlex.quote
    lines = [
        "#!/bin/sh",
        f"echo; echo {q(_STARTED.decode())}",
        "mount -t bpf bpf /sys/fs/bpf 2>/dev/null",
        "mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null",
        "ip link set lo up 2>/dev/null",
        # A page cache for the host's files; without it all works too, slowly.
        "mkdir -p /run/skep-host",
        f"if mount -t 9p -o ro,trans=virtio,version=9p2000.L,cache=loose,msize=512000 {_TAG} /run/skep-host; then",
        *(f"  mount --bind /run/skep-host{q(str(path))} {q(str(path))}" for path in boot.cached),
        "fi",
        *(
            f"cp -r {q(str(path))} /tmp/skep-copy-{number} && mount --bind /tmp/skep-copy-{number} {q(str(path))}"
            for number, path in enumerate(boot.copied)
        ),
        # Linux before 5.11 charges maps to memlock.
        "ulimit -l unlimited; ulimit -n 65536",
        f"export HOME=/root PATH={q(os.environ.get('PATH', '') + ':/usr/sbin:/sbin')}",
        *(f"export {name}={q(value)}" for name, value in boot.environment.items()),
        f"cd {q(str(boot.folder))}",
        f"{shlex.join(boot.command)} > {q(str(boot.work / 'output.log'))} 2>&1 < /dev/null",
        f"echo $? > {q(str(boot.work / 'status'))}",
        "sync",
    ]
    return "\n".join(lines) + "\n"


def _start(boot: Boot, script: Path, private: Path) -> tuple[subprocess.Popen[bytes], int]:
    extra = (
        f"-fsdev local,id={_TAG},path=/,security_model=none,readonly=on,multidevs=remap "
        f"-device virtio-9p-pci,fsdev={_TAG},mount_tag={_TAG}"
    )
    command = [
        *("nice", "-n", "19", str(boot.virtme / "vng"), "-v", "--disable-kvm", "--force-9p"),
        *("--memory", MEMORY, "--cpus", str(CPUS), "--run", str(boot.kernel.image), "--user", "root"),
        *(f"--rwdir={boot.work}", f"--qemu-opts={extra}", "--append", "oops=panic"),
        *("--exec", f"sh {shlex.quote(str(script))}"),
    ]
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=private,
            start_new_session=True,
            # A terminal of its own: should we be killed, it hangs up, and QEMU with it.
            preexec_fn=_take_terminal,
            env=os.environ
            | {
                "PATH": f"{boot.virtme}:{os.environ.get('PATH', '')}:/usr/sbin:/sbin",
                "TMPDIR": str(private),
                "XDG_CACHE_HOME": str(private),
                "TERM": "dumb",
            },
        )
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    return process, ours


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _watch(
    boot: Boot,
    process: subprocess.Popen[bytes],
    terminal: int,
    sign_of_life: Callable[[], object],
    began: float,
) -> str:
    """Read the console until the end; why the guest had to be ended, or "" if it ended by itself."""
    last_life, last_sign = time.monotonic(), sign_of_life()
    tail = b""
    died: str | None = None
    with (boot.work / "console.log").open("ab") as console:
        while True:
            ready, _, _ = select.select([terminal], [], [], 2.0)
            now = time.monotonic()
            if ready:
                try:
                    text = os.read(terminal, _READ)
                except OSError:  # EIO: nobody has the other side open any more
                    text = b""
                if not text:
                    return died or ""
                console.write(text)
                console.flush()
                tail = (tail + text)[-_READ:]
                last_life = now
                died = died or next((death for death in _DEATHS if death.encode() in tail), None)
            if (sign := sign_of_life()) != last_sign:
                last_life, last_sign = now, sign
            if process.poll() is not None and not ready:
                return died or ""
            if died and now - last_life > _GRACE_SECONDS:
                return died
            if now - began > boot.limit_seconds:
                return f"the time limit of {boot.limit_seconds:.0f} s"
            if now - last_life > boot.quiet_seconds:
                return f"no sign of life for {boot.quiet_seconds:.0f} s"


def _read_status(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _adopt_orphans() -> None:
    """QEMU's parents die before it: as a subreaper we become its parent, so that it can be ended and waited for."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _end_all(process: subprocess.Popen[bytes]) -> None:
    """End the session that was started for the guest and what it left to us; nothing else."""
    session = process.pid
    for number in (signal.SIGTERM, signal.SIGKILL):
        members = _members(session)
        for member in members:
            with suppress(ProcessLookupError):
                os.kill(member, number)
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline and _members(session):
            process.poll()
            _reap(members)
            time.sleep(0.1)
    process.wait()
    _reap(_members(session))


def _reap(members: Sequence[int]) -> None:
    for member in members:
        with suppress(ChildProcessError):
            os.waitpid(member, os.WNOHANG)


def _members(session: int) -> list[int]:
    """The processes of a session that live (zombies too), from /proc/PID/stat: field 6 is the session."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError, IndexError, ValueError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == session:
                found.append(int(entry.name))
    return found
