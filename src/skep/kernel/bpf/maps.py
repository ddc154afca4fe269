"""Commands on maps. Every function raises BpfCallError with the kernel's errno."""

from __future__ import annotations

import ctypes
import errno
from dataclasses import dataclass

from skep.kernel.bpf.attr import BatchAttr, ElementAttr, MapCreateAttr
from skep.kernel.bpf.call import BpfCallError, Command, address, call, data_buffer, open_fd
from skep.kernel.fd import Fd

F_TOKEN_FD = 1 << 16  # BPF_F_TOKEN_FD of map_flags, prog_flags and btf_flags


@dataclass(frozen=True, slots=True)
class MapRequest:
    """What BPF_MAP_CREATE is asked for; fd numbers, 0 for none. Sizes in bytes."""

    map_type: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int = 0
    inner: int = 0
    numa_node: int = 0
    name: bytes = b""
    ifindex: int = 0
    btf: int = 0
    key_type: int = 0
    value_type: int = 0
    vmlinux_value_type: int = 0
    map_extra: int = 0
    value_type_btf: int = 0
    token: int = 0


def create(request: MapRequest, what: str = "map") -> Fd:
    """BPF_MAP_CREATE (Linux 3.18)."""
    attr = MapCreateAttr(
        map_type=request.map_type,
        key_size=request.key_size,
        value_size=request.value_size,
        max_entries=request.max_entries,
        map_flags=request.flags | (F_TOKEN_FD if request.token else 0),
        inner_map_fd=request.inner,
        numa_node=request.numa_node,
        map_name=request.name,
        map_ifindex=request.ifindex,
        btf_fd=request.btf,
        btf_key_type_id=request.key_type,
        btf_value_type_id=request.value_type,
        btf_vmlinux_value_type_id=request.vmlinux_value_type,
        map_extra=request.map_extra,
        value_type_btf_obj_fd=request.value_type_btf,
        map_token_fd=request.token,
    )
    return open_fd(Command.MAP_CREATE, attr, what)


def lookup(map_fd: int, key: bytes, value_size: int, flags: int = 0) -> bytes | None:
    """BPF_MAP_LOOKUP_ELEM; None where there is no such key. ``value_size`` counts every CPU for per-CPU maps."""
    return _read(Command.MAP_LOOKUP_ELEM, map_fd, key, value_size, flags)


def lookup_and_delete(map_fd: int, key: bytes, value_size: int, flags: int = 0) -> bytes | None:
    """BPF_MAP_LOOKUP_AND_DELETE_ELEM (4.20 for queues and stacks, 5.14 for hashes); None where there is no such key."""
    return _read(Command.MAP_LOOKUP_AND_DELETE_ELEM, map_fd, key, value_size, flags)


def update(map_fd: int, key: bytes, value: bytes, flags: int = 0) -> None:
    """BPF_MAP_UPDATE_ELEM; for per-CPU maps ``value`` holds one value for each possible CPU."""
    key_buffer, value_buffer = data_buffer(key), data_buffer(value)
    key_address = address(key_buffer) if key else 0
    call(Command.MAP_UPDATE_ELEM, ElementAttr(map_fd, key_address, address(value_buffer), flags))


def delete(map_fd: int, key: bytes) -> None:
    """BPF_MAP_DELETE_ELEM; ENOENT where there is no such key."""
    key_buffer = data_buffer(key)
    call(Command.MAP_DELETE_ELEM, ElementAttr(map_fd, address(key_buffer), 0, 0))


def next_key(map_fd: int, key: bytes | None, key_size: int) -> bytes | None:
    """BPF_MAP_GET_NEXT_KEY; ``key`` None asks for the first (Linux 4.12); None at the end."""
    key_buffer = data_buffer(key) if key is not None else None
    found = ctypes.create_string_buffer(max(key_size, 1))
    try:
        call(Command.MAP_GET_NEXT_KEY, ElementAttr(map_fd, address(key_buffer), address(found), 0))
    except BpfCallError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    return found.raw[:key_size]


