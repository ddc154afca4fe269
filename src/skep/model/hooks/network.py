"""Attach points of the kernel on network interfaces and in its packet path."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from skep.model.hooks.things import HasHandle, Interface, Netns


class XdpMode(StrEnum):
    """Where XDP runs: in the driver, in the network stack, in the card, or the best that there is."""

    AUTO = "auto"
    NATIVE = "native"
    GENERIC = "generic"
    OFFLOAD = "offload"


class Direction(StrEnum):
    """The way of a packet, seen from the interface."""

    INGRESS = "ingress"
    EGRESS = "egress"


@dataclass(frozen=True, slots=True)
class Xdp:
    """Every packet that an interface receives, before the stack (Linux 4.8; as a link 5.9).

    Attributes:
        netns: the network namespace of the interface (None: the caller's).
    """

    interface: Interface
    mode: XdpMode = XdpMode.AUTO
    netns: Netns | None = None


class Place(StrEnum):
    """Where in the order of a hook's programs."""

    FIRST = "first"
    LAST = "last"
    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True, slots=True)
class Anchor:
    """A position among the programs of a tcx, netkit or (since 6.17) cgroup hook.

    Attributes:
        link, program: for BEFORE and AFTER, relative to which: the live thing, or its kernel id as a number.
        revision: fail (ESTALE) unless the hook's revision is still this one; 0: do not care.
    """

    place: Place = Place.LAST
    link: HasHandle | int | None = None
    program: HasHandle | int | None = None
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Tcx:
    """Packets at traffic control of an interface, as a link (6.6)."""

    interface: Interface
    direction: Direction = Direction.INGRESS
    anchor: Anchor = Anchor()
    netns: Netns | None = None


@dataclass(frozen=True, slots=True)
class TcClassic:
    """Packets at traffic control through a clsact qdisc and a ``bpf`` filter in direct-action mode (4.5).

    For kernels before 6.6. The kernel has no link for it: it stays when the process is killed.

    Attributes:
        priority, filter_handle: of the filter; 0: the kernel chooses.
    """

    interface: Interface
    direction: Direction = Direction.INGRESS
    priority: int = 0
    filter_handle: int = 0
    netns: Netns | None = None


@dataclass(frozen=True, slots=True)
class Netkit:
    """Packets of a netkit device (6.7). ``peer``: those that the peer sends; attached through the primary device."""

    interface: Interface
    peer: bool = False
    anchor: Anchor = Anchor()
    netns: Netns | None = None


@dataclass(frozen=True, slots=True)
class Netfilter:
    """A netfilter hook of a network namespace (6.4).

    Attributes:
        family: ``ipv4`` or ``ipv6``.
        hook: ``prerouting``, ``input``, ``forward``, ``output`` or ``postrouting``.
        priority: lower runs earlier; two programs cannot have the same.
        defragment: give the program whole packets (6.6).
    """

    family: str = "ipv4"
    hook: str = "prerouting"
    priority: int = -128
    defragment: bool = False
    netns: Netns | None = None
