"""Who holds an object open, and under which names it is pinned."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from skep.kernel.bpf import objects
from skep.kernel.bpf.attr import BtfInfo, MapInfo, ProgInfo
from skep.kernel.bpf.call import BpfCallError
from skep.kernel.bpf.objects import Kind

_FIELDS: Final = {b"bpf-prog": b"prog_id", b"bpf-map": b"map_id", b"bpf_link": b"link_id", b"btf": b"btf_id"}
_KINDS: Final = {b"bpf-prog": Kind.PROGRAM, b"bpf-map": Kind.MAP, b"bpf_link": Kind.LINK, b"btf": Kind.BTF}
_ID: Final = {name: re.compile(rb"^" + field + rb":\s*(\d+)", re.MULTILINE) for name, field in _FIELDS.items()}
_MEMLOCK: Final = re.compile(rb"^memlock:\s*(\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Owner:
    """A process that holds a descriptor."""

    pid: int
    comm: str


def find_owners(kind: Kind) -> Mapping[int, tuple[Owner, ...]]:
    """Object id -> processes that hold it open, by /proc (only those that we may look into)."""
    found: dict[int, dict[int, Owner]] = {}
    for pid in _pids():
        for number in _held(pid, kind):
            found.setdefault(number, {}).setdefault(pid, Owner(pid, _comm(pid)))
    return {number: tuple(owners.values()) for number, owners in found.items()}


def _pids() -> Iterator[int]:
    for name in os.listdir("/proc"):
        if name.isdigit():
            yield int(name)


def _held(pid: int, kind: Kind) -> Iterator[int]:
    folder = f"/proc/{pid}/fd"
    try:
        descriptors = os.listdir(folder)
    except OSError:
        return
    for descriptor in descriptors:
        try:
            target = os.readlink(os.fsencode(f"{folder}/{descriptor}"))
            name = target.removeprefix(b"anon_inode:").strip(b"[]")
            if _KINDS.get(name) is not kind:
                continue
            text = Path(f"/proc/{pid}/fdinfo/{descriptor}").read_bytes()
        except OSError:
            continue
        match = _ID[name].search(text)
        if match:
            yield int(match[1])


def _comm(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "?"


def memlock_of(fd: int) -> int:
    """Bytes of kernel memory that an object says it takes."""
    try:
        match = _MEMLOCK.search(Path(f"/proc/self/fdinfo/{fd}").read_bytes())
    except OSError:
        return 0
    return int(match[1]) if match else 0


def find_pins() -> Mapping[tuple[Kind, int], list[str]]:
    """(kind, id) -> paths, by looking into every mounted bpffs."""
    found: dict[tuple[Kind, int], list[str]] = {}
    for root in _mounts():
        for folder, _, names in os.walk(root):
            for name in names:
                path = os.path.join(folder, name)
                key = _identify(path)
                if key is not None:
                    found.setdefault(key, []).append(path)
    return found


def _mounts() -> list[str]:
    try:
        lines = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return []
    fields = (line.split() for line in lines)
    return sorted({words[1].replace("\\040", " ") for words in fields if len(words) > 2 and words[2] == "bpf"})


def _identify(path: str) -> tuple[Kind, int] | None:
    try:
        fd = objects.get(path)
    except BpfCallError:
        return None
    with fd:
        try:
            target = os.readlink(f"/proc/self/fd/{fd.number}").encode()
        except OSError:
            return None
        kind = _KINDS.get(target.removeprefix(b"anon_inode:").strip(b"[]"))
        if kind is None or kind is Kind.LINK:
            return None
        info = {Kind.PROGRAM: ProgInfo, Kind.MAP: MapInfo, Kind.BTF: BtfInfo}[kind]()
        return kind, int(objects.read_info(fd.number, info).id)
