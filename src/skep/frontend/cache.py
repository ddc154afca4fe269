"""A cache of files by content: atomic writes, and no entry is ever trusted without its checksum.

Entries live under $SKEP_CACHE, else $XDG_CACHE_HOME/skep, else ~/.cache/skep. A cache that cannot be written is no
error: the work is done again next time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import tempfile

_CHECKSUM_BYTES = 32


def cache_directory() -> pathlib.Path | None:
    """Where entries live; None: no such place (no home directory), or SKEP_CACHE is empty, which turns caching off."""
    chosen = os.environ.get("SKEP_CACHE")
    if chosen is not None:
        return pathlib.Path(chosen).absolute() if chosen else None
    base = os.environ.get("XDG_CACHE_HOME")
    if base and os.path.isabs(base):
        return pathlib.Path(base, "skep")
    try:
        return pathlib.Path.home() / ".cache" / "skep"
    except RuntimeError:
        return None


def read_entry(kind: str, key: str) -> bytes | None:
    """The content stored under a key; None when there is none, or when it is damaged."""
    directory = cache_directory()
    if directory is None:
        return None
    try:
        data = _path(directory, kind, key).read_bytes()
    except OSError:
        return None
    checksum, content = data[:_CHECKSUM_BYTES], data[_CHECKSUM_BYTES:]
    return content if hashlib.sha256(content).digest() == checksum else None


def write_entry(kind: str, key: str, content: bytes) -> None:
    """Store content under a key: readers see all of it or nothing."""
    directory = cache_directory()
    if directory is not None:
        write_file(_path(directory, kind, key), hashlib.sha256(content).digest() + content)


def write_file(path: pathlib.Path, data: bytes) -> bool:
    """Write a file atomically; False when the place cannot be written."""
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".new-", delete=False) as file:
            temporary = file.name
            file.write(data)
        os.replace(temporary, path)
    except OSError:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        return False
    return True


def _path(directory: pathlib.Path, kind: str, key: str) -> pathlib.Path:
    return directory / kind / key[:2] / key[2:]
