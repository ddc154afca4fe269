"""Debian's kernels and the programs that boot them: found by apt, unpacked into a cache, checked by apt's signatures.

The kernels are never installed: their .deb files are unpacked with ``dpkg -x``. apt works on lists and archives of its
own in the cache, with the system's sources; only the programs (QEMU, kmod, busybox) are installed, and only if missing.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

VIRTME: Final = "virtme-ng==1.42"
#: program -> Debian's package that has it
PROGRAMS: Final = {
    "qemu-system-x86_64": "qemu-system-x86",
    "depmod": "kmod",
    "busybox": "busybox-static",
    "file": "file",  # virtme-ng reads the kernel's version with it
}
_NUMBER: Final = re.compile(r"\d+")
_MINUTES: Final = 60
_FETCH_SECONDS: Final = 5 * _MINUTES


class UnavailableError(Exception):
    """What is needed cannot be had here: no such package, no network, no root. Says what and why, for a person."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """An unpacked kernel.

    Attributes:
        release: what was asked for, e.g. ``6.12``.
        folder: holds ``boot`` and ``lib/modules``.
        name: what ``uname -r`` will say.
    """

    release: str
    folder: Path
    name: str

    @property
    def image(self) -> Path:
        return self.folder / "boot" / f"vmlinuz-{self.name}"

    @property
    def config(self) -> Path:
        return self.folder / "boot" / f"config-{self.name}"


def cache_folder() -> Path:
    """Where kernels are kept: ``$SKEP_KERNELS``, else ``skep/kernels`` in the user's cache."""
    if named := os.environ.get("SKEP_KERNELS"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "skep" / "kernels"


def get_kernel(release: str, cache: Path) -> Kernel:
    """The newest kernel of a release that Debian has, or the one in the cache.

    Raises:
        UnavailableError: there is none, or it cannot be fetched.
    """
    if platform.machine() != "x86_64":
        raise UnavailableError(f"Debian's amd64 kernels are booted, and this machine is {platform.machine()}")
    folder = cache / release
    if found := unpacked_kernel(release, folder):
        return found
    package = _newest_package(release, cache)
    print(f"Linux {release}: fetching {package}", flush=True)
    partial = cache / f"{release}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        _apt(cache, "download", package, folder=partial)
        (archive,) = partial.glob("*.deb")
        _run(["dpkg", "-x", str(archive), str(partial / "tree")], "unpack the kernel")
        kernel = unpacked_kernel(release, partial / "tree")
        if kernel is None:
            raise UnavailableError(f"{package} has no kernel with modules in it")
        _run([_program("depmod"), "-b", str(kernel.folder), kernel.name], "index the kernel's modules")
        shutil.rmtree(folder, ignore_errors=True)
        (partial / "tree").rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Kernel(release, folder, kernel.name)


def unpacked_kernel(release: str, folder: Path) -> Kernel | None:
    """The kernel in a folder; None if it is not all there."""
    for image in sorted(folder.glob("boot/vmlinuz-*")):
        name = image.name.removeprefix("vmlinuz-")
        if (folder / "lib" / "modules" / name).is_dir():
            return Kernel(release, folder, name)
    return None


def ensure_programs(cache: Path) -> None:
    """Install the programs that boot kernels, where they are missing.

    Raises:
        UnavailableError: they are missing and cannot be installed.
    """
    missing = sorted({package for name, package in PROGRAMS.items() if not _find(name)})
    if not missing:
        return
    if os.geteuid() != 0:
        raise UnavailableError(f"not installed, and only root can: {' '.join(missing)}")
    print(f"installing {' '.join(missing)}", flush=True)
    _update(cache)
    _apt(cache, "install", "--yes", "--no-install-recommends", *missing)


def ensure_virtme(cache: Path) -> Path:
    """The folder with ``vng`` in it: a virtual environment of its own, so that skep's needs nothing of it."""
    folder = cache / VIRTME.replace("==", "-")
    programs = folder / "bin"
    if not (programs / "vng").exists():
        print(f"installing {VIRTME} into {folder}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True)
        pip = [str(programs / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", VIRTME]
        try:
            _run(pip, f"install {VIRTME}")
        except UnavailableError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    return programs


def newest(names: Sequence[str]) -> str:
    """The name with the highest numbers in it."""
    return max(names, key=lambda name: [int(number) for number in _NUMBER.findall(name)])


def is_wanted(name: str, release: str) -> bool:
    """Whether a package is the ordinary kernel of a release: not the cloud's (fewer options), rt or unsigned one."""
    return re.fullmatch(rf"linux-image-{re.escape(release)}\.\d[\w.+]*(-\d+)?-amd64", name) is not None


def _newest_package(release: str, cache: Path) -> str:
    _update(cache)
    listed = _run(
        ["apt-cache", *_options(cache), "search", "--names-only", f"^linux-image-{re.escape(release)}"], "search"
    )
    names = [line.split(" ", 1)[0] for line in listed.splitlines()]
    wanted = [name for name in names if is_wanted(name, release)]
    if not wanted:
        raise UnavailableError(f"Debian's repositories here have no linux-image-{release}.*-amd64")
    return newest(wanted)


def _options(cache: Path) -> list[str]:
    """apt with the system's sources and package status, but lists and archives of its own."""
    state, archives = cache / "apt" / "state", cache / "apt" / "cache"
    for folder in (state / "lists" / "partial", archives / "archives" / "partial"):
        folder.mkdir(parents=True, exist_ok=True)
    named = {
        "Dir::State": state,
        "Dir::State::status": "/var/lib/dpkg/status",
        "Dir::Cache": archives,
        "APT::Sandbox::User": "root",
        "Acquire::Retries": 2,
        "Acquire::http::Timeout": 20,
        "Acquire::https::Timeout": 20,
    }
    return [word for name, value in named.items() for word in ("-o", f"{name}={value}")]


def _update(cache: Path) -> None:
    _apt(cache, "update", "--error-on=any")


def _apt(cache: Path, *words: str, folder: Path | None = None) -> str:
    if not shutil.which("apt-get"):
        raise UnavailableError("no apt-get here: this is not Debian")
    return _run(["apt-get", "--quiet=2", *_options(cache), *words], f"apt-get {words[0]}", folder)


def _run(command: list[str], what: str, folder: Path | None = None) -> str:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_FETCH_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"{what}: no end after {_FETCH_SECONDS} s") from None
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise UnavailableError(f"{what}: {last}")
    if done.stderr.strip():
        print(done.stderr.strip(), file=sys.stderr)
    return done.stdout


def _find(name: str) -> str | None:
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def _program(name: str) -> str:
    found = _find(name)
    if found is None:
        raise UnavailableError(f"{name} is not installed (Debian's package {PROGRAMS[name]})")
    return found
