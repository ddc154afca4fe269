"""One filter over one capture, on the vm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import skep
from skep.engine import PacketRun
from skep.frontend.pcap import ClassicProgram, LinkLayer, translate
from skep.isa.classic.listing import parse


@dataclass(frozen=True, slots=True)
class FilterRun:
    """What a filter found.

    Attributes:
        matched: packets that it keeps.
        bytes: captured bytes that went in.
        seconds: reading, filtering and writing; without compiling.
    """

    packets: int
    matched: int
    bytes: int
    seconds: float


def read_classic(text: str, name: str = "<filter>", link: LinkLayer | None = None) -> ClassicProgram:
    """A program from the output of ``tcpdump -d``, ``-dd`` or ``-ddd``.

    Raises:
        InputError: H0504: not such a listing; H0501: not a legal program.
    """
    return ClassicProgram(parse(text, name), link)


def run_filter(
    program: ClassicProgram,
    pcap: str | Path,
    out: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FilterRun:
    """Translate, verify and compile a filter, and run it over every packet of a capture.

    Args:
        program: for the capture's link type.
        pcap: pcap or pcapng, plain or gzip.
        out: where to write the packets that match (None: nowhere); all of them or no file at all.
        progress: told (bytes done, bytes in all).

    Raises:
        CaptureError: the capture is broken, or its packets are of several link types.
    """
    with skep.load(translate(program)) as live:
        (name,) = live.programs
        with live.programs[name].attach(skep.hooks.Pcap(pcap, out=out)) as link:
            done: PacketRun = link.run(progress)
    return FilterRun(done.packets, done.passed, done.bytes, done.seconds)
