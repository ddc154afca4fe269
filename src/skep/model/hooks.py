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
    """

    path: str | Path
    out: str | Path | None = None
    ifindex: int = 1


Hook = Pcap
