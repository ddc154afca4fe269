"""V10: arenas."""

from __future__ import annotations

from skep.verifier.explain.entry import Entry
from skep.verifier.requirements.kinds import Rule

ENTRIES = (
    Entry(
        "V1001",
        Rule.ARENA_CAST,
        "a cast of an arena pointer means nothing here",
        ("a cast of an arena pointer means nothing here: {reason}",),
        why=("the kernel learns which arena is meant from the maps that the program names",),
        help="name the arena once in the program, e.g. by  bpf_arena_alloc_pages(&arena, ...)",
    ),
    Entry(
        "V1002",
        Rule.ARENA_SIGN_EXTENSION,
        "a signed load from an arena, which this kernel cannot do",
        ("{reg} points into an arena: this kernel cannot load a signed number from there",),
        why=("its JIT learnt it in Linux 6.18",),
        help="compile for cpu v3, or load as unsigned and convert: `(__s32)(__u32)p->x`",
    ),
)
