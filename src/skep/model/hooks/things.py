"""Words that several hooks use: open things, interfaces, network namespaces."""

from __future__ import annotations

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
