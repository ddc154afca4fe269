"""Where a program can sit. A hook is data: engines know how to attach to it.

The vm has :class:`Pcap`, :class:`PacketSocket`, :class:`Tap` and :class:`Xsk`; all others are places in Linux.

A place that Python holds open (a socket, a map, a program, a link) is given as it is: anything with ``fileno()``, a
skep Map, Program or Link, or a descriptor's number.
"""

from __future__ import annotations

from skep.model.hooks.functions import Fentry, Fexit, FmodRet, Freplace, Iter, Lsm, StructOps
from skep.model.hooks.network import Anchor, Direction, Netfilter, Netkit, Place, TcClassic, Tcx, Xdp, XdpMode
from skep.model.hooks.packets import LiveHook, PacketSocket, PacketWriter, Pcap, Tap, Xsk
from skep.model.hooks.sockets import (
    Cgroup,
    FlowDissector,
    LsmCgroup,
    SkLookup,
    SkMsg,
    SkReuseport,
    SkSkb,
    SocketFilter,
    SockOps,
)
from skep.model.hooks.things import HasFileno, HasHandle, Interface, Netns, OpenThing
from skep.model.hooks.tracing import (
    Kprobe,
    KprobeMulti,
    Kretprobe,
    Ksyscall,
    PerfEvent,
    RawTracepoint,
    TpBtf,
    Tracepoint,
    Uprobe,
    UprobeMulti,
    Uretprobe,
    Usdt,
)

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

__all__ = [
    "Anchor",
    "Cgroup",
    "Direction",
    "Fentry",
    "Fexit",
    "FlowDissector",
    "FmodRet",
    "Freplace",
    "HasFileno",
    "HasHandle",
    "Hook",
    "Interface",
    "Iter",
    "Kprobe",
    "KprobeMulti",
    "Kretprobe",
    "Ksyscall",
    "LiveHook",
    "Lsm",
    "LsmCgroup",
    "Netfilter",
    "Netkit",
    "Netns",
    "OpenThing",
    "PacketSocket",
    "PacketWriter",
    "Pcap",
    "PerfEvent",
    "Place",
    "RawTracepoint",
    "SkLookup",
    "SkMsg",
    "SkReuseport",
    "SkSkb",
    "SockOps",
    "SocketFilter",
    "StructOps",
    "Tap",
    "TcClassic",
    "Tcx",
    "TpBtf",
    "Tracepoint",
    "Uprobe",
    "UprobeMulti",
    "Uretprobe",
    "Usdt",
    "Xdp",
    "XdpMode",
    "Xsk",
]
