"""Commands that put programs on hooks: links, and the older attach by target. Every function raises BpfCallError."""

from __future__ import annotations

import ctypes
import errno
from dataclasses import dataclass
from typing import ClassVar, Final

from skep.kernel.bpf.attr import S32, U8, U32, U64
from skep.kernel.bpf.call import BpfCallError, Command, address, call, text_buffer
from skep.kernel.fd import Fd

F_ALLOW_OVERRIDE, F_ALLOW_MULTI, F_REPLACE = 1 << 0, 1 << 1, 1 << 2
F_BEFORE, F_AFTER, F_ID, F_PREORDER, F_LINK = 1 << 3, 1 << 4, 1 << 5, 1 << 6, 1 << 13
F_QUERY_EFFECTIVE = 1 << 0
_TAIL: Final = 48  # bytes of what differs from kind to kind in BPF_LINK_CREATE
_QUERY_ROOM: Final = 64  # programs on one hook: BPF_MPROG_MAX and BPF_CGROUP_MAX_PROGS


class LinkCreateAttr(ctypes.Structure):
    """BPF_LINK_CREATE; ``target`` is a descriptor or an ifindex."""

    _fields_: ClassVar = [
        ("program", U32),
        ("target", U32),
        ("attach_type", U32),
        ("flags", U32),
        ("tail", U8 * _TAIL),
    ]


class LinkUpdateAttr(ctypes.Structure):
    """BPF_LINK_UPDATE."""

    _fields_: ClassVar = [("link", U32), ("new_program", U32), ("flags", U32), ("old_program", U32)]


class LinkDetachAttr(ctypes.Structure):
    """BPF_LINK_DETACH; BPF_ITER_CREATE begins alike."""

    _fields_: ClassVar = [("link", U32), ("flags", U32)]


class RawTracepointAttr(ctypes.Structure):
    """BPF_RAW_TRACEPOINT_OPEN."""

    _fields_: ClassVar = [("name", U64), ("program", U32), ("cookie", U64)]


class ProgAttachAttr(ctypes.Structure):
    """BPF_PROG_ATTACH, BPF_PROG_DETACH."""

    _fields_: ClassVar = [
        ("target", U32),
        ("program", U32),
        ("attach_type", U32),
        ("flags", U32),
        ("replaced", U32),
        ("relative", U32),
        ("expected_revision", U64),
    ]


class ProgQueryAttr(ctypes.Structure):
    """BPF_PROG_QUERY."""

    _fields_: ClassVar = [
        ("target", U32),
        ("attach_type", U32),
        ("query_flags", U32),
        ("attach_flags", U32),
        ("prog_ids", U64),
        ("count", U32),
        ("prog_attach_flags", U64),
        ("link_ids", U64),
        ("link_attach_flags", U64),
        ("revision", U64),
    ]


class LinkInfoAttr(ctypes.Structure):
    """struct bpf_link_info: what every link has, then a union read by :mod:`skep.kernel.links.info`."""

    _fields_: ClassVar = [("type", U32), ("id", U32), ("prog_id", U32), ("pad", S32), ("tail", U8 * 56)]


@dataclass(frozen=True, slots=True)
class LinkRequest:
    """What BPF_LINK_CREATE is asked for.

    Attributes:
        program: its descriptor (struct_ops: the map's).
        target: descriptor of a cgroup, namespace, map, perf event or program; or an ifindex.
        tail: the part of the structure that belongs to the kind of link.
    """

    program: int
    attach_type: int
    target: int = 0
    flags: int = 0
    tail: bytes = b""


def create(request: LinkRequest) -> Fd:
    """BPF_LINK_CREATE (5.7)."""
    attr = LinkCreateAttr(request.program, request.target, request.attach_type, request.flags)
    ctypes.memmove(ctypes.addressof(attr) + LinkCreateAttr.tail.offset, request.tail.ljust(_TAIL, b"\0"), _TAIL)
    return Fd(call(Command.LINK_CREATE, attr), "link")


