"""Where a program can sit. A hook is data: engines know how to attach to it.

The vm has :class:`Pcap`, :class:`PacketSocket`, :class:`Tap` and :class:`Xsk`; all others are places in Linux.

A place that Python holds open (a socket, a map, a program, a link) is given as it is: anything with ``fileno()``, a
skep Map, Program or Link, or a descriptor's number.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol


class HasFileno(Protocol):
    """Something that is open: a socket, a file."""

    def fileno(self) -> int:
        """Its descriptor."""


class HasHandle(Protocol):
    """A live skep Map, Program or Link."""

    @property
    def handle(self) -> object:
        """The engine's side of it."""


OpenThing = int | HasFileno | HasHandle
Interface = str | int  # a name, or an ifindex
Netns = str | Path | int  # /run/netns/NAME, /proc/PID/ns/net, or a descriptor of one


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


@dataclass(frozen=True, slots=True)
class Tracepoint:
    """A tracepoint by category and name, with its record as context (4.7; link and cookie 5.15)."""

    category: str
    name: str
    cookie: int = 0


@dataclass(frozen=True, slots=True)
class RawTracepoint:
    """A tracepoint with its raw arguments (4.17; cookie 6.10)."""

    name: str
    cookie: int = 0


@dataclass(frozen=True, slots=True)
class TpBtf:
    """A tracepoint with typed arguments (5.5). Which one was settled when the program was loaded."""

    cookie: int = 0


@dataclass(frozen=True, slots=True)
class Kprobe:
    """An instruction of a kernel function (4.1; through perf events 4.17). ``function`` may be 0x... : an address."""

    function: str
    offset: int = 0
    cookie: int = 0


@dataclass(frozen=True, slots=True)
class Kretprobe:
    """The return of a kernel function."""

    function: str
    cookie: int = 0


@dataclass(frozen=True, slots=True)
class KprobeMulti:
    """Many kernel functions by one link (5.18).

    Attributes:
        functions: names, or patterns with ``*`` and ``?``.
        returning: at their return instead of their entry.
    """

    functions: tuple[str, ...]
    returning: bool = False
    cookies: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Ksyscall:
    """The kernel's function behind a system call, whatever this architecture calls it: ``Ksyscall("openat")``."""

    name: str
    returning: bool = False
    cookie: int = 0


@dataclass(frozen=True, slots=True)
class Uprobe:
    """An instruction of a program or shared library (4.1; through perf events 4.17).

    Attributes:
        path: the file; a bare name is looked for as the shell and the dynamic linker would.
        symbol: a function of it; "": ``offset`` counts from the start of the file.
        offset: bytes from the symbol.
        pid: only this process; None: all.
    """

    path: str | Path
    symbol: str = ""
    offset: int = 0
    pid: int | None = None
    cookie: int = 0
    semaphore: int = 0  # file offset of a counter that the kernel raises while attached (ref_ctr_offset, 4.20)


@dataclass(frozen=True, slots=True)
class Uretprobe:
    """The return of a function of a program or shared library; as :class:`Uprobe`."""

    path: str | Path
    symbol: str = ""
    offset: int = 0
    pid: int | None = None
    cookie: int = 0


@dataclass(frozen=True, slots=True)
class UprobeMulti:
    """Many functions of one file by one link (6.6).

    Attributes:
        symbols: names, or patterns with ``*`` and ``?``.
        offsets: places in the file, instead of symbols.
        returning: at their return.
    """

    path: str | Path
    symbols: tuple[str, ...] = ()
    offsets: tuple[int, ...] = ()
    returning: bool = False
    pid: int | None = None
    cookies: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Usdt:
    """A static probe that the authors of a program put there (DTRACE_PROBE, STAP_PROBE, sys/sdt.h)."""

    path: str | Path
    provider: str
    name: str
    pid: int | None = None
    cookie: int = 0


@dataclass(frozen=True, slots=True)
class PerfEvent:
    """Samples of a perf event (4.9): the program runs every ``period`` events or ``frequency`` times a second.

    Attributes:
        event: ``cpu-clock``, ``task-clock``, ``page-faults``, ``context-switches``, ``cpu-migrations``, ``cycles``,
            ``instructions``, ``cache-references``, ``cache-misses``, ``branches``, ``branch-misses``.
        pid: only this process; None: all, on ``cpus`` (None: on every online one).
    """

    event: str = "cpu-clock"
    frequency: int = 0
    period: int = 0
    pid: int | None = None
    cpus: tuple[int, ...] | None = None
    cookie: int = 0


@dataclass(frozen=True, slots=True)
class Fentry:
    """The entry of a kernel function or BPF program (5.5). Which one was settled when the program was loaded."""

    cookie: int = 0


@dataclass(frozen=True, slots=True)
class Fexit:
    """The return of a kernel function or BPF program, with its arguments (5.5)."""

    cookie: int = 0


@dataclass(frozen=True, slots=True)
class FmodRet:
    """A kernel function whose result may be replaced (5.7)."""

    cookie: int = 0


@dataclass(frozen=True, slots=True)
class Freplace:
    """A function of another loaded program, replaced by this one (5.6).

    Attributes:
        program, function: another target than the one the program was loaded for (5.10); None: that one.
    """

    program: OpenThing | None = None
    function: str = ""


@dataclass(frozen=True, slots=True)
class Lsm:
    """A security hook for the whole system (5.7)."""

    cookie: int = 0


@dataclass(frozen=True, slots=True)
class Iter:
    """An iterator: the program runs for each task, map element, cgroup, ... when the link is read (5.8).

    Attributes:
        map: for ``bpf_map_elem`` and ``bpf_sk_storage_map``: whose elements.
        pid, tid: for ``task*``: only this process, or this thread (6.1).
        cgroup: for ``cgroup``: the folder to start at (6.1); ``order`` one of ``self``, ``descendants_pre``,
            ``descendants_post``, ``ancestors_up``.
    """

    map: OpenThing | None = None
    pid: int | None = None
    tid: int | None = None
    cgroup: str | Path | int | None = None
    order: str = "descendants_pre"


@dataclass(frozen=True, slots=True)
class StructOps:
    """A table of functions that the kernel calls, such as a congestion control (5.6; link 6.4): a struct_ops map."""

    map: OpenThing


Hook = (
    Pcap
    | PacketSocket
    | Tap
    | Xsk
    | Xdp
    | Tcx
    | TcClassic
    | Netkit
    | Cgroup
    | SockOps
    | LsmCgroup
    | SocketFilter
    | SkReuseport
    | SkMsg
    | SkSkb
    | SkLookup
    | FlowDissector
    | Netfilter
    | Tracepoint
    | RawTracepoint
    | TpBtf
    | Kprobe
    | Kretprobe
    | KprobeMulti
    | Ksyscall
    | Uprobe
    | Uretprobe
    | UprobeMulti
    | Usdt
    | PerfEvent
    | Fentry
    | Fexit
    | FmodRet
    | Freplace
    | Lsm
    | Iter
    | StructOps
)
