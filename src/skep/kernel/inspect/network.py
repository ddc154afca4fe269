"""What hangs on the interfaces of a network namespace: XDP, tcx, netkit and classic tc programs; flow dissectors."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final

from skep.abi.prog_types import AttachType
from skep.kernel.bpf import links, objects
from skep.kernel.bpf.attr import ProgInfo
from skep.kernel.bpf.call import BpfCallError
from skep.kernel.bpf.objects import Kind
from skep.kernel.links import tc
from skep.kernel.links.info import links as all_links
from skep.kernel.links.netlink import NLM_F_DUMP, NetlinkSocket, attributes
from skep.kernel.links.places import opened_netns

RTM_GETLINK: Final = 18
IFLA_IFNAME, IFLA_XDP = 3, 43
# IFLA_XDP_*_PROG_ID -> how bpftool calls the mode; the first is for kernels that tell only one program.
_XDP_MODES: Final = {5: "driver", 6: "generic", 7: "offload"}
_IFLA_XDP_ATTACHED, _IFLA_XDP_PROG_ID = 2, 4
_ATTACHED: Final = {1: "driver", 2: "generic", 3: "offload"}
_ORDERED: Final = (
    (AttachType.TCX_INGRESS, "tcx/ingress"),
    (AttachType.TCX_EGRESS, "tcx/egress"),
    (AttachType.NETKIT_PRIMARY, "netkit/primary"),
    (AttachType.NETKIT_PEER, "netkit/peer"),
)


def interfaces(rtnetlink: NetlinkSocket) -> Iterator[tuple[int, str, bytes]]:
    """(ifindex, name, IFLA_XDP) of every interface of the namespace."""
    for message in rtnetlink.request(RTM_GETLINK, struct.pack("=BxHiII", 0, 0, 0, 0, 0), NLM_F_DUMP):
        index = struct.unpack_from("=i", message.body, 4)[0]
        found = attributes(message.body[16:])
        name = found.get(IFLA_IFNAME, b"").rstrip(b"\0").decode(errors="replace")
        yield index, name, found.get(IFLA_XDP, b"")


def read_network(device: str | None = None) -> dict[str, list[dict[str, Any]]]:
    """Programs by kind of hook, as bpftool's ``net show`` in JSON; of one interface if it is named."""
    xdp: list[dict[str, Any]] = []
    ordered: list[dict[str, Any]] = []
    rtnetlink = NetlinkSocket()
    try:
        for index, name, settings in list(interfaces(rtnetlink)):
            if device is not None and name != device:
                continue
            where = {"devname": name, "ifindex": index}
            xdp += [where | row for row in _xdp(settings)]
            ordered += [where | row for row in _ordered(index)]
            ordered += [
                where | {"kind": f"clsact/{row.direction}", "name": row.name, "id": row.prog_id}
                for row in tc.filters(rtnetlink, index)
            ]
    finally:
        rtnetlink.close()
    return {"xdp": xdp, "tc": ordered, "flow_dissector": _flow_dissector(), "netfilter": _netfilter()}


def program_name(number: int) -> str:
    """The name of a program by its id; "" if it is gone."""
    try:
        with objects.open_id(Kind.PROGRAM, number) as fd:
            return bytes(objects.read_info(fd.number, ProgInfo()).name).decode(errors="replace")
    except BpfCallError:
        return ""


def _xdp(settings: bytes) -> list[dict[str, Any]]:
    found = attributes(settings)
    rows = [
        {"mode": mode, "id": int.from_bytes(found[kind], "little")}
        for kind, mode in _XDP_MODES.items()
        if kind in found and any(found[kind])
    ]
    if not rows and any(found.get(_IFLA_XDP_PROG_ID, b"")):
        mode = _ATTACHED.get(found.get(_IFLA_XDP_ATTACHED, b"\0")[0], "unknown")
        rows.append({"mode": mode, "id": int.from_bytes(found[_IFLA_XDP_PROG_ID], "little")})
    return rows


def _ordered(index: int) -> Iterator[dict[str, Any]]:
    for attach_type, kind in _ORDERED:
        try:
            found = links.query(index, attach_type)
        except BpfCallError:
            continue  # the kernel, or the interface, has no such hook
        for position, number in enumerate(found.programs):
            row: dict[str, Any] = {"kind": kind, "name": program_name(number), "prog_id": number}
            link = found.links[position] if position < len(found.links) else 0
            yield row | ({"link_id": link} if link else {})


def _flow_dissector() -> list[dict[str, Any]]:
    with opened_netns(None) as netns:
        try:
            found = links.query(netns, AttachType.FLOW_DISSECTOR)
        except BpfCallError:
            return []
    return [{"id": number} for number in found.programs]


def _netfilter() -> list[dict[str, Any]]:
    """Netfilter links; the kernel does not tell of which namespace they are."""
    return [
        {"pf": row["pf"], "hook": row["hook"], "prio": row["prio"], "prog_id": row["prog_id"]}
        for row in all_links()
        if row["type"] == "netfilter"
    ]