def update(link: int, program: int, old_program: int | None = None) -> None:
    """BPF_LINK_UPDATE (5.7): replace the program atomically. ``old_program``: only if this one is there (EPERM)."""
    flags = F_REPLACE if old_program is not None else 0
    call(Command.LINK_UPDATE, LinkUpdateAttr(link, program, flags, old_program or 0))


def detach(link: int) -> None:
    """BPF_LINK_DETACH (5.9): the link stays, its program runs no more. EOPNOTSUPP for kinds that cannot."""
    call(Command.LINK_DETACH, LinkDetachAttr(link, 0))


def open_raw_tracepoint(name: str, program: int, cookie: int = 0) -> Fd:
    """BPF_RAW_TRACEPOINT_OPEN (4.17); ``name`` "" for programs that know their target (tp_btf, fentry, lsm, ...)."""
    buffer = text_buffer(name) if name else None
    return Fd(call(Command.RAW_TRACEPOINT_OPEN, RawTracepointAttr(address(buffer), program, cookie)), "link")


def create_iterator(link: int) -> Fd:
    """BPF_ITER_CREATE (5.8): a file to read; each opened one is a new run."""
    return Fd(call(Command.ITER_CREATE, LinkDetachAttr(link, 0)), "iterator")


def attach(target: int, program: int, attach_type: int, flags: int = 0, replaced: int = 0) -> None:
    """BPF_PROG_ATTACH (4.10): without a link; stays until it is detached or the target goes.

    ``replaced``: with F_ALLOW_MULTI | F_REPLACE, the program whose place it takes (5.6).
    """
    call(Command.PROG_ATTACH, ProgAttachAttr(target, program, attach_type, flags, replaced))


def detach_program(target: int, program: int, attach_type: int) -> None:
    """BPF_PROG_DETACH (4.10)."""
    call(Command.PROG_DETACH, ProgAttachAttr(target, program, attach_type))


@dataclass(frozen=True, slots=True)
class Attached:
    """What BPF_PROG_QUERY tells of a hook.

    Attributes:
        programs, links: ids in the order in which they run (link 0: none); ``links`` only for tcx and netkit.
        flags: BPF_F_ALLOW_* of a cgroup's hook.
        program_flags: of each program of a cgroup's hook.
    """

    programs: tuple[int, ...]
    links: tuple[int, ...]
    flags: int = 0
    program_flags: tuple[int, ...] = ()
    revision: int = 0


def query(target: int, attach_type: int, flags: int = 0) -> Attached:
    """BPF_PROG_QUERY (4.15; tcx and netkit 6.6).

    Args:
        target: descriptor of a cgroup, namespace or map; or an ifindex.
        flags: F_QUERY_EFFECTIVE: also what is inherited from cgroups above.
    """
    with_flags, with_links = True, True
    while True:
        programs, links, each = ((U32 * _QUERY_ROOM)() for _ in range(3))
        attr = ProgQueryAttr(
            target=target,
            attach_type=attach_type,
            query_flags=flags,
            prog_ids=ctypes.addressof(programs),
            count=_QUERY_ROOM,
            prog_attach_flags=ctypes.addressof(each) if with_flags else 0,
            link_ids=ctypes.addressof(links) if with_links else 0,
        )
        try:
            call(Command.PROG_QUERY, attr)
        except BpfCallError as error:
            # Hooks that know no links or no flags per program refuse their buffers.
            if error.errno == errno.EINVAL and (with_links or with_flags):
                with_links, with_flags = (False, True) if with_links else (False, False)
                continue
            raise
        count = int(attr.count)
        return Attached(
            tuple(programs[:count]),
            tuple(links[:count]) if with_links else (),
            int(attr.attach_flags),
            tuple(each[:count]) if with_flags else (),
            int(attr.revision),
        )
