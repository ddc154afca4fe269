"""Where a program can sit. A hook is data: engines know how to attach to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Pcap:
    """Every packet of a capture file (pcap or pcapng, plain or gzip), in order.

    Attributes:
        path: the capture to read.
        out: where to write the packets that pass (None: nowhere). Written whole or not at all.
        ifindex: what ``ctx->ingress_ifindex`` says.
        clock: what ``bpf_ktime_get_ns()`` says: ``host`` this machine's clock, ``capture`` the packet's own time, so that
            programs that measure time (rate limiters) see the capture as it happened.
    """

    path: str | Path
    out: str | Path | None = None
    ifindex: int = 1
    clock: str = "host"


Hook = Pcap
