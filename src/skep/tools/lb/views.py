"""What there is to see of a load balancer that runs, as plain values."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from skep.tools.counters import Count, sum_count, sum_fields
from skep.tools.lb import layout
from skep.tools.lb.layout import U32
from skep.tools.lb.maglev import TABLE
from skep.tools.lb.records import Member, Records, Running
from skep.tools.names import protocol_name

_TRAFFIC = ("packets", "bytes", "opened", "replies", "reply_bytes")
_SECOND = 1_000_000_000


def view_services(records: Records, running: Iterable[Running], timeouts: Mapping[str, int]) -> list[dict[str, Any]]:
    """Services and backends with states, counters and live connections."""
    live = live_connections(records, timeouts)
    return [
        {
            "name": each.service.name,
            "vip": str(each.service.address),
            "proto": protocol_name(each.service.protocol),
            "port": each.service.port,
            "forward": each.service.forward.name.lower(),
            "backends": [_member(records, member, live) for member in each.members.values()],
        }
        for each in running
    ]


def _member(records: Records, member: Member, live: Mapping[tuple[int, int], int]) -> dict[str, Any]:
    counters = sum_fields(records.handle("traffics").lookup(U32.pack(member.number)), layout.TRAFFIC_FIELDS)
    return {
        "name": member.backend.name,
        "weight": member.backend.weight,
        "state": member.state.name.lower(),
        "connections": live.get((member.number, member.generation), 0),
        **dict(zip(_TRAFFIC, counters, strict=True)),
    }


def live_connections(records: Records, timeouts: Mapping[str, int]) -> dict[tuple[int, int], int]:
    """Connections that have not timed out, by a backend's number and generation."""
    now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    found: dict[tuple[int, int], int] = {}
    for name, seconds in (("connections", timeouts["tcp"]), ("openings", timeouts["tcp_opening"])):
        for _, (seen, number, generation, *_) in records.connections(name):
            if now - seen <= seconds * _SECOND:
                found[number, generation] = found.get((number, generation), 0) + 1
    return found


def view_shares(records: Records, running: Running) -> dict[str, float]:
    """The share of all new connections that each backend of a service gets, 0 to 1."""
    counted = dict.fromkeys(running.members, 0)
    names = {member.number: name for name, member in running.members.items()}
    if running.side is not None:
        raw = records.handle("tables").lookup(U32.pack(2 * running.number + running.side)) or b""
        for number in layout.TABLE_ENTRIES.unpack(raw[: layout.TABLE_ENTRIES.size])[:TABLE]:
            counted[names[number]] += 1
    return {name: count / TABLE for name, count in counted.items()}


def view_reasons(records: Records, names: Iterable[str], first: int) -> dict[str, Count]:
    """Counters of enum reason from ``first`` on, for what there was."""
    handle = records.handle("reasons")
    found = {name: sum_count(handle.lookup(U32.pack(n))) for n, name in enumerate(names, first)}
    return {name: count for name, count in found.items() if count.packets}
