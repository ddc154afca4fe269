"""One compilation in the cache: the object, its warnings, and the files it depends on with the checksums they had."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import struct
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from skep.cache import read_entry, write_entry
from skep.diagnostics import Diagnostic, Severity, Span

_KIND = "objects"
_HEADER_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Record:
    """What a compilation gave."""

    elf: bytes
    warnings: tuple[Diagnostic, ...]
    types: str | None = None  # names the vmlinux.h that was included; None: none was


def find_record(key: str, directory: pathlib.Path, types: Callable[[], str]) -> Record | None:
    """The compilation stored under a key, if every file it read is still what it was; None: it is not, or is damaged.

    Args:
        directory: what relative names are relative to.
        types: names the vmlinux.h of now; only asked when one was included.
    """
    data = read_entry(_KIND, key)
    if data is None:
        return None
    try:
        (length,) = _HEADER_LENGTH.unpack_from(data)
        header = json.loads(data[_HEADER_LENGTH.size : _HEADER_LENGTH.size + length])
        elf = data[_HEADER_LENGTH.size + length :]
        if header["types"] is not None and header["types"] != types():
            return None
        if any(os.path.lexists(directory / path) for path in header["absent"]):
            return None
        if any(_checksum(directory / path) != checksum for path, checksum in header["files"]):
            return None
        return Record(elf, tuple(_diagnostic(fields) for fields in header["warnings"]), header["types"])
    except (ValueError, KeyError, TypeError, struct.error):
        return None


def store_record(
    key: str,
    record: Record,
    dependencies: Sequence[str],
    search: Sequence[pathlib.Path],
    directory: pathlib.Path,
    started_ns: int,
) -> None:
    """Store a compilation, unless a file that it read changed while clang was reading.

    Args:
        dependencies: files that were read, as clang names them.
        search: directories in which includes were looked for, in order: a file that appears in an earlier
            one later changes the result.
        started_ns: time (ns since 1970) just before clang was started.
    """
    files: list[tuple[str, str]] = []
    for path in dependencies:
        place = directory / path
        try:
            changed_ns = place.stat().st_mtime_ns
        except OSError:
            return
        # The scratch copy of a text is written just before; its content is part of the key.
        if changed_ns >= started_ns:
            return
        checksum = _checksum(place)
        if checksum is None:
            return
        files.append((path, checksum))
    header = {
        "files": files,
        "absent": _shadows(dependencies, search, directory),
        "types": record.types,
        "warnings": [asdict(warning) for warning in record.warnings],
    }
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    write_entry(_KIND, key, _HEADER_LENGTH.pack(len(text)) + text + record.elf)


def _shadows(dependencies: Sequence[str], search: Sequence[pathlib.Path], directory: pathlib.Path) -> list[str]:
    """Paths that would be included instead, if they came to be."""
    found: dict[str, None] = {}
    for name in dependencies[1:]:
        place = directory / name
        homes = [index for index, home in enumerate(search) if place.is_relative_to(home)]
        if not homes:
            continue
        index = max(homes, key=lambda position: len(search[position].parts))
        inside = place.relative_to(search[index])
        for earlier in search[:index]:
            shadow = earlier / inside
            if not shadow.exists():
                # Below the working directory the name stays relative: a scratch directory has another name next time.
                found[str(shadow.relative_to(directory) if earlier == directory else shadow)] = None
    return list(found)


def _checksum(path: pathlib.Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def _diagnostic(fields: dict[str, Any]) -> Diagnostic:
    span = Span(**fields["span"]) if fields["span"] is not None else None
    plain: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    plain |= {"severity": Severity(fields["severity"]), "span": span}
    return Diagnostic(**plain)
