"""What a CO-RE relocation points at: its accessor string followed through local types, and found again in a target.

Facts from libbpf's relo_core.c (bpf_core_parse_spec, bpf_core_spec_match). ``0:1:2`` reads: element 0 of the root type
taken as an array, its member 1, of that member 2 (or element 2, for an array). In the target, names
decide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from skep.btf.catalog import get_type, size_of
from skep.btf.compat import are_fields_compatible
from skep.btf.core_kinds import CoreKind, CoreRelocation
from skep.btf.faults import broken
from skep.btf.types import Array, Btf, Enum, Enum64, Struct, Union, essential_name

TYPE_KINDS: Final = frozenset(
    {
        CoreKind.TYPE_ID_LOCAL,
        CoreKind.TYPE_ID_TARGET,
        CoreKind.TYPE_EXISTS,
        CoreKind.TYPE_SIZE,
        CoreKind.TYPE_MATCHES,
    }
)
ENUM_KINDS: Final = frozenset({CoreKind.ENUMVAL_EXISTS, CoreKind.ENUMVAL_VALUE})
_MAX_STEPS: Final = 64  # libbpf's BPF_CORE_SPEC_MAX_LEN


@dataclass(frozen=True, slots=True)
class Accessor:
    """One step. ``name`` None: element ``index`` of ``type`` (an array, or the root); else that member of ``type``."""

    type: int
    index: int
    name: str | None = None


@dataclass(frozen=True, slots=True)
class CoreSpec:
    """A root type and the way to a field of it, in one set of types."""

    btf: Btf
    root: int
    accessors: tuple[Accessor, ...] = ()
    bit_offset: int = 0

    def __str__(self) -> str:
        """For messages: ``task_struct.mm.pgd``."""
        text = self.btf[self.root].name or "(anonymous)"
        for position, accessor in enumerate(self.accessors):
            if accessor.name is not None:
                text += f".{accessor.name}"
            elif position or accessor.index:
                text += f"[{accessor.index}]"
        return text


def parse_spec(btf: Btf, relocation: CoreRelocation) -> CoreSpec:
    """Follow a relocation's accessor string through the local types; BtfError B0303 when it leads nowhere."""
    try:
        steps = [int(step) for step in relocation.access.split(":") if step.isascii() and step.isdecimal()]
    except ValueError:  # too many digits
        steps = []
    if not steps or len(steps) != relocation.access.count(":") + 1 or len(steps) > _MAX_STEPS or max(steps) >> 32:
        raise _bad(relocation)
    get_type(btf, relocation.type)
    if relocation.kind in TYPE_KINDS:
        if steps != [0]:
            raise _bad(relocation)
        return CoreSpec(btf, relocation.type)
    root = btf.strip(relocation.type)
    if relocation.kind in ENUM_KINDS:
        found = btf[root]
        if not isinstance(found, Enum | Enum64) or len(steps) != 1 or steps[0] >= len(found.values):
            raise _bad(relocation)
        return CoreSpec(btf, relocation.type, (Accessor(root, steps[0], found.values[steps[0]][0]),))
    return _parse_field(btf, relocation, root, steps)


def _parse_field(btf: Btf, relocation: CoreRelocation, root: int, steps: list[int]) -> CoreSpec:
    accessors = [Accessor(root, steps[0])]
    bits = steps[0] * size_of(btf, root) * 8 if steps[0] else 0
    at = root
    for step in steps[1:]:
        at = btf.strip(at)
        found = btf[at]
        if isinstance(found, Struct | Union) and step < len(found.members):
            member = found.members[step]
            bits += member.bit_offset
            if member.name:
                accessors.append(Accessor(at, step, member.name))
            at = member.type
        elif isinstance(found, Array) and (step < found.nelems or _is_flexible(btf, accessors[-1], found)):
            at = btf.strip(found.type)
            accessors.append(Accessor(at, step))
            bits += step * size_of(btf, at) * 8 if step else 0
        else:
            raise _bad(relocation)
    return CoreSpec(btf, relocation.type, tuple(accessors), bits)


def _bad(relocation: CoreRelocation) -> Exception:
    return broken(
        "B0303",
        f"the CO-RE accessor {relocation.access!r} of BTF type {relocation.type} leads nowhere",
        "the object is broken",
    )


def _is_flexible(btf: Btf, accessor: Accessor, array: Array) -> bool:
    """An array without length that is the last member of its struct takes any index."""
    if accessor.name is None or array.nelems:
        return False
    owner = btf[accessor.type]
    return isinstance(owner, Struct | Union) and accessor.index == len(owner.members) - 1


def match_field(local: CoreSpec, target: Btf, root: int) -> CoreSpec | None:
    """The same field in a candidate type of the target, or None."""
    bits = 0
    accessors: list[Accessor] = []
    at = root
    for position, step in enumerate(local.accessors):
        at = target.strip(at)
        if step.name is not None:
            owner = local.btf[step.type]
            assert isinstance(owner, Struct | Union)
            found = _match_member(local.btf, owner.members[step.index].type, target, at, step.name)
            if found is None:
                return None
            accessor, more, at = found
            accessors.append(accessor)
            bits += more
            continue
        if position:
            array = target[at]
            if not isinstance(array, Array):
                return None
            if step.index >= array.nelems and not _is_flexible(target, accessors[-1], array):
                return None
            at = target.strip(array.type)
        accessors.append(Accessor(at, step.index))
        if step.index:
            bits += step.index * size_of(target, at) * 8
    return CoreSpec(target, root, tuple(accessors), bits)


def _match_member(
    local: Btf, local_type: int, target: Btf, type_id: int, name: str
) -> tuple[Accessor, int, int] | None:
    """A member by name with a compatible type, through anonymous structs and unions: accessor, bit offset, type."""
    seen: set[int] = set()
    stack = [(type_id, 0)]
    while stack:
        at, bits = stack.pop()
        at = target.strip(at)
        if at in seen:
            continue
        seen.add(at)
        found = target[at]
        if not isinstance(found, Struct | Union):
            continue
        inner: list[tuple[int, int]] = []
        for index, member in enumerate(found.members):
            if not member.name:
                inner.append((member.type, bits + member.bit_offset))
            elif member.name == name:
                if not are_fields_compatible(local, local_type, target, member.type):
                    return None
                return Accessor(at, index, name), bits + member.bit_offset, member.type
        stack += reversed(inner)
    return None


def match_enumerator(local: CoreSpec, target: Btf, root: int) -> CoreSpec | None:
    """The enumerator of the same name in a candidate enum of the target, or None."""
    stripped = target.strip(root)
    found = target[stripped]
    if not isinstance(found, Enum | Enum64):
        return None
    wanted = essential_name(local.accessors[0].name or "")
    for index, (name, _) in enumerate(found.values):
        if essential_name(name) == wanted:
            return CoreSpec(target, root, (Accessor(stripped, index, name),))
    return None
