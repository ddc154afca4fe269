"""Where ``#include "vmlinux.h"`` is found: written from the target's BTF, or the trimmed one that we carry."""

from __future__ import annotations

import hashlib
import pathlib
from collections.abc import Callable

from skep.cache import cache_directory, write_file

# Type information as bytes, or a function that fetches it when it turns out to be needed.
Types = bytes | Callable[[], bytes | None] | None

_FORMAT = "1"  # raise it when dump_c writes something else for the same BTF
HEADER = "vmlinux.h"


class KernelTypes:
    """The target's type information, fetched and hashed at most once and only when asked for."""

    def __init__(self, source: Types) -> None:
        self._source = source
        self._fetched = False
        self._data: bytes | None = None
        self._name: str | None = None

    @property
    def is_absent(self) -> bool:
        """There are none, and no way to fetch them."""
        return self._source is None

    def data(self) -> bytes | None:
        """BTF bytes; None: there are none, and the trimmed header is used."""
        if not self._fetched:
            self._data = self._source() if callable(self._source) else self._source
            self._fetched = True
        return self._data

    def name(self) -> str:
        """Names the vmlinux.h that these types give."""
        if self._name is None:
            data = self.data()
            self._name = "trimmed" if data is None else vmlinux_key(data)
        return self._name


def vmlinux_key(btf: bytes) -> str:
    """Names a header by what it is made of."""
    return hashlib.sha256(f"vmlinux {_FORMAT} ".encode() + btf).hexdigest()


def cached_headers() -> tuple[pathlib.Path, ...]:
    """Every header that was made from BTF and is in the cache."""
    cache = cache_directory()
    return tuple(cache.glob(f"vmlinux/*/{HEADER}")) if cache else ()


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
    # Only here: a compilation that is found in the cache must not pay for these modules.
    from skep.btf.c_dump import dump_c
    from skep.btf.reader import parse_btf

    text = dump_c(parse_btf(btf)).encode()
    checksum = hashlib.sha256(text).hexdigest().encode()
    cache = cache_directory()
    for directory in (cache / "vmlinux" / vmlinux_key(btf) if cache else None, scratch):
        if directory and write_file(directory / HEADER, text) and write_file(directory / "sha256", checksum):
            return directory
    return scratch
