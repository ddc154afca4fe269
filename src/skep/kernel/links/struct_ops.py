"""struct_ops: a map whose value is a table of functions, put into force by a link (6.4; bpf_struct_ops.c)."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from skep.abi.prog_types import AttachType
from skep.diagnostics import Diagnostic
from skep.engine import ProgramHandle
from skep.errors import ClosedError, EngineError, UnsupportedError, UsageError
from skep.kernel.bpf import links
from skep.kernel.bpf.links import LinkRequest
from skep.kernel.fd import Fd
from skep.kernel.links.handle import Attached, KernelLink, Path_, name_of_program
from skep.kernel.links.places import Attachable, descriptor
from skep.kernel.links.refusals import explained
from skep.kernel.maps.tables import TableMap
from skep.model.hooks import StructOps


def attach_struct_ops(program: Attachable, hook: StructOps) -> Attached:
    """Put the map's table into force; ``program`` is one of its functions."""
    table = table_of(hook.map)
    if table is not None:
        table.register()
        if not table.has_link:
            return Registration(table, hook)
    with explained(hook, name_of_program(program)):
        return TableLink(links.create(LinkRequest(descriptor(hook.map, "map"), AttachType.STRUCT_OPS)), hook)


def table_of(thing: object) -> TableMap | None:
    """The table behind a live map; None for a bare descriptor."""
    inner = getattr(thing, "handle", thing)
    return inner if isinstance(inner, TableMap) else None


class TableLink(KernelLink):
    """A table in force. It is replaced as a whole, by another table of the same kind."""

    def update(self, program: ProgramHandle) -> None:
        """Put another table in its place (6.4); nobody meets a mixture of both.

        Args:
            program: the other table, whatever the name of the argument says: links of other kinds have programs.

        Raises:
            UsageError: H0354 it is no table with a link.
            EngineError: H0355 the kernel does not replace this kind of table, or it has another name.
        """
        table = table_of(program)
        if table is None or not table.has_link:
            raise UsageError(
                Diagnostic(
                    "H0354", "a table of functions can only be replaced by another table, as a whole",
                    help='give the map that holds it, of section SEC(".struct_ops.link")',
                )
            )  # fmt: skip
        table.register()
        try:
            links.update(self.fd.number, table.fd.number)
        except OSError as error:
            raise EngineError(
                Diagnostic(
                    "H0355", f"table '{table.spec.name}' cannot replace another: {os.strerror(error.errno or 0)}",
                    why=("the kernel replaces tables of some kinds only, and only one by one of the same name",),
                    help="detach the old one, then attach the new one", kernel=errno.errorcode.get(error.errno or 0),
                )
            ) from None  # fmt: skip
        self.hook = StructOps(table.fd)


class Registration:
    """A table of section ``.struct_ops``: in force as long as its map has its value; there is no link."""

    def __init__(self, table: TableMap, hook: StructOps) -> None:
        # A descriptor of our own: the map may be closed before us, and the table stays until its value is deleted.
        self._map: Fd | None = Fd(os.dup(table.fd.number), f"table {table.spec.name}")
        self._table = table
        self.hook = hook

    def update(self, program: ProgramHandle) -> None:
        """Not possible: UnsupportedError H0316."""
        raise self._no_link("replaced")

    def pin(self, path: Path_) -> None:
        """Not possible: UnsupportedError H0316."""
        raise self._no_link("pinned")

    def unpin(self, path: Path_ | None = None) -> None:
        """Nothing is pinned."""

    def info(self) -> Mapping[str, Any]:
        """There is no link to ask."""
        if self._map is None:
            raise ClosedError(Diagnostic("E0001", f"the link to {self.hook} is closed", help="attach it again"))
        return {"id": 0, "type": "none", "map_id": self._table.id}

    def detach(self) -> None:
        """The same as close()."""
        self.close()

    def close(self) -> None:
        """Take it out of force; a second call does nothing."""
        held, self._map = self._map, None
        if held is None:
            return
        try:
            with suppress(OSError):  # somebody else has taken it out
                self._table.unregister(held.number)
        finally:
            held.close()

    def _no_link(self, verb: str) -> UnsupportedError:
        return UnsupportedError(
            Diagnostic("H0316", f"{self.hook} cannot be {verb}", why=("it is in force without a bpf_link",),
                       help='put the table into SEC(".struct_ops.link") (Linux 6.4)')
        )  # fmt: skip
