"""Contexts: the structure a program gets in r1, by program type, and what may be done with each field.

The tables are those of Linux 6.18; tests/differential/abi/test_context_access.py asks the running kernel about every
offset, size and direction.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from skep.abi.contexts.field import Context, ContextField, FieldKind, kernel_sentence
from skep.abi.contexts.packets import PACKET_CONTEXTS
from skep.abi.contexts.sockets import SOCKET_CONTEXTS
from skep.abi.contexts.tracing import TRACING_CONTEXTS, kprobe_context, perf_event_context
from skep.abi.prog_types import ProgType

__all__ = [
    "BTF_CONTEXTS",
    "CONTEXTS",
    "Context",
    "ContextField",
    "FieldKind",
    "context_for",
    "kernel_sentence",
]

#: The context of every program type whose context is fixed; registers are those of x86-64.
CONTEXTS: Mapping[ProgType, Context] = MappingProxyType({**PACKET_CONTEXTS, **SOCKET_CONTEXTS, **TRACING_CONTEXTS})

#: Program types whose context is typed by the BTF of what they attach to (EXT: that of the function it replaces).
BTF_CONTEXTS: frozenset[ProgType] = frozenset({ProgType.TRACING, ProgType.LSM, ProgType.STRUCT_OPS, ProgType.EXT})

_BY_MACHINE = {ProgType.KPROBE: kprobe_context, ProgType.PERF_EVENT: perf_event_context}


def context_for(prog_type: ProgType, machine: str = "x86_64") -> Context | None:
    """The context of a program type on a machine (``x86_64``, ``aarch64``).

    None: the type's context is typed by BTF, or the machine's registers are not known.
    """
    if prog_type not in _BY_MACHINE or machine == "x86_64":
        return CONTEXTS.get(prog_type)
    if machine != "aarch64":
        return None
    return _BY_MACHINE[prog_type](machine)
