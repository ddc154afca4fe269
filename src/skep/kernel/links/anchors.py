"""Positions among the programs of a hook: flags and fields of BPF_LINK_CREATE (kernel/bpf/mprog.c)."""

from __future__ import annotations

import struct

from skep.diagnostics import Diagnostic
from skep.errors import UsageError
from skep.kernel.bpf.links import F_AFTER, F_BEFORE, F_ID, F_LINK
from skep.kernel.links.places import descriptor
from skep.model.hooks import Anchor, Place

_PLACES = {Place.FIRST: F_BEFORE, Place.LAST: F_AFTER, Place.BEFORE: F_BEFORE, Place.AFTER: F_AFTER}


def encode_anchor(anchor: Anchor) -> tuple[int, bytes]:
    """(flags, tail) of BPF_LINK_CREATE for a position.

    Raises:
        UsageError: H0319, BEFORE or AFTER needs one neighbour, the others have none.
    """
    place = Place(anchor.place)
    neighbours = [thing for thing in (anchor.link, anchor.program) if thing is not None]
    if len(neighbours) != (place in (Place.BEFORE, Place.AFTER)):
        raise UsageError(
            Diagnostic(
                "H0319",
                f"an anchor '{place}' with {len(neighbours)} neighbours",
                help="BEFORE and AFTER need link= or program=; FIRST and LAST neither",
            )
        )
    flags, relative = _PLACES[place], 0
    if neighbours:
        thing = neighbours[0]
        flags |= F_LINK if anchor.link is not None else 0
        if isinstance(thing, int):
            flags |= F_ID
            relative = thing
        else:
            relative = descriptor(thing, "link or program")
    return flags, struct.pack("=IxxxxQ", relative, anchor.revision)
