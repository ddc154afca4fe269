"""What programs, maps, links and BTF have in common: pins, ids, information, statistics, tokens."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from enum import Enum
from typing import Final, TypeVar

from skep.kernel.bpf.attr import EnableStatsAttr, IdAttr, InfoAttr, ObjectAttr, TaskFdQueryAttr, TokenAttr
from skep.kernel.bpf.call import BpfCallError, Command, address, call, open_fd, text_buffer
from skep.kernel.fd import Fd

F_RDONLY, F_WRONLY = 1 << 3, 1 << 4  # BPF_F_RDONLY, BPF_F_WRONLY: what the descriptor may do
_STATS_RUN_TIME: Final = 0
_NAME_ROOM: Final = 4096
Info = TypeVar("Info", bound=ctypes.Structure)


class Kind(Enum):
    """The four kinds of objects with ids; values: (next id, fd by id)."""

    PROGRAM = (Command.PROG_GET_NEXT_ID, Command.PROG_GET_FD_BY_ID)
    MAP = (Command.MAP_GET_NEXT_ID, Command.MAP_GET_FD_BY_ID)
    BTF = (Command.BTF_GET_NEXT_ID, Command.BTF_GET_FD_BY_ID)
    LINK = (Command.LINK_GET_NEXT_ID, Command.LINK_GET_FD_BY_ID)


def pin(fd: int, path: str | os.PathLike[str]) -> None:
    """BPF_OBJ_PIN (4.4): a name for an object in a bpffs; it lives until the name is unlinked."""
    name = text_buffer(os.fspath(path))
    call(Command.OBJ_PIN, ObjectAttr(pathname=address(name), bpf_fd=fd))


def get(path: str | os.PathLike[str], flags: int = 0, what: str = "pinned object") -> Fd:
    """BPF_OBJ_GET (4.4): open a pinned object; ``flags``: F_RDONLY, F_WRONLY (4.15)."""
    name = text_buffer(os.fspath(path))
    return open_fd(Command.OBJ_GET, ObjectAttr(pathname=address(name), file_flags=flags), what)


def ids(kind: Kind) -> Iterator[int]:
    """BPF_*_GET_NEXT_ID (4.13; BTF 5.4; links 5.8): the ids of all objects of a kind, rising. Needs CAP_SYS_ADMIN."""
    current = 0
    while True:
        attr = IdAttr(id=current)
        try:
            call(kind.value[0], attr)
        except BpfCallError as error:
            if error.errno == errno.ENOENT:
                return
            raise
        current = int(attr.next_id)
        yield current


def open_id(kind: Kind, number: int, flags: int = 0) -> Fd:
    """BPF_*_GET_FD_BY_ID (4.13): ENOENT where there is none."""
    attr = IdAttr(id=number, open_flags=flags)
    return open_fd(kind.value[1], attr, f"{kind.name.lower()} {number}")


def read_info(fd: int, info: Info) -> Info:
    """BPF_OBJ_GET_INFO_BY_FD (4.13) into a structure, which may name buffers; older kernels fill less."""
    attr = InfoAttr(bpf_fd=fd, info_len=ctypes.sizeof(info), info=address(info))
    call(Command.OBJ_GET_INFO_BY_FD, attr)
    return info


def enable_stats() -> Fd:
    """BPF_ENABLE_STATS (5.8): run times and counts of all programs are kept while the descriptor is open."""
    return open_fd(Command.ENABLE_STATS, EnableStatsAttr(_STATS_RUN_TIME), "statistics")


def create_token(bpffs: int) -> Fd:
    """BPF_TOKEN_CREATE (6.9): rights that a bpffs (an fd of its root) was mounted with."""
    return open_fd(Command.TOKEN_CREATE, TokenAttr(0, bpffs), "BPF token")


def query_task_fd(pid: int, fd: int) -> tuple[int, int, str, int, int]:
    """BPF_TASK_FD_QUERY (4.18): (program id, BPF_FD_TYPE_*, name, probe offset, probe address) of a tracing fd."""
    buffer = ctypes.create_string_buffer(_NAME_ROOM)
    attr = TaskFdQueryAttr(pid=pid, fd=fd, buf_len=_NAME_ROOM, buf=address(buffer))
    call(Command.TASK_FD_QUERY, attr)
    name = buffer.value.decode(errors="replace")
    return int(attr.prog_id), int(attr.fd_type), name, int(attr.probe_offset), int(attr.probe_addr)
