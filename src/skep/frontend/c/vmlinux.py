"""Where ``#include "vmlinux.h"`` is found: written from the target's BTF, or the trimmed one that we carry."""

from __future__ import annotations

import hashlib
import pathlib

from skep.btf.c_dump import dump_c
from skep.btf.reader import parse_btf
from skep.frontend.cache import cache_directory, write_file

_FORMAT = "1"  # raise it when dump_c writes something else for the same BTF
HEADER = "vmlinux.h"


def vmlinux_key(btf: bytes) -> str:
    """Names a header by what it is made of."""
    return hashlib.sha256(f"vmlinux {_FORMAT} ".encode() + btf).hexdigest()


def find_vmlinux(btf: bytes) -> pathlib.Path | None:
    """The directory of the header made from this BTF earlier, whole; None: not there."""
    cache = cache_directory()
    if cache is None:
        return None
    directory = cache / "vmlinux" / vmlinux_key(btf)
    try:
        text, checksum = (directory / HEADER).read_bytes(), (directory / "sha256").read_text()
    except (OSError, UnicodeDecodeError):
        return None
    return directory if hashlib.sha256(text).hexdigest() == checksum else None


def write_vmlinux(btf: bytes, scratch: pathlib.Path) -> pathlib.Path:
    """Write the header and return its directory: in the cache, or in ``scratch`` when the cache cannot be written.

    Raises:
        BtfError: the bytes are not type information.
    """
    text = dump_c(parse_btf(btf)).encode()
    checksum = hashlib.sha256(text).hexdigest().encode()
    cache = cache_directory()
    for directory in (cache / "vmlinux" / vmlinux_key(btf) if cache else None, scratch):
        if directory and write_file(directory / HEADER, text) and write_file(directory / "sha256", checksum):
            return directory
    return scratch
