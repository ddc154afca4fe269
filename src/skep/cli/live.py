"""Live packets on the command line: options, what is said before the start, an end by Ctrl-C that keeps the results."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from skep import hooks
from skep.cli.output import error_console
from skep.collection import Link, Program
from skep.diagnostics import Diagnostic
from skep.engine import PacketRun
from skep.errors import ClosedError, UsageError

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """Where live packets come from, as the command line says; ``iface`` and ``tap`` None: from nowhere."""

    iface: str | None = None
    tap: str | None = None
    peer: str | None = None
    xsk: bool = False
    queue: int = 0
    threads: int = 1
    flow: str = "in"
    promiscuous: bool = False
    transmit: bool = False

    @property
    def is_given(self) -> bool:
        """Whether live packets are wanted."""
        return self.iface is not None or self.tap is not None

    def hook(self, out: str | Path | hooks.PacketWriter | None) -> hooks.LiveHook:
        """The hook that these options describe.

        Raises:
            UsageError: U0350: options that do not go together.
        """
        if self.iface is not None and self.tap is not None:
            raise _conflict("--iface and --tap are two places", "give one; --peer names the other side of --tap")
        if self.peer is not None and self.tap is None and not self.xsk:
            raise _conflict(
                "--peer needs --tap or --xsk", "a packet socket sees copies: there is nothing to let through"
            )
        if self.tap is not None:
            return hooks.Tap(self.tap, peer=self.peer, out=out)
        if self.iface is None:
            raise _conflict("live packets need an interface", "give --iface or --tap")
        if self.xsk:
            return hooks.Xsk(self.iface, queue=self.queue, peer=self.peer, out=out)
        return hooks.PacketSocket(
            self.iface,
            threads=self.threads,
            direction=self.flow,
            promiscuous=self.promiscuous,
            transmit=self.transmit,
            out=out,
        )


def _conflict(what: str, advice: str) -> UsageError:
    return UsageError(Diagnostic("U0350", what, help=advice))


def live_options(function: F) -> F:
    """The options of :class:`LiveOptions`, as keyword arguments of the same names."""
    for option in (
        click.option("--transmit", is_flag=True, help="Send what XDP_TX and redirects say [packet sockets: counted]."),
        click.option("--promiscuous", is_flag=True, help="Also packets for other stations."),
        click.option("--flow", type=click.Choice(["in", "out", "both"]), default="in", help="Received, sent, or both."),
        click.option("--threads", type=int, default=1, show_default=True, help="Rings with a thread each."),
        click.option("--queue", type=int, default=0, help="Receive queue, with --xsk."),
        click.option("--xsk", is_flag=True, help="Take the packets of --iface away from the host (AF_XDP)."),
        click.option("--peer", metavar="IF", help="Interface where packets that pass come out (--tap, --xsk)."),
        click.option("--tap", metavar="NAME", help="Live packets of a TAP device, made if there is none."),
        click.option("--iface", metavar="IF", help="Live packets of an interface: copies, from a packet socket."),
    ):
        function = option(function)
    return function


def describe(hook: hooks.LiveHook) -> dict[str, str]:
    """Engine, what it guarantees, what it needs: said before anything starts."""
    place = {"PacketSocket": "packet socket on", "Tap": "TAP device", "Xsk": "AF_XDP socket on"}[type(hook).__name__]
    engine = f"vm (this process), {place} {hook.interface}"
    return {"engine": engine, "guarantee": hook.guarantee, "privileges": hook.privileges}


def announce(facts: Mapping[str, str]) -> None:
    """Print what :func:`describe` says, on standard error."""
    out = error_console()
    for name, text in facts.items():
        out.print(f"{name}: {text}", markup=False)


def announce_start() -> None:
    """Tell that packets are received from now on."""
    error_console().print("receiving; Ctrl-C ends it", style="dim")


@contextmanager
def stopped_by_signals(link: Link) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the run as a limit does: what was counted and written stays."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        with suppress(ClosedError):  # it ended by itself just now
            link.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_live(
    program: Program, hook: hooks.LiveHook, *, count: int, seconds: float, quiet: bool
) -> tuple[PacketRun, dict[str, Any]]:
    """Run a program on live packets until a limit, Ctrl-C or SIGTERM.

    Args:
        count: packets; 0: any number.
        seconds: 0: for ever.
        quiet: say nothing before.

    Returns:
        The result, and the same as JSON.
    """
    if not quiet:
        announce(describe(hook))
    with program.attach(hook) as link, stopped_by_signals(link):
        if not quiet:
            announce_start()
        done = link.run(duration=seconds or None, packets=count or None)
    return done, {
        "program": program.name,
        **describe(hook),
        "packets": done.packets,
        "bytes": done.bytes,
        "verdicts": dict(done.verdicts),
        "passed": done.passed,
        "lost": done.lost,
        "sent": done.sent,
        "not_sent": done.not_sent,
        "ended": done.ended,
        "seconds": round(done.seconds, 6),
    }
