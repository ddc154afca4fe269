"""Attach points of the kernel on cgroups and sockets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from skep.model.hooks.network import Anchor
from skep.model.hooks.things import Netns, OpenThing


@dataclass(frozen=True, slots=True)
class Cgroup:
    """What the processes of a cgroup (v2) and of those below do: sockets, packets, devices, sysctls (4.10; link 5.7).

    Attributes:
        path: the cgroup's folder, or a descriptor of it.
        attach_type: e.g. ``cgroup_inet4_connect``; None: what the program's section says.
    """

    path: str | Path | int
    attach_type: str | None = None
    anchor: Anchor | None = None


@dataclass(frozen=True, slots=True)
class SockOps:
    """TCP events of the sockets of a cgroup (4.13)."""

    path: str | Path | int


@dataclass(frozen=True, slots=True)
class LsmCgroup:
    """A security hook, for the processes of a cgroup (6.0)."""

    path: str | Path | int


@dataclass(frozen=True, slots=True)
class SocketFilter:
    """What one socket receives: the program returns how many bytes to keep (3.19)."""

    socket: OpenThing


@dataclass(frozen=True, slots=True)
class SkReuseport:
    """Which socket of a SO_REUSEPORT group gets a connection or datagram (4.19). ``socket``: one of the group."""

    socket: OpenThing


@dataclass(frozen=True, slots=True)
class SkMsg:
    """Messages that the sockets of a sockmap or sockhash send (4.17; link 6.10).

    Sockets keep the program that was there when they came into the map: a replacement holds for those that follow.
    """

    map: OpenThing


@dataclass(frozen=True, slots=True)
class SkSkb:
    """Data that the sockets of a sockmap or sockhash receive (4.14; link 6.10); programs as for :class:`SkMsg`.

    Attributes:
        attach_type: ``sk_skb_stream_parser``, ``sk_skb_stream_verdict``, ``sk_skb_verdict``; None: as the section says.
    """

    map: OpenThing
    attach_type: str | None = None


@dataclass(frozen=True, slots=True)
class SkLookup:
    """Which socket gets a packet, for a network namespace (5.9). None: the caller's."""

    netns: Netns | None = None


@dataclass(frozen=True, slots=True)
class FlowDissector:
    """How packets are taken apart into flow keys, for a network namespace (4.20; link 5.7). None: the caller's."""

    netns: Netns | None = None
