"""Maps that are loaded: facts, and a blueprint to use them with, typed by the BTF that the kernel keeps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from skep.abi.map_types import MapType
from skep.abi.names import name_of
from skep.btf.types import Btf
from skep.diagnostics import Diagnostic
from skep.errors import EngineError, SkepError
from skep.kernel.bpf import objects
from skep.kernel.bpf.attr import MapInfo
from skep.kernel.bpf.call import BpfCallError
from skep.kernel.bpf.objects import Kind
from skep.kernel.fd import Fd
from skep.kernel.inspect.ids import open_all, open_by_id, row_end
from skep.kernel.inspect.owners import Owner, memlock_of
from skep.kernel.maps.handle import KernelMap
from skep.kernel.maps.kinds import handle_for
from skep.kernel.prepare import read_types_by_id
from skep.model.maps import MapSpec


@dataclass(frozen=True, slots=True)
class MapFacts:
    """A loaded map, as ``skep map show`` tells of it. Sizes in bytes."""

    id: int
    type: str
    name: str
    flags: int
    bytes_key: int
    bytes_value: int
    max_entries: int
    bytes_memlock: int
    frozen: bool
    btf_id: int

    def to_json(self, owners: tuple[Owner, ...] = (), pinned: list[str] | None = None) -> dict[str, Any]:
        """The row in bpftool's shape."""
        row: dict[str, Any] = {"id": self.id, "type": self.type}
        if self.name:
            row["name"] = self.name
        row |= {
            "flags": self.flags,
            "bytes_key": self.bytes_key,
            "bytes_value": self.bytes_value,
            "max_entries": self.max_entries,
            "bytes_memlock": self.bytes_memlock,
            "frozen": int(self.frozen),
        }
        return row | row_end(self.btf_id, pinned, owners)


def open_map(number: int) -> Fd:
    """A map by id.

    Raises:
        EngineError: E0241 there is none, or we may not open it.
    """
    return open_by_id(Kind.MAP, number)


def list_maps() -> Iterator[tuple[Fd, MapFacts]]:
    """Every map; its descriptor is closed after each step."""
    for fd in open_all(Kind.MAP):
        yield fd, read_facts(fd)


def read_facts(fd: Fd) -> MapFacts:
    """The facts of one map."""
    info = objects.read_info(fd.number, MapInfo())
    return MapFacts(
        id=int(info.id),
        type=type_name(int(info.type)),
        name=info.name.decode(errors="replace"),
        flags=int(info.map_flags),
        bytes_key=int(info.key_size),
        bytes_value=int(info.value_size),
        max_entries=int(info.max_entries),
        bytes_memlock=memlock_of(fd.number),
        frozen=_is_frozen(fd.number),
        btf_id=int(info.btf_id),
    )


def type_name(number: int) -> str:
    """``lru_hash``; ``type 99`` for what we do not know."""
    try:
        return name_of(MapType(number))
    except ValueError:
        return f"type {number}"


def _is_frozen(fd: int) -> bool:
    try:
        with open(f"/proc/self/fdinfo/{fd}") as lines:
            return any(line.split() == ["frozen:", "1"] for line in lines)
    except OSError:
        return False


def read_spec(fd: Fd) -> MapSpec:
    """A blueprint of an existing map.

    Raises:
        EngineError: E0244 a type that skep does not know.
    """
    info = objects.read_info(fd.number, MapInfo())
    try:
        map_type = MapType(int(info.type))
    except ValueError:
        raise EngineError(Diagnostic("E0244", f"maps of type {info.type} are not known to skep")) from None
    btf: Btf | None = None
    if info.btf_id:
        try:
            btf = read_types_by_id(int(info.btf_id))
        except (SkepError, BpfCallError):
            btf = None
    return MapSpec(
        name=info.name.decode(errors="replace") or f"id {info.id}",
        type=map_type,
        key_size=int(info.key_size),
        value_size=int(info.value_size),
        max_entries=int(info.max_entries),
        flags=int(info.map_flags),
        key_type=int(info.btf_key_type_id) if btf is not None else 0,
        value_type=int(info.btf_value_type_id) if btf is not None else 0,
        btf=btf,
        map_extra=int(info.map_extra),
        frozen=_is_frozen(fd.number),
    )


def adopt(fd: Fd) -> KernelMap:
    """The handle of an existing map; it owns the descriptor."""
    return handle_for(read_spec(fd), fd, is_new=False)
