"""Messages about dynptrs."""

from __future__ import annotations

from skep.verifier.explain.entry import Entry
from skep.verifier.requirements.kinds import Rule

ENTRIES = (
    Entry(
        "V0851",
        Rule.DYNPTR_PLACE,
        "no dynptr can be made here",
        ("no dynptr can be made here: {reason}", "no dynptr can be made here"),
        why=("a dynptr is 16 bytes of stack, aligned to 8",),
        help="declare it as a local variable:  struct bpf_dynptr ptr;",
    ),
    Entry(
        "V0852",
        Rule.DYNPTR_UNINITIALISED,
        "a dynptr is used that was not made, or is gone",
        ("argument {argument} does not point to the start of a dynptr that is alive here",),
        why=("submit and discard end a dynptr and all its clones; a store into it ends it, too",),
        help="make it first, on every path, and use it before it is given back",
    ),
    Entry(
        "V0853",
        Rule.DYNPTR_LOST,
        "a dynptr that must be given back is overwritten",
        ("the dynptr at offset {offset} from the frame pointer would be lost; its memory must be given back first",),
        help="submit or discard it first: bpf_ringbuf_submit_dynptr() or bpf_ringbuf_discard_dynptr()",
    ),
    Entry(
        "V0854",
        Rule.DYNPTR_OVERWRITTEN,
        "a helper would write into a dynptr",
        ("the helper writes {size} bytes; that at offset {offset} from the frame pointer belongs to a dynptr",),
        help="give the helper a buffer of its own",
    ),
    Entry(
        "V0855",
        Rule.DYNPTR_MEMORY,
        "a dynptr is made of memory that is not a map's value",
        ("bpf_dynptr_from_mem() takes values of maps; this is {pointer_phrase}",),
        help="use the value of a map, or a global variable",
    ),
)
