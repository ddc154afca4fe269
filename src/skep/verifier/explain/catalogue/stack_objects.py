"""Messages about iterators and other objects on the stack."""

from __future__ import annotations

from skep.verifier.explain.entry import Entry
from skep.verifier.requirements.kinds import Rule

ENTRIES = (
    Entry(
        "V0324",
        Rule.STACK_OBJECT,
        "an object on the stack that only the kernel may look into is read",
        ("the {size} bytes of stack at offset {offset} from the frame pointer are part of {object}",),
        why=("only the kernel functions that belong to it may look into it",),
        help="ask the object through its functions, and keep plain data in other variables",
    ),
    Entry(
        "V0830",
        Rule.ITERATOR_PHASE,
        "an iterator is used out of order",
        ("{kfunc}() wants {wanted} {iterator}; {reg} points to none",),
        why=("an iterator is made once, asked until it gives NULL, and destroyed once",),
        help="use it as bpf_for_each() does: new, then next until it gives NULL, then destroy on every path",
    ),
    Entry(
        "V0831",
        Rule.IRQ_ORDER,
        "saved interrupt flags are restored out of order",
        ("{kfunc}() cannot restore these flags: {reason}",),
        help="restore what was saved last first, each with the function that belongs to the one that saved it",
    ),
)
