"""BTF objects that the kernel holds."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

from skep.kernel.bpf import objects
from skep.kernel.bpf.attr import BtfInfo
from skep.kernel.bpf.call import BpfCallError, address
from skep.kernel.bpf.objects import Kind
from skep.kernel.inspect.maps import list_maps
from skep.kernel.inspect.owners import Owner, find_owners
from skep.kernel.inspect.programs import list_programs

_NAME_ROOM = 64


def list_types() -> Iterator[dict[str, Any]]:
    """A row in bpftool's shape for each BTF object: ``id size prog_ids map_ids kernel name pids``."""
    programs: dict[int, list[int]] = {}
    for _, program in list_programs():
        programs.setdefault(program.btf_id, []).append(program.id)
    maps: dict[int, list[int]] = {}
    for _, found in list_maps():
        maps.setdefault(found.btf_id, []).append(found.id)
    owners = find_owners(Kind.BTF)
    for number in objects.ids(Kind.BTF):
        try:
            fd = objects.open_id(Kind.BTF, number)
        except BpfCallError:
            continue
        with fd:
            buffer = ctypes.create_string_buffer(_NAME_ROOM)
            info = objects.read_info(fd.number, BtfInfo(name=address(buffer), name_len=_NAME_ROOM))
        yield _row(info, buffer.value.decode(errors="replace"), programs, maps, owners.get(number, ()))


def _row(
    info: BtfInfo,
    name: str,
    programs: dict[int, list[int]],
    maps: dict[int, list[int]],
    owners: tuple[Owner, ...],
) -> dict[str, Any]:
    number = int(info.id)
    row: dict[str, Any] = {"id": number, "size": int(info.btf_size)}
    if number in programs:
        row["prog_ids"] = programs[number]
    if number in maps:
        row["map_ids"] = maps[number]
    row["kernel"] = bool(info.kernel_btf)
    row["name"] = name or "<anon>"
    if owners:
        row["pids"] = [{"pid": owner.pid, "comm": owner.comm} for owner in owners]
    return row
