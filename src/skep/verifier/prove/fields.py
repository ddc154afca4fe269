"""Special fields are touched by their own functions only (kernel: check_map_access)."""

from __future__ import annotations

from skep.verifier.requirements.kinds import Requirement, Rule, Violation
from skep.verifier.state.fields import POINTERS
from skep.verifier.state.values import Pointer
from skep.verifier.state.world import World


def untouched(
    need: Requirement, pointer: Pointer, reg: int, off: int, size: int, world: World, *, direct: bool = False
) -> Violation | None:
    """``size`` bytes at ``off`` of a map's value are plain data; or, for loads and stores of the program itself
    (``direct``), just one pointer to a kernel object.
    """
    record = world.record(pointer)
    if not record.fields:
        return None
    low, end = pointer.low + off, pointer.high + off + size
    start = None if pointer.var is not None and pointer.var.mask else off + pointer.low
    for field in record.fields:
        if not (low < field.end and field.offset < end):
            continue
        name = field.kind.kernel_name
        if field.kind not in POINTERS:
            said = f"{name} cannot be accessed directly by load/store"
        elif not direct:
            said = f"{name} cannot be accessed indirectly by helper"
        elif start is None:
            said = f"{name} access cannot have variable offset"
        elif start != field.offset:
            said = f"{name} access misaligned expected={field.offset} off={start}"
        elif size != field.kind.size:
            said = f"{name} access size must be BPF_DW"
        else:
            continue
        values = {"map": pointer.map.name if pointer.map is not None else None, "field": name, "offset": field.offset}
        return Violation(Rule.MAP_SPECIAL_FIELD, need, said, reg, values)
    return None
