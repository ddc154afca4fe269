"""Native rows: how a call of a helper becomes a call of a C function of the linked bitcode.

The vm owns the table of rows (``skep.vm.helpers.table``); the JIT reads rows and knows nothing of helpers. They meet
here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

PARAM_TOKENS = frozenset(
    {
        "run",  # struct skep_run *: this run's state
        "ctx",  # pointer: the context the program was called with
        "map",  # struct skep_map *: the map in the register that the helper's signature says is the map (r1 or r2)
        "key_size",  # i32 constants from the MapSpec; 0: not known, the C code reads the map's header. For a map known
        # only by its template (an inner map), max_entries and map_flags must be 0: inner maps may differ in them
        "value_size",
        "max_entries",
        "map_flags",
        "r1",  # i64: the register as it is
        "r2",
        "r3",
        "r4",
        "r5",
        "p1",  # pointer: the same register, as a pointer
        "p2",
        "p3",
        "p4",
        "p5",
    }
)


class Returns(StrEnum):
    """What the C function returns. ``ptr`` and ``i64`` go to r0; after ``void``, r0 is unspecified."""

    I64 = "i64"
    PTR = "ptr"
    VOID = "void"


class Lowering(StrEnum):
    """How the JIT emits the call."""

    CALL = "call"  # an ordinary call; LLVM may inline it
    TAIL_CALL = (
        "tail_call"  # returns the target program (`i64 (ptr run, ptr ctx)`) or NULL: return its result, or go on
    )
    INLINE_LOOP = "inline_loop"  # bpf_loop: the JIT emits the loop itself; ``symbol`` is ""
    CALLBACK = (
        "callback"  # one argument is a callback: a C function `i64 (ptr run, i64 r1, i64 r2, i64 r3, i64 r4, i64 r5)`
    )


@dataclass(frozen=True, slots=True)
class Native:
    """One row.

    Attributes:
        symbol: name of the C function in the bitcode.
        params: tokens of PARAM_TOKENS, in the C function's order.
        returns: the C function's result.
        lowering: how the call is emitted.
        clobbers_packet: it may change the packet's bounds or bytes (the JIT must not keep bounds in registers over it).
    """

    symbol: str
    params: tuple[str, ...] = ()
    returns: Returns = Returns.I64
    lowering: Lowering = Lowering.CALL
    clobbers_packet: bool = False
