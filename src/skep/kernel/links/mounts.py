"""The file systems of tracing and of pins: found where they are, mounted where they belong and are missing."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Final

from skep.diagnostics import Diagnostic
from skep.errors import EngineError

TRACEFS: Final = (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing"))
BPFFS: Final = Path("/sys/fs/bpf")


def tracefs() -> Path:
    """Where tracefs is; mounted at /sys/kernel/tracing if it is nowhere.

    Raises:
        EngineError: H0324, it is not there and cannot be mounted.
    """
    for place in TRACEFS:
        if (place / "events").is_dir():
            return place
    _mount("tracefs", TRACEFS[0])
    return TRACEFS[0]


def bpffs() -> Path:
    """Where pins live: /sys/fs/bpf, mounted if it is not.

    Raises:
        EngineError: H0324, it is not there and cannot be mounted.
    """
    if not _is_mounted("bpf", BPFFS):
        _mount("bpf", BPFFS)
    return BPFFS


def _is_mounted(kind: str, place: Path) -> bool:
    try:
        rows = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    except OSError:
        return False
    return any(len(row) > 2 and row[1] == str(place) and row[2] == kind for row in rows)


def _mount(kind: str, place: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    name = kind.encode()
    if libc.mount(name, os.fsencode(place), name, 0, None) < 0:
        raise EngineError(
            Diagnostic(
                "H0324",
                f"{kind} is not mounted at {place}, and cannot be: {os.strerror(ctypes.get_errno())}",
                help=f"as root: mount -t {kind} {kind} {place}",
            )
        )
