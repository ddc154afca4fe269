"""The table of all helpers (enum bpf_func_id): one Signature each, in one module per theme.

Sources: ids and prototypes from uapi linux/bpf.h; argument and return types from the kernel's ``struct bpf_func_proto``
definitions; program types from what Linux 6.18 itself says when it loads a program
(tests/differential/abi/test_helper_availability.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from skep.abi.helpers import (
    cgroups,
    checksums,
    clocks,
    dynptrs,
    events,
    maps,
    memory,
    packets,
    redirects,
    sockets,
    sockmaps,
    storage,
    tasks,
    text,
    tracing,
    xdp,
)
from skep.abi.helpers.variants import ATTACH_TYPES, variant_of
from skep.abi.prog_types import AttachType, ProgType
from skep.abi.signatures import Signature

#: Theme -> rows, for documentation and ``bpftool feature list_builtins helpers``-like lists.
THEMES: Mapping[str, tuple[Signature, ...]] = MappingProxyType(
    {
        module.__name__.rpartition(".")[2]: module.ROWS
        for module in (
            maps,
            clocks,
            tasks,
            memory,
            text,
            events,
            dynptrs,
            packets,
            xdp,
            checksums,
            redirects,
            sockets,
            sockmaps,
            storage,
            cgroups,
            tracing,
        )
    }
)

#: Every helper by its number, in order.
HELPERS: Mapping[int, Signature] = MappingProxyType(
    {row.id: row for row in sorted((row for rows in THEMES.values() for row in rows), key=lambda row: row.id)}
)

_BY_NAME: Mapping[str, Signature] = MappingProxyType({row.name: row for row in HELPERS.values()})


def find_helper(name_or_id: str | int) -> Signature | None:
    """A helper by number, or by name with or without the ``bpf_`` prefix."""
    if isinstance(name_or_id, int):
        return HELPERS.get(name_or_id)
    return _BY_NAME.get(name_or_id) or _BY_NAME.get(f"bpf_{name_or_id}")


def may_call(helper: Signature, prog_type: ProgType, attach_type: AttachType | None = None) -> bool:
    """Whether a program of a type may call a helper. With ``attach_type`` None, whether it may for some attach type.

    EXT programs answer True: what they may call is decided by the type of the program that they extend.
    """
    if helper.prog_types is not None and prog_type not in helper.prog_types:
        return False
    limits = ATTACH_TYPES.get((helper.id, prog_type))
    return limits is None or attach_type is None or attach_type in limits


def available(prog_type: ProgType, attach_type: AttachType | None = None) -> Mapping[int, Signature]:
    """The helpers that a program of a type may call, by number, each with the signature that it has there."""
    return {
        number: variant_of(row, prog_type) for number, row in HELPERS.items() if may_call(row, prog_type, attach_type)
    }


def signature_for(helper: int, prog_type: ProgType) -> Signature | None:
    """The signature that a helper has for a program type: a few take another first argument elsewhere.

    None: no such helper, or not for this type.
    """
    row = HELPERS.get(helper)
    if row is None or not may_call(row, prog_type):
        return None
    return variant_of(row, prog_type)
