"""What tools have in common that run until Ctrl-C and are spoken to meanwhile: firewall, lb."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import click

from skep import Link, hooks
from skep.cli.output import error_console, report
from skep.diagnostics import Diagnostic
from skep.errors import ClosedError, SkepError, UsageError
from skep.tools.control import ControlServer, ask, control_path

F = TypeVar("F", bound=Callable[..., Any])

TICK_SECONDS = 0.25


def where(function: F) -> F:
    """The options that name a tool that runs."""
    function = click.option("--control", type=click.Path(path_type=Path), metavar="SOCKET", help="Where it listens.")(
        function
    )
    return click.option("--iface", metavar="IF", help="The interface that it runs on.")(function)


def socket_of(tool: str, iface: str | None, control: Path | None) -> Path:
    """Where to ask.

    Raises:
        UsageError: neither an interface nor a socket was named.
    """
    if control is not None:
        return control
    if iface is None:
        raise UsageError(Diagnostic("F0405", f"say which {tool}", help="--iface IF, or --control SOCKET"))
    return control_path(tool, iface)


def ask_running(tool: str, iface: str | None, control: Path | None, **request: Any) -> Any:
    """Ask the tool that these options name; its answer."""
    return ask(tool, socket_of(tool, iface, control), **request)


def interface_number(interface: str) -> int:
    """The number of an interface of this network namespace.

    Raises:
        UsageError: F0401: there is none.
    """
    try:
        return socket.if_nametoindex(interface)
    except OSError:
        what = f"there is no interface '{interface}'"
        raise UsageError(Diagnostic("F0401", what, help="ip link lists them")) from None


@contextmanager
def in_background(link: Link) -> Iterator[Callable[[], bool]]:
    """Run a live hook in a thread; gives a function that says whether it still runs. Its error is raised at the end."""
    failed: list[BaseException] = []

    def body() -> None:
        try:
            link.run()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=body, name="packets")
    thread.start()
    try:
        yield thread.is_alive
    finally:
        with suppress(ClosedError):
            link.stop()
        thread.join()
    if failed:
        raise failed[0]


def serve(
    server: ControlServer,
    reload: Callable[[], str],
    is_running: Callable[[], bool],
    *,
    as_json: bool,
    tick: Callable[[], None] = lambda: None,
) -> None:
    """Until SIGINT or SIGTERM, or until packets end; SIGHUP calls ``reload``, whose sentence is printed.

    ``tick`` is called some times a second, in this thread: nobody else changes the tool meanwhile.
    """
    state = {"stop": False, "reload": False}
    before = {
        number: signal.signal(number, lambda *_, key=key: state.update({key: True}))
        for number, key in ((signal.SIGINT, "stop"), (signal.SIGTERM, "stop"), (signal.SIGHUP, "reload"))
    }
    try:
        while not state["stop"] and is_running():
            server.serve(TICK_SECONDS)
            tick()
            if state["reload"]:
                state["reload"] = False
                try:
                    error_console().print(reload(), markup=False)
                except SkepError as error:
                    report(error.diagnostics, as_json=as_json)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def vm_hook(interface: str, tap: str | None, *, transmit: bool = False) -> hooks.LiveHook:
    """Where the vm engine sees an interface's packets: a TAP device in front of it, or copies."""
    return hooks.PacketSocket(interface, transmit=transmit) if tap is None else hooks.Tap(tap, peer=interface)
