"""Places of their own to attach to: network namespaces, veth pairs, cgroups, child processes. All gone at the end."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

import skep
from skep.kernel.host import kernel_version
from skep.kernel.links.places import CLONE_NEWNET, cgroup_mount, inside
from skep.kernel.links.refusals import NEEDS
from skep.kernel.maps.pins import mount_bpffs
from tests.leaks import no_leaked_fds

Load = Callable[..., skep.Object]


@dataclass(frozen=True)
class Network:
    """A network namespace with one veth pair, ``inner`` and ``outer``; 10.99.0.1 and 10.99.0.2."""

    pid: int
    inner: str = "skin"
    outer: str = "skout"

    @property
    def path(self) -> str:
        return f"/proc/{self.pid}/ns/net"

    def ip(self, words: str) -> str:
        with inside(self.path):
            return subprocess.run(["ip", *words.split()], check=True, capture_output=True, text=True).stdout


@pytest.fixture(autouse=True)
def _no_leaks() -> Iterator[None]:
    """Every test gives back the descriptors that it opens."""
    with no_leaked_fds():
        yield


def new_namespace() -> int:
    """A process that does nothing but hold a network namespace; its pid."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read)
            if ctypes.CDLL(None).unshare(CLONE_NEWNET):
                os._exit(1)
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: not longer than the tests
            os.write(write, b"x")
            os.close(write)
            signal.pause()
        finally:
            os._exit(1)
    os.close(write)
    ready = os.read(read, 1)
    os.close(read)
    if not ready:
        os.waitpid(pid, 0)
        pytest.skip("a network namespace needs CAP_SYS_ADMIN")
    return pid


@pytest.fixture
def network(kernel: None) -> Iterator[Network]:
    """A namespace with a veth pair that is up."""
    pid = new_namespace()
    try:
        made = Network(pid)
        made.ip("link set lo up")
        made.ip(f"link add name {made.inner} type veth peer name {made.outer}")
        for name, address in ((made.inner, "10.99.0.1"), (made.outer, "10.99.0.2")):
            made.ip(f"addr add {address}/24 dev {name}")
            made.ip(f"link set dev {name} up")
        yield made
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@pytest.fixture
def cgroup(kernel: None) -> Iterator[Path]:
    """A cgroup with nobody in it."""
    root = cgroup_mount()
    if root is None:
        pytest.skip("cgroup v2 is not mounted")
    path = Path(tempfile.mkdtemp(prefix="skep-test-", dir=root))
    try:
        yield path
    finally:
        for child in (path / "cgroup.procs").read_text().split():
            os.kill(int(child), signal.SIGKILL)
            os.waitpid(int(child), 0)
        path.rmdir()


def require(kind: str) -> None:
    """Skip where the running kernel is too old for a kind of hook, or was built without it, saying so."""
    since, options = NEEDS[kind]
    if kernel_version()[:2] < tuple(map(int, since.split("."))):
        pytest.skip(f"{kind} exists since Linux {since}")
    config = os.environ.get("SKEP_KERNEL_CONFIG")  # the rig knows it also where the kernel does not tell
    if config is not None:
        lines = Path(config).read_text().splitlines()
        missing = [option for option in options if f"{option}=y" not in lines and f"{option}=m" not in lines]
        if missing:
            pytest.skip(f"built without {', '.join(missing)}")


def run_in(cgroup: Path, code: str) -> str:
    """Run Python in a cgroup; its output."""
    enter = f"open({str(cgroup / 'cgroup.procs')!r}, 'w').write('0')\n"
    done = subprocess.run([sys.executable, "-c", enter + code], capture_output=True, text=True, check=False, timeout=30)
    return done.stdout + done.stderr


_compiled: dict[str, object] = {}


@pytest.fixture
def load(kernel: None) -> Iterator[Load]:
    """Compile C (once) and load it into the kernel; closed at the end."""
    with ExitStack() as stack:

        def make(source: str, **options: object) -> skep.Object:
            if source not in _compiled:
                _compiled[source] = skep.compile(skep.SourceFile("test.bpf.c", source))
            spec = _compiled[source]
            return stack.enter_context(skep.load(spec, engine="kernel", **options))  # type: ignore[arg-type]

        yield make


@pytest.fixture
def bpffs(kernel: None, tmp_path: Path) -> Iterator[Path]:
    """A bpffs of the test's own."""
    folder = tmp_path / "bpffs"
    folder.mkdir()
    mount_bpffs(folder)
    own = folder / "own"  # the kernel puts files of its own into the root
    own.mkdir()
    try:
        yield own
    finally:
        assert ctypes.CDLL(None).umount2(bytes(folder), 2) == 0
