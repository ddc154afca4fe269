"""Packets that the vm sees: capture files, packet sockets, TAP devices, AF_XDP."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from skep.model.hooks.things import Interface, OpenThing


class PacketWriter(Protocol):
    """Takes packets that pass, many at a time, as whole Enhanced Packet Blocks of a pcapng (interface 0, nanoseconds).

    Calls come from one thread at a time. What is written around the blocks, and when the file ends, is the writer's.

    Attributes:
        snaplen: bytes of each packet to keep; 0: all.
    """

    snaplen: int

    def room(self) -> int:
        """How many bytes may come before write() must be called; one packet more may come with them."""

    def write(self, blocks: memoryview, link_type: int) -> None:
        """Take blocks, little-endian; the memory is used again afterwards."""


@dataclass(frozen=True, slots=True)
class Pcap:
    """Every packet of a capture file (pcap or pcapng, plain or gzip), in order.

    Attributes:
        path: the capture to read.
        out: where to write the packets that pass (None: nowhere). A file is written whole or not at all.
        ifindex: what ``ctx->ingress_ifindex`` says.
        clock: what ``bpf_ktime_get_ns()`` says: ``host`` this machine's clock, ``capture`` the packet's own time, so
            that programs that measure time (rate limiters) see the capture as it happened.
    """

    path: str | Path
    out: str | Path | PacketWriter | None = None
    ifindex: int = 1
    clock: str = "host"


@dataclass(frozen=True, slots=True)
class PacketSocket:
    """Copies of an interface's packets, from a packet socket's ring (TPACKET_V3, Linux 3.2); the vm runs the program.

    VLAN tags are in the packet. Frames may be larger than the MTU and their checksums unfinished, where the host leaves
    that to the card.

    Attributes:
        threads: rings, each with a thread and a program of its own; a flow stays with one.
        direction: ``in``, ``out`` or ``both``.
        promiscuous: also packets for other stations.
        transmit: send what the verdict sends: XDP_TX, XDP_REDIRECT, TC_ACT_REDIRECT. Otherwise they are only counted.
        out: as for :class:`Pcap`.
        ring_bytes: of each ring.
        timeout_ms: how long the kernel keeps a block of the ring that is not full.
        fanout: how packets are spread over threads: ``hash`` (flow), ``cpu``, ``queue``, ``balance``.
        in_kernel: a socket filter of the kernel engine that sees packets first: what it drops never gets into the ring,
            is not copied and not counted (SO_ATTACH_BPF, Linux 3.19).
    """

    interface: Interface
    threads: int = 1
    direction: str = "in"
    promiscuous: bool = False
    transmit: bool = False
    out: str | Path | PacketWriter | None = None
    ring_bytes: int = 8 << 20
    timeout_ms: int = 10
    fanout: str = "hash"
    in_kernel: OpenThing | None = None

    @property
    def guarantee(self) -> str:
        """What the program's verdicts can do here."""
        sent = "XDP_TX and redirects are sent" if self.transmit else "XDP_TX and redirects are counted, not sent"
        lost = "what comes while the ring is full is lost, and counted"
        return f"the program sees copies: DROP does not stop a packet for the host; {sent}; {lost}"

    @property
    def privileges(self) -> str:
        """What the process needs."""
        return "CAP_NET_RAW in the user namespace of the network namespace"


@dataclass(frozen=True, slots=True)
class Tap:
    """A TAP device: what the host sends into it. It is made if there is none, and then goes with the link (2.4).

    Attributes:
        interface: its name; "" lets the kernel choose.
        peer: where packets that pass come out: another Tap, or an interface (a packet socket on it, promiscuous).
            Packets from the peer run through the program, too, and come out here: a filter between the two. None: they
            come out nowhere.
        transmit: also send XDP_TX and redirects.
        out: as for :class:`Pcap`.
    """

    interface: str = ""
    peer: Tap | Interface | None = None
    transmit: bool = True
    out: str | Path | PacketWriter | None = None

    @property
    def guarantee(self) -> str:
        """What the program's verdicts can do here."""
        if self.peer is None:
            return "packets end here: no verdict lets one go on"
        kept = (
            "" if isinstance(self.peer, Tap) else "; the host of the peer interface also keeps what it received there"
        )
        return f"only packets that pass come out at the other side: DROP stops a packet{kept}"

    @property
    def privileges(self) -> str:
        """What the process needs."""
        return "CAP_NET_ADMIN in the user namespace of the network namespace, and access to /dev/net/tun"


@dataclass(frozen=True, slots=True)
class Xsk:
    """Packets of a receive queue, taken away from the host through an AF_XDP socket (4.18); the vm runs the program.

    A small program of skep's, attached at the interface's XDP hook, sends all packets of the queue here.

    Attributes:
        peer: the interface where packets that pass come out (a packet socket); None: nowhere, they end here.
        transmit: also send XDP_TX and redirects.
        generic: attach in generic mode, for drivers without XDP.
        frames: of the socket's memory, 4096 bytes each; a power of two.
    """

    interface: Interface
    queue: int = 0
    peer: Interface | None = None
    transmit: bool = True
    generic: bool = False
    out: str | Path | PacketWriter | None = None
    frames: int = 4096

    @property
    def guarantee(self) -> str:
        """What the program's verdicts can do here."""
        passing = "end here" if self.peer is None else f"come out at {self.peer}"
        return f"the queue's packets are taken away from the host: those that pass {passing}, DROP stops a packet"

    @property
    def privileges(self) -> str:
        """What the process needs."""
        return "CAP_NET_RAW, and CAP_BPF and CAP_NET_ADMIN (of the whole system) for the XDP program"


LiveHook = PacketSocket | Tap | Xsk
