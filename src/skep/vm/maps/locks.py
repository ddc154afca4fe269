"""Where the values of a map keep their spin lock, which updates must leave alone (kernel: copy_map_value)."""

from __future__ import annotations

from skep.abi.map_types import MapType
from skep.btf import types as t
from skep.model.maps import MapSpec

_LOCK, LOCK_SIZE = "bpf_spin_lock", 4
_WITH_LOCKS = frozenset({MapType.HASH, MapType.ARRAY})
_MAX_TYPES = 1000  # looked at in one value: hostile types nest deeply


def lock_end(spec: MapSpec) -> int:
    """The first byte after the lock in each value; 0: there is none, and values are plain bytes."""
    btf = spec.btf
    if btf is None or not 0 < spec.value_type < len(btf) or spec.type not in _WITH_LOCKS:
        return 0
    pending = [(btf.strip(spec.value_type), 0)]
    for _ in range(_MAX_TYPES):
        if not pending:
            break
        type_id, offset = pending.pop()
        found = btf[type_id]
        if isinstance(found, t.Struct) and found.name == _LOCK:
            end = offset + LOCK_SIZE
            return end if end <= spec.value_size else 0
        if isinstance(found, (t.Struct, t.Union)):
            pending += [(member.type, offset + member.bit_offset // 8) for member in found.members]
        elif isinstance(found, t.Array) and found.nelems == 1:
            pending.append((found.type, offset))
        elif isinstance(found, t.Datasec):
            variables = ((btf[entry.type], entry.offset) for entry in found.entries)
            pending += [(each.type, offset + at) for each, at in variables if isinstance(each, t.Var)]
    return 0
