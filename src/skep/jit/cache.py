"""Object code on disk by content, so that a program that was compiled before starts without LLVM's optimiser.

The name of a file is a hash of everything the code depends on; the contents carry a checksum, so that a damaged or
half-written file is the same as none. Failing to read or write the cache is never an error.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

SUFFIX = ".o"
_CHECKSUM_BYTES = 32


def cache_directory() -> Path | None:
    """Where object code is kept: $SKEP_CACHE, else $XDG_CACHE_HOME/skep or ~/.cache/skep; None if SKEP_CACHE is ""."""
    chosen = os.environ.get("SKEP_CACHE")
    if chosen is not None:
        return Path(chosen) / "jit" if chosen else None
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "skep" / "jit"


def cache_key(*parts: bytes | str) -> str:
    """A file name for what these parts determine."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def read_cached(key: str) -> bytes | None:
    """What was kept under this key, or None."""
    directory = cache_directory()
    if directory is None:
        return None
    try:
        with (directory / (key + SUFFIX)).open("rb") as file:
            if not _is_trusted(os.fstat(file.fileno()).st_uid):
                return None
            data = file.read()
    except OSError:
        return None
    checksum, payload = data[:_CHECKSUM_BYTES], data[_CHECKSUM_BYTES:]
    return payload if hashlib.sha256(payload).digest() == checksum else None


def _is_trusted(owner: int) -> bool:
    """What is in the cache will be run: only our own files (and root's) are believed, whatever directory was chosen."""
    return not hasattr(os, "geteuid") or owner in (0, os.geteuid())


def write_cached(key: str, payload: bytes) -> None:
    """Keep something: written to a temporary file and renamed, so that nobody ever reads half of it."""
    directory = cache_directory()
    if directory is None:
        return
    with contextlib.suppress(OSError):
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, temporary = tempfile.mkstemp(dir=directory, suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(hashlib.sha256(payload).digest() + payload)
            os.replace(temporary, directory / (key + SUFFIX))
        except OSError:
            os.unlink(temporary)
            raise
