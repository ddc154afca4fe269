"""Tables of functions that stand in for the kernel's (struct_ops): in Python, something to attach and to replace."""

from __future__ import annotations

from collections.abc import Mapping

from skep.collection.base import Map
from skep.collection.program import Link, Program
from skep.diagnostics import Diagnostic
from skep.engine import Engine, HasTables, MapHandle
from skep.errors import UsageError
from skep.model.hooks import StructOps
from skep.model.maps import MapSpec


class Table(Map):
    """A table: ``with obj.maps["my_congestion"].attach(): ...``.

    Attributes:
        programs: those that stand in for its members, by name.
        links: where it is in force (closed with the object).
    """

    def __init__(self, spec: MapSpec, handle: MapHandle, byte_order: str = "little") -> None:
        super().__init__(spec, handle, byte_order)
        self.programs: Mapping[str, Program] = {}
        self.links: list[Link] = []
        self._engine: Engine | None = None

    @property
    def engine(self) -> Engine | None:
        """Where it lives."""
        return self._engine

    def bind(self, programs: Mapping[str, Program], engine: Engine) -> None:
        """Tell it the programs that were loaded; part of loading an object."""
        named = {slot.target for slot in self.spec.slots}
        self.programs = {name: program for name, program in programs.items() if name in named}
        self._engine = engine
        if isinstance(engine, HasTables):
            engine.fill_table(self.handle, {name: program.handle for name, program in self.programs.items()})

    def attach(self) -> Link:
        """Put it into force. The link is closed with the object, or earlier by you; its update() takes another Table.

        Raises:
            MapError: M0128 the kernel does not take the table as it is.
            UsageError: U0314 it has no programs. EngineError: H03xx.
        """
        first = next(iter(self.programs.values()), None)
        if first is None or self._engine is None:
            what = f"table '{self.name}' has no programs to stand in for the kernel's"
            raise UsageError(Diagnostic("U0314", what, help="load the programs that it names, too"))
        hook = StructOps(self)
        link = Link(self._engine.attach(first.handle, hook), hook, self)
        self.links.append(link)
        return link

    def close(self) -> None:
        """Take it out of force and give it back; a second call does nothing."""
        links, self.links = self.links, []
        for link in links:
            link.close()
        super().close()
