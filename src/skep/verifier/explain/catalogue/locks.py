"""V12: locks, timers, work queues and task work in map values."""

from __future__ import annotations

from skep.verifier.explain.entry import Entry
from skep.verifier.requirements.kinds import Rule

ENTRIES = (
    Entry(
        "V1201",
        Rule.FIELD_ARGUMENT,
        "the argument is not the lock, timer or work of a map's value",
        ("{reg} is not the '{field}' of a value: {reason}",),
        why=("the kernel finds these fields by the type of the map's values, one of each kind",),
        help="pass the address of the member itself:  bpf_spin_lock(&value->lock)",
    ),
    Entry(
        "V1202",
        Rule.FIELD_PROGRAM,
        "programs of this type must not use maps with such a field",
        ("map '{map}' has a {field} in its values, which {prog_type} programs must not use",),
        why=("they may run while the same lock is held, or where a timer cannot be cancelled: that would deadlock",),
        help="use atomic operations, or per-CPU values, instead of a lock; do the work in another kind of program",
    ),
    Entry(
        "V1205",
        Rule.FIELD_MAP,
        "the timer or work lies in another map than the one that is given",
        ("the '{field}' lies in a value of another map than the one in {reg}",),
        why=("a map that is looked up in another map is another one each time",),
        help="pass the very map in which the value was looked up",
    ),
    Entry(
        "V1203",
        Rule.LOCK_ORDER,
        "locks are not taken and released in order",
        ("{reason}",),
        why=("the last lock was taken at {acquired_place}",),
        help="release each lock once, through the pointer that took it, the last one first",
    ),
    Entry(
        "V1204",
        Rule.LOCK_HELD,
        "a function is called while a lock is held",
        ("{function}() must not be called while the lock is held that was taken at {acquired_place}",),
        why=(
            "a lock is held for a few instructions only: helpers and global functions could take long, or lock again",
        ),
        help="look up, read the clock and so on before the lock; make your own function static",
    ),
)
