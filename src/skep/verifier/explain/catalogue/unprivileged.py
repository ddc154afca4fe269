"""V11: what only programs without CAP_PERFMON are refused."""

from __future__ import annotations

from skep.verifier.explain.entry import Entry
from skep.verifier.requirements.kinds import Rule

_LOADER = "or load it with CAP_PERFMON"

ENTRIES = (
    Entry(
        "V1101",
        Rule.SPECULATIVE_BOUNDS,
        "a pointer is moved where a CPU that runs ahead must not look",
        ("{reg} ({pointer_phrase}) is moved where a CPU that runs ahead must not look: {reason}",),
        why=(
            "a CPU runs ahead of checks: without CAP_PERFMON a pointer must stay in its memory as soon as it is moved",
        ),
        help=f"limit the index before, to what the memory has; keep arrays with a variable index in maps; {_LOADER}",
    ),
    Entry(
        "V1102",
        Rule.SPECULATIVE_MATH,
        "a pointer is moved in a way that cannot be guarded against speculation",
        ("{reg} is moved in a way that cannot be guarded against speculation: {reason}",),
        why=("without CAP_PERFMON the kernel masks each number that is added to a pointer: it must know one mask",),
        help=f"use a constant offset, or an unsigned index with one limit for one memory in each branch; {_LOADER}",
    ),
    Entry(
        "V1103",
        Rule.POINTER_TORN,
        "a part of a saved pointer is overwritten",
        ("{size} bytes are written over a saved pointer (offset {offset} from r10)",),
        why=("what is left of it would be a number, and tell a part of an address",),
        help=f"use another place of the stack, or overwrite all 8 bytes at once; {_LOADER}",
    ),
    Entry(
        "V1104",
        Rule.HELPER_CAPABILITY,
        "the helper needs CAP_PERFMON",
        ("{helper}() needs CAP_PERFMON",),
        why=("it can read any memory, or shows what other programs do",),
        help="load the program with CAP_PERFMON, or do without the helper: count in a map instead of printing",
    ),
    Entry(
        "V1105",
        Rule.PROGRAM_CAPABILITY,
        "programs of this type need CAP_PERFMON",
        ("programs of type {prog_type} need CAP_PERFMON",),
        why=("they see the memory of the kernel",),
        help="load the program with CAP_PERFMON",
        said_by_kernel=False,
    ),
)
