"""Objects of the kernel by their ids: one, or all of a kind; and what every object's row ends with."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from typing import Any, Final

from skep.diagnostics import Diagnostic
from skep.errors import EngineError
from skep.kernel.bpf import objects
from skep.kernel.bpf.call import BpfCallError
from skep.kernel.bpf.objects import Kind
from skep.kernel.fd import Fd
from skep.kernel.inspect.owners import Owner
from skep.kernel.refusals import not_permitted

#: What a kind is called in messages, and the verb of the command line that lists all of it.
_WORDS: Final = {Kind.PROGRAM: ("program", "prog"), Kind.MAP: ("map", "map")}


def open_by_id(kind: Kind, number: int) -> Fd:
    """A program or map by id.

    Raises:
        EngineError: E0241 there is none, or we may not open it.
    """
    noun, verb = _WORDS[kind]
    try:
        return objects.open_id(kind, number)
    except BpfCallError as error:
        if error.number == errno.EPERM:
            raise EngineError(not_permitted(f"{noun} {number} cannot be opened", None, administer=True)) from None
        what = f"there is no {noun} with id {number}: {error.reason}"
        raise EngineError(Diagnostic("E0241", what, help=f"skep {verb} show lists all")) from None


def open_all(kind: Kind) -> Iterator[Fd]:
    """Every object of a kind; its descriptor is closed after each step."""
    for number in objects.ids(kind):
        try:
            fd = objects.open_id(kind, number)
        except BpfCallError:
            continue  # gone meanwhile
        with fd:
            yield fd


def row_end(btf_id: int, pinned: Sequence[str] | None, owners: Sequence[Owner]) -> dict[str, Any]:
    """The last fields of a row, where there is something to say: types, pins, processes that hold it."""
    row: dict[str, Any] = {}
    if btf_id:
        row["btf_id"] = btf_id
    if pinned:
        row["pinned"] = pinned
    if owners:
        row["pids"] = [{"pid": owner.pid, "comm": owner.comm} for owner in owners]
    return row
