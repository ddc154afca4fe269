"""All messages of the verifier, one module per theme; numbers go by theme as well: V01 text, V02 registers, V03 memory,
V04 calls, V05 leaving, V06 effort, V08 kernel objects and functions, V09 what skep does not do yet, V10 arenas,
V11 what needs CAP_PERFMON, V19 what older kernels do not have."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from skep.verifier.explain.catalogue import (
    allocated,
    arena,
    calls,
    dynptrs,
    kernels,
    leaving,
    locks,
    memory,
    objects,
    registers,
    stack_objects,
    structure,
    unprivileged,
)
from skep.verifier.explain.entry import Entry

_MODULES = (
    *(structure, registers, memory, calls, leaving, objects, allocated, stack_objects, arena, dynptrs, locks),
    unprivileged,
    kernels,
)

#: All rows, by code.
ENTRIES: tuple[Entry, ...] = tuple(
    sorted((entry for module in _MODULES for entry in module.ENTRIES), key=lambda entry: entry.code)
)

#: The row of a Rule or Flaw. Members of the two with one value are one finding.
BY_RULE: Mapping[str, Entry] = MappingProxyType({entry.rule.value: entry for entry in ENTRIES})
