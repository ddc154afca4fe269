"""Classic traffic control: a ``bpf`` filter in direct-action mode on a clsact qdisc, through rtnetlink (tc-bpf(8))."""

from __future__ import annotations

import errno
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from skep.kernel.links.handle import Attached, PlainAttachment, name_of_program
from skep.kernel.links.netlink import (
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_ECHO,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Message,
    NetlinkSocket,
    attributes,
    nested,
    number,
    text,
)
from skep.kernel.links.places import Attachable, ifindex, inside
from skep.kernel.links.refusals import explained
from skep.model.hooks import Direction, TcClassic

RTM_NEWQDISC, RTM_DELQDISC = 36, 37
RTM_NEWTFILTER, RTM_DELTFILTER, RTM_GETTFILTER = 44, 45, 46
CLSACT_HANDLE, CLSACT_PARENT = 0xFFFF0000, 0xFFFFFFF1
PARENTS: Final = {Direction.INGRESS: 0xFFFFFFF2, Direction.EGRESS: 0xFFFFFFF3}
TCA_KIND, TCA_OPTIONS = 1, 2
TCA_BPF_FD, TCA_BPF_NAME, TCA_BPF_FLAGS, TCA_BPF_ID = 6, 7, 8, 11
_DIRECT_ACTION: Final = 1
_ETH_P_ALL: Final = 0x0003
_TCMSG: Final = struct.Struct("=BxxxiIII")


@dataclass(frozen=True, slots=True)
class Filter:
    """One bpf filter at traffic control."""

    direction: Direction
    priority: int
    handle: int
    prog_id: int
    name: str


def attach_tc(program: Attachable, hook: TcClassic) -> Attached:
    """Attach; the clsact qdisc is made where there is none, and removed with the last filter if we made it."""
    with explained(hook, name_of_program(program)), inside(hook.netns):
        index = ifindex(hook.interface)
        rtnetlink = NetlinkSocket()
        made_qdisc = False
        try:
            made_qdisc = _make_clsact(rtnetlink, index)
            priority, handle = _put(rtnetlink, index, hook, program.fd.number, hook.priority, hook.filter_handle)
        except BaseException:
            if made_qdisc:
                _remove_clsact(rtnetlink, index)
            rtnetlink.close()
            raise

    def remove(_: int) -> None:
        _delete(rtnetlink, index, hook, priority, handle)
        if made_qdisc and not filters(rtnetlink, index):
            _remove_clsact(rtnetlink, index)

    return PlainAttachment(
        program,
        hook,
        replace=lambda _, new: _replace(rtnetlink, index, hook, new, priority, handle),
        remove=remove,
        release=rtnetlink.close,
    )


def filters(rtnetlink: NetlinkSocket, index: int) -> list[Filter]:
    """The bpf filters of an interface's clsact qdisc."""
    found = []
    for direction, parent in PARENTS.items():
        with suppress(OSError):  # no such qdisc
            for message in rtnetlink.request(RTM_GETTFILTER, _TCMSG.pack(0, index, 0, parent, 0), NLM_F_DUMP):
                row = _read_filter(message, direction)
                if row is not None:
                    found.append(row)
    return found


def _make_clsact(rtnetlink: NetlinkSocket, index: int) -> bool:
    body = _TCMSG.pack(0, index, CLSACT_HANDLE, CLSACT_PARENT, 0) + text(TCA_KIND, "clsact")
    try:
        rtnetlink.request(RTM_NEWQDISC, body, NLM_F_CREATE | NLM_F_EXCL)
    except OSError as error:
        if error.errno == errno.EEXIST:
            return False
        raise
    return True


def _remove_clsact(rtnetlink: NetlinkSocket, index: int) -> None:
    with suppress(OSError):
        rtnetlink.request(RTM_DELQDISC, _TCMSG.pack(0, index, CLSACT_HANDLE, CLSACT_PARENT, 0))


def _head(index: int, hook: TcClassic, priority: int, handle: int) -> bytes:
    info = priority << 16 | struct.unpack("=H", struct.pack("!H", _ETH_P_ALL))[0]
    return _TCMSG.pack(0, index, handle, PARENTS[Direction(hook.direction)], info) + text(TCA_KIND, "bpf")


def _options(program: int, hook: TcClassic) -> bytes:
    return nested(
        TCA_OPTIONS, number(TCA_BPF_FD, program), text(TCA_BPF_NAME, "skep"), number(TCA_BPF_FLAGS, _DIRECT_ACTION)
    )


def _put(
    rtnetlink: NetlinkSocket, index: int, hook: TcClassic, program: int, priority: int, handle: int
) -> tuple[int, int]:
    """Add the filter; the kernel echoes the priority and handle that it chose."""
    body = _head(index, hook, priority, handle) + _options(program, hook)
    answers = rtnetlink.request(RTM_NEWTFILTER, body, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ECHO)
    for answer in answers:
        if answer.type == RTM_NEWTFILTER:
            _, _, chosen, _, info = _TCMSG.unpack_from(answer.body)
            return info >> 16, chosen
    return priority, handle


def _replace(rtnetlink: NetlinkSocket, index: int, hook: TcClassic, program: int, priority: int, handle: int) -> None:
    body = _head(index, hook, priority, handle) + _options(program, hook)
    rtnetlink.request(RTM_NEWTFILTER, body, NLM_F_CREATE | NLM_F_REPLACE)


def _delete(rtnetlink: NetlinkSocket, index: int, hook: TcClassic, priority: int, handle: int) -> None:
    rtnetlink.request(RTM_DELTFILTER, _head(index, hook, priority, handle))


def _read_filter(message: Message, direction: Direction) -> Filter | None:
    if message.type != RTM_NEWTFILTER or len(message.body) < _TCMSG.size:
        return None
    _, _, handle, _, info = _TCMSG.unpack_from(message.body)
    found = attributes(message.body[_TCMSG.size :])
    options = attributes(found.get(TCA_OPTIONS, b""))
    if found.get(TCA_KIND) != b"bpf\0" or TCA_BPF_ID not in options:
        return None
    name = options.get(TCA_BPF_NAME, b"").rstrip(b"\0").decode(errors="replace")
    return Filter(direction, info >> 16, handle, int.from_bytes(options[TCA_BPF_ID], "little"), name)
