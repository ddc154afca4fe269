"""What the kernel says about a link: struct bpf_link_info, with the names of bpftool's JSON (uapi linux/bpf.h)."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from skep.abi.link_types import LinkType
from skep.abi.names import name_of
from skep.abi.prog_types import AttachType
from skep.kernel.bpf.attr import ProgInfo
from skep.kernel.bpf.call import BpfCallError
from skep.kernel.bpf.links import LinkInfoAttr
from skep.kernel.bpf.objects import Kind, ids, open_id, read_info

Details = dict[str, Any]
_NAME_ROOM: Final = 4096
_PERF_KINDS: Final = {
    1: "uprobe", 2: "uretprobe", 3: "kprobe", 4: "kretprobe", 5: "tracepoint", 6: "event",
}  # fmt: skip
_FAMILIES: Final = {2: "ip", 10: "ip6"}
_NETFILTER_HOOKS: Final = ("prerouting", "input", "forward", "output", "postrouting")


def links() -> Iterator[Mapping[str, Any]]:
    """Every link of the system that is still there when it is asked for."""
    for number in ids(Kind.LINK):
        try:
            with open_id(Kind.LINK, number) as fd:
                yield read_link(fd.number)
        except BpfCallError:
            continue


def read_link(fd: int) -> Details:
    """Information about one link: ``id``, ``type``, ``prog_id`` and what belongs to its kind."""
    info = read_info(fd, LinkInfoAttr())
    try:
        kind: LinkType | None = LinkType(info.type)
    except ValueError:
        kind = None
    found: Details = {
        "id": int(info.id),
        "type": name_of(kind) if kind is not None else str(info.type),
        "prog_id": int(info.prog_id),
    }
    if kind is not None and kind in _DETAILS:
        found |= _DETAILS[kind](bytes(info.tail), fd)
    return found


def program_type(prog_id: int) -> int | None:
    """The type of a program by its id; None if it is gone."""
    try:
        with open_id(Kind.PROGRAM, prog_id) as fd:
            return int(read_info(fd.number, ProgInfo()).type)
    except BpfCallError:
        return None


def attach_type_name(number: int) -> str:
    """The name of an attach type; its number where it is unknown."""
    try:
        return name_of(AttachType(number))
    except ValueError:
        return str(number)


def _with_text(fd: int, pointer_at: int, length_at: int, skip: bytes = b"") -> tuple[str, bytes]:
    """Ask again with room for a text whose address and size stand at these offsets of the union."""
    buffer = ctypes.create_string_buffer(_NAME_ROOM)
    info = LinkInfoAttr()
    tail = bytearray(56)
    struct.pack_into("=Q", tail, pointer_at, ctypes.addressof(buffer))
    struct.pack_into("=I", tail, length_at, _NAME_ROOM)
    ctypes.memmove(ctypes.addressof(info) + LinkInfoAttr.tail.offset, bytes(tail), len(tail))
    read_info(fd, info)
    return buffer.value.decode(errors="replace"), bytes(info.tail)


def _raw_tracepoint(tail: bytes, fd: int) -> Details:
    name, tail = _with_text(fd, 0, 8)
    return {"tp_name": name, "cookie": struct.unpack_from("=Q", tail, 16)[0]}


def _tracing(tail: bytes, fd: int) -> Details:
    attach_type, target, btf_id, _, cookie = struct.unpack_from("=IIIIQ", tail)
    return {
        "attach_type": attach_type_name(attach_type),
        "target_obj_id": target,
        "target_btf_id": btf_id,
        "cookie": cookie,
    }


def _cgroup(tail: bytes, fd: int) -> Details:
    cgroup, attach_type = struct.unpack_from("=QI", tail)
    return {"cgroup_id": cgroup, "attach_type": attach_type_name(attach_type)}


def _iter(tail: bytes, fd: int) -> Details:
    name, tail = _with_text(fd, 0, 8)
    found: Details = {"target_name": name}
    if name in ("bpf_map_elem", "bpf_sk_storage_map"):
        found["map_id"] = struct.unpack_from("=I", tail, 12)[0]
    elif name == "cgroup":
        found["cgroup_id"], found["order"] = struct.unpack_from("=QI", tail, 16)
    elif name.startswith("task"):
        tid, pid = struct.unpack_from("=II", tail, 16)
        found |= {key: value for key, value in (("tid", tid), ("pid", pid)) if value}
    return found


def _netns(tail: bytes, fd: int) -> Details:
    inode, attach_type = struct.unpack_from("=II", tail)
    return {"netns_ino": inode, "attach_type": attach_type_name(attach_type)}


def _interface(tail: bytes, fd: int) -> Details:
    return {"ifindex": struct.unpack_from("=I", tail)[0]}


def _interface_and_type(tail: bytes, fd: int) -> Details:
    ifindex, attach_type = struct.unpack_from("=II", tail)
    return {"ifindex": ifindex, "attach_type": attach_type_name(attach_type)}


def _map_and_type(tail: bytes, fd: int) -> Details:
    map_id, attach_type = struct.unpack_from("=II", tail)
    return {"map_id": map_id, "attach_type": attach_type_name(attach_type)}


def _map(tail: bytes, fd: int) -> Details:
    return {"map_id": struct.unpack_from("=I", tail)[0]}


def _netfilter(tail: bytes, fd: int) -> Details:
    family, hook, priority, flags = struct.unpack_from("=IIiI", tail)
    name = _NETFILTER_HOOKS[hook] if hook < len(_NETFILTER_HOOKS) else str(hook)
    return {"pf": _FAMILIES.get(family, str(family)), "hook": name, "prio": priority, "flags": flags}


def _kprobe_multi(tail: bytes, fd: int) -> Details:
    count, flags, missed = struct.unpack_from("=IIQ", tail, 8)
    return {"retprobe": bool(flags & 1), "func_cnt": count, "missed": missed}


def _uprobe_multi(tail: bytes, fd: int) -> Details:
    path, tail = _with_text(fd, 0, 32)
    count, flags, pid = struct.unpack_from("=III", tail, 36)
    return {"path": path, "func_cnt": count, "retprobe": bool(flags & 1), "pid": pid}


def _perf_event(tail: bytes, fd: int) -> Details:
    kind = _PERF_KINDS.get(struct.unpack_from("=I", tail)[0], "unknown")
    found: Details = {"perf_kind": kind}
    if kind in ("uprobe", "uretprobe"):
        name, tail = _with_text(fd, 8, 16)
        offset, cookie = struct.unpack_from("=IQ", tail, 20)
        found |= {"retprobe": kind == "uretprobe", "file": name, "offset": offset, "cookie": cookie}
    elif kind in ("kprobe", "kretprobe"):
        name, tail = _with_text(fd, 8, 16)
        offset, address, missed, cookie = struct.unpack_from("=IQQQ", tail, 20)
        found |= {"retprobe": kind == "kretprobe", "addr": address, "func": name, "offset": offset}
        found |= {"missed": missed, "cookie": cookie}
    elif kind == "tracepoint":
        name, tail = _with_text(fd, 8, 16)
        found |= {"tracepoint": name, "cookie": struct.unpack_from("=Q", tail, 24)[0]}
    elif kind == "event":
        config, event_type, _, cookie = struct.unpack_from("=QIIQ", tail, 8)
        found |= {"event_type": event_type, "event_config": config, "cookie": cookie}
    return found


_DETAILS: Mapping[LinkType, Callable[[bytes, int], Details]] = {
    LinkType.RAW_TRACEPOINT: _raw_tracepoint,
    LinkType.TRACING: _tracing,
    LinkType.CGROUP: _cgroup,
    LinkType.ITER: _iter,
    LinkType.NETNS: _netns,
    LinkType.XDP: _interface,
    LinkType.PERF_EVENT: _perf_event,
    LinkType.KPROBE_MULTI: _kprobe_multi,
    LinkType.STRUCT_OPS: _map,
    LinkType.NETFILTER: _netfilter,
    LinkType.TCX: _interface_and_type,
    LinkType.UPROBE_MULTI: _uprobe_multi,
    LinkType.NETKIT: _interface_and_type,
    LinkType.SOCKMAP: _map_and_type,
}
