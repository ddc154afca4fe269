"""What was made once is kept in files by content: compiled objects, machine code, the vm's runtime.

Entries live under $SKEP_CACHE, else $XDG_CACHE_HOME/skep, else ~/.cache/skep; an empty SKEP_CACHE turns caching off.
The name of an entry is a hash of everything that its content depends on; the content carries a checksum, so that a
damaged or half-written file is the same as none. A cache that cannot be read or written is no error: the work is done
again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

_CHECKSUM_BYTES = 32


def cache_directory() -> Path | None:
    """Where entries live; None: no such place (no home directory), or caching is off."""
    chosen = os.environ.get("SKEP_CACHE")
    if chosen is not None:
        return Path(chosen).absolute() if chosen else None
    base = os.environ.get("XDG_CACHE_HOME")
    if base and os.path.isabs(base):
        return Path(base, "skep")
    try:
        return Path.home() / ".cache" / "skep"
    except RuntimeError:
        return None


def cache_key(*parts: bytes | str) -> str:
    """A name for what these parts determine."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def read_entry(kind: str, key: str) -> bytes | None:
    """The content stored under a key; None when there is none, when it is damaged, or when it is not ours."""
    directory = cache_directory()
    if directory is None:
        return None
    try:
        with entry_path(directory, kind, key).open("rb") as file:
            if not _is_trusted(os.fstat(file.fileno()).st_uid):
                return None
            data = file.read()
    except OSError:
        return None
    checksum, content = data[:_CHECKSUM_BYTES], data[_CHECKSUM_BYTES:]
    return content if hashlib.sha256(content).digest() == checksum else None


def _is_trusted(owner: int) -> bool:
    """What is in the cache will be run: only our own files (and root's) are believed, whatever directory was chosen."""
    return not hasattr(os, "geteuid") or owner in (0, os.geteuid())


def write_entry(kind: str, key: str, content: bytes) -> None:
    """Store content under a key: readers see all of it or nothing."""
    directory = cache_directory()
    if directory is not None:
        write_file(entry_path(directory, kind, key), hashlib.sha256(content).digest() + content)


def write_file(path: Path, data: bytes) -> bool:
    """Write a file atomically; False when the place cannot be written."""
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
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


def entry_path(directory: Path, kind: str, key: str) -> Path:
    """Where an entry lies in a cache."""
    return directory / kind / key[:2] / key[2:]