def freeze(map_fd: int) -> None:
    """BPF_MAP_FREEZE (5.2): read-only for user space from now on."""
    call(Command.MAP_FREEZE, ElementAttr(map_fd, 0, 0, 0))


@dataclass(frozen=True, slots=True)
class Batch:
    """Some elements of a map: keys and values one after the other. ``position`` None: that was the last of them."""

    count: int
    keys: bytes
    values: bytes
    position: bytes | None


def lookup_batch(
    map_fd: int,
    position: bytes | None,
    count: int,
    key_size: int,
    value_size: int,
    *,
    remove: bool = False,
    flags: int = 0,
) -> Batch:
    """BPF_MAP_LOOKUP_BATCH or BPF_MAP_LOOKUP_AND_DELETE_BATCH (5.6).

    Args:
        position: from the batch before; None: from the start.
        count: room for how many elements. ENOSPC: too few for one bucket of a hash; ask for more.
    """
    # A position is a key for arrays and tries, a bucket number (4 bytes) for hashes.
    room = max(key_size, 4)
    in_buffer = data_buffer(position.ljust(room, b"\0")) if position is not None else None
    out_buffer = ctypes.create_string_buffer(room)
    keys, values = ctypes.create_string_buffer(count * key_size), ctypes.create_string_buffer(count * value_size)
    attr = BatchAttr(address(in_buffer), address(out_buffer), address(keys), address(values), count, map_fd, flags, 0)
    command = Command.MAP_LOOKUP_AND_DELETE_BATCH if remove else Command.MAP_LOOKUP_BATCH
    is_last = False
    try:
        call(command, attr)
    except BpfCallError as error:
        if error.errno != errno.ENOENT:
            raise
        is_last = True
    found = int(attr.count)
    return Batch(
        found, keys.raw[: found * key_size], values.raw[: found * value_size], None if is_last else out_buffer.raw
    )


def update_batch(map_fd: int, keys: bytes, values: bytes, count: int, flags: int = 0) -> int:
    """BPF_MAP_UPDATE_BATCH (5.6); how many were written. On BpfCallError those before the faulty one are written."""
    key_buffer, value_buffer = data_buffer(keys), data_buffer(values)
    attr = BatchAttr(0, 0, address(key_buffer), address(value_buffer), count, map_fd, flags, 0)
    call(Command.MAP_UPDATE_BATCH, attr)
    return int(attr.count)


def delete_batch(map_fd: int, keys: bytes, count: int) -> int:
    """BPF_MAP_DELETE_BATCH (5.6); how many were deleted: it stops at the first key that is not there (ENOENT)."""
    key_buffer = data_buffer(keys)
    attr = BatchAttr(0, 0, address(key_buffer), 0, count, map_fd, 0, 0)
    try:
        call(Command.MAP_DELETE_BATCH, attr)
    except BpfCallError as error:
        if error.errno != errno.ENOENT:
            raise
    return int(attr.count)


def _read(command: Command, map_fd: int, key: bytes, value_size: int, flags: int) -> bytes | None:
    key_buffer, value_buffer = data_buffer(key), ctypes.create_string_buffer(max(value_size, 1))
    key_address = address(key_buffer) if key else 0
    try:
        call(command, ElementAttr(map_fd, key_address, address(value_buffer), flags))
    except BpfCallError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    return value_buffer.raw[:value_size]


def peek_value(map_fd: int, value: bytes) -> bool:
    """BPF_MAP_LOOKUP_ELEM of a bloom filter: whether a value may have been added."""
    value_buffer = data_buffer(value)
    try:
        call(Command.MAP_LOOKUP_ELEM, ElementAttr(map_fd, 0, address(value_buffer), 0))
    except BpfCallError as error:
        if error.errno == errno.ENOENT:
            return False
        raise
    return True
