"""One capture: a program decides, a writer takes what passes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from skep.collection import Link, Program
from skep.diagnostics import Diagnostic
from skep.engine import PacketRun
from skep.errors import UnsupportedError
from skep.frontend.pcap import LINK_NUMBERS, LinkLayer, compile_expression, translate
from skep.model.hooks import Interface, LiveHook, Pcap
from skep.model.objects import ObjectSpec
from skep.tools.capture.files import CaptureFiles

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class CaptureResult:
    """What a capture did: the run, and the files that were written."""

    run: PacketRun
    files: tuple[Path, ...]


def interface_layer(interface: Interface) -> LinkLayer:
    """What packets of an interface start with.

    Raises:
        UsageError, UnsupportedError: H0601: no such interface; H0602, H0413: packets that filters cannot read.
    """
    if sys.platform != "linux":
        what = f"there are no live packets on {sys.platform}"
        raise UnsupportedError(Diagnostic("H0613", what, help="capture them elsewhere, and give the file with --pcap"))
    from skep.vm.hooks.interfaces import find_device  # it can only be imported where there are such interfaces

    number = find_device(interface).link_type
    if number not in LINK_NUMBERS:
        raise UnsupportedError(Diagnostic("H0413", f"no filters are compiled for packets of link type {number}"))
    return LINK_NUMBERS[number]


def expression_spec(expression: str, layer: LinkLayer = LinkLayer.ETHERNET) -> ObjectSpec:
    """A pcap-filter(7) expression as a program; "" matches every packet.

    Raises:
        CompileError, UnsupportedError: H04xx: what is wrong with it, and where.
    """
    return translate(compile_expression(expression, link=layer))


def accept_all() -> ObjectSpec:
    """The program that lets every packet pass."""
    return expression_spec("")


def statistics_of(link: Link) -> Callable[[], tuple[int, int, int]]:
    """For CaptureFiles.counts: packets seen, lost, and passed, of a live link so far."""

    def ask() -> tuple[int, int, int]:
        now = link.status()
        return now.packets, now.lost, now.passed

    return ask


def capture(
    program: Program,
    hook: LiveHook | Pcap,
    writer: CaptureFiles | None = None,
    *,
    count: int | None = None,
    duration: float | None = None,
    progress: Progress | None = None,
    started: Callable[[Link], None] | None = None,
) -> CaptureResult:
    """Run a program on a hook whose ``out`` is ``writer``, until a limit or, for a capture file, its end.

    Args:
        count: packets that pass.
        duration: seconds; live hooks only.
        started: told the link as soon as packets are received, e.g. to stop() it later.
    """
    with program.attach(hook) as link:
        if started is not None:
            started(link)
        if isinstance(hook, Pcap):
            run = link.run(progress, passed=count)
        else:
            if writer is not None:
                writer.counts = statistics_of(link)
            run = link.run(progress, duration=duration, passed=count)
    if writer is None:
        return CaptureResult(run, ())
    final: Mapping[str, int] = {"seen": run.packets, "lost": run.lost, "passed": run.passed}
    writer.counts = lambda: (final["seen"], final["lost"], final["passed"])
    writer.close()
    return CaptureResult(run, tuple(writer.files))
