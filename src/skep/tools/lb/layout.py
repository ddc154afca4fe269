"""The bytes of the maps: structs of lb.h. Sizes are checked against the program's types in the tests."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from skep.tools.lb.config import Address, Backend, Config, Forward, FragmentPolicy, Service, State
from skep.tools.lb.maglev import TABLE

U32 = struct.Struct("=I")
SETTINGS = struct.Struct("=4I16s4s2H6Q")
SERVICE_KEY = struct.Struct("=16sH2B")
SERVICE = struct.Struct("=3I")
VIP = struct.Struct("=16sI")
BACKEND = struct.Struct("=16s6s6sH2B4I")
ORIGIN = struct.Struct("=16s2H")
CONNECTION = struct.Struct("=Q4I6s6sI")
DECISION = struct.Struct("=16s16s2H4B2I")
TABLE_ENTRIES = struct.Struct(f"={TABLE + 1}H")

NO_TABLE = 0xFFFFFFFF
HAS_NAT = 1
BY_SOURCE = 1
TRAFFIC_FIELDS = 5
FRAGMENTS: Mapping[FragmentPolicy, int] = {
    FragmentPolicy.TRACK: 0,
    FragmentPolicy.DROP: 1,
    FragmentPolicy.PASS: 2,
}
_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Device:
    """An interface: its number and its hardware address."""

    number: int
    mac: bytes


def mapped(address: Address) -> bytes:
    """16 bytes; IPv4 as ::ffff:a.b.c.d."""
    return bytes(10) + b"\xff\xff" + address.packed if address.version == 4 else address.packed


def settings(config: Config) -> bytes:
    """struct settings."""
    has_nat = any(service.forward is Forward.NAT for service in config.services)
    times = (config.timeouts[name] * _SECOND for name in ("tcp_opening", "tcp", "tcp_closing", "udp", "fragment"))
    return SETTINGS.pack(
        1,
        HAS_NAT if has_nat else 0,
        FRAGMENTS[config.fragments],
        config.mtu,
        config.source6.packed if config.source6 else b"",
        config.source4.packed if config.source4 else b"",
        config.gue_port,
        0,
        *times,
        # Spread over 64 bits: the program mixes it with the flow word by word.
        (config.seed + 1) * 0x9E3779B97F4A7C15 & (1 << 64) - 1,
    )


def service_key(service: Service) -> bytes:
    """struct service_key."""
    return SERVICE_KEY.pack(mapped(service.address), service.port, service.protocol, service.address.version)


def service(number: int, made: Service, table: int) -> bytes:
    """struct service."""
    return SERVICE.pack(number, BY_SOURCE if made.by_source else 0, table)


def vip(address: Address) -> bytes:
    """struct vip."""
    return VIP.pack(mapped(address), address.version)


def backend(
    made: Backend, forward: Forward, state: State, generation: int, number: int, devices: Mapping[str, Device]
) -> bytes:
    """struct backend; ``number``: of its service."""
    device = devices[made.interface] if made.interface else Device(0, b"")
    return BACKEND.pack(
        mapped(made.address),
        made.mac,
        device.mac,
        made.port,
        made.address.version,
        forward,
        device.number,
        state,
        generation,
        number,
    )


def origin_key(made: Backend, protocol: int) -> bytes:
    """struct origin_key."""
    return SERVICE_KEY.pack(mapped(made.address), made.port, protocol, made.address.version)


def origin(made: Service) -> bytes:
    """struct origin."""
    return ORIGIN.pack(mapped(made.address), made.port, 0)
