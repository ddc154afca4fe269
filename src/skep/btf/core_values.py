"""What a CO-RE relocation's number is, once the field, type or enumerator is found (libbpf's bpf_core_calc_*_relo)."""

from __future__ import annotations

from dataclasses import dataclass

from skep.btf.catalog import size_of
from skep.btf.core_kinds import CoreKind
from skep.btf.core_spec import CoreSpec
from skep.btf.faults import broken
from skep.btf.types import Array, BtfType, Enum, Enum64, Int, Ptr, Struct, Union

_WIDEST_LOAD = 8  # bytes


@dataclass(frozen=True, slots=True)
class Computed:
    """A number, and for byte offsets what is loaded there: ``size`` in bytes (0: not known), ``type`` stripped.

    ``exact``: False where clang may count otherwise (bitfields) or the number may change later (type ids).
    """

    value: int
    exact: bool = True
    size: int = 0
    type: BtfType | None = None


def compute(kind: CoreKind, spec: CoreSpec | None) -> Computed | None:
    """The number for a spec (None: the target has no such thing); None where that must never be reached."""
    if kind in (CoreKind.FIELD_EXISTS, CoreKind.ENUMVAL_EXISTS, CoreKind.TYPE_EXISTS, CoreKind.TYPE_MATCHES):
        return Computed(int(spec is not None))
    if kind in (CoreKind.TYPE_SIZE, CoreKind.TYPE_ID_TARGET, CoreKind.TYPE_ID_LOCAL):
        if spec is None:
            return Computed(0)
        if kind is CoreKind.TYPE_SIZE:
            return Computed(size_of(spec.btf, spec.root))
        return Computed(spec.root, exact=False)
    if spec is None:
        return None
    if kind is CoreKind.ENUMVAL_VALUE:
        found = spec.btf[spec.accessors[0].type]
        assert isinstance(found, Enum | Enum64)
        return Computed(found.values[spec.accessors[0].index][1])
    last = spec.accessors[-1]
    return _element(kind, spec, last.type) if last.name is None else _member(kind, spec)


def _element(kind: CoreKind, spec: CoreSpec, type_id: int) -> Computed:
    """An access that ends in an array element, or in the root itself."""
    if kind is CoreKind.FIELD_BYTE_OFFSET:
        return _loaded(spec, spec.bit_offset // 8, type_id)
    if kind is CoreKind.FIELD_BYTE_SIZE:
        return Computed(size_of(spec.btf, type_id))
    raise broken("B0304", f"the CO-RE relocation {kind.name} cannot be applied to the array element {spec}")


def _loaded(spec: CoreSpec, value: int, type_id: int) -> Computed:
    """A byte offset; of arrays, one element is what a load touches."""
    btf = spec.btf
    at = btf.strip(type_id)
    while isinstance(array := btf[at], Array):
        at = btf.strip(array.type)
    return Computed(value, size=size_of(btf, at), type=btf[btf.strip(type_id)])


def _member(kind: CoreKind, spec: CoreSpec) -> Computed:
    btf = spec.btf
    last = spec.accessors[-1]
    owner = btf[last.type]
    assert isinstance(owner, Struct | Union)
    member = owner.members[last.index]
    bits = member.bitfield_size
    found = btf[btf.strip(member.type)]
    if kind is CoreKind.FIELD_SIGNED:
        return Computed(int(isinstance(found, Int | Enum | Enum64) and found.signed))
    size = size_of(btf, member.type)
    offset = spec.bit_offset // 8
    if bits:
        offset, size = _storage_unit(spec, bits, size)
    if kind is CoreKind.FIELD_BYTE_OFFSET:
        return Computed(offset, exact=False) if bits else _loaded(spec, offset, member.type)
    if kind is CoreKind.FIELD_BYTE_SIZE:
        return Computed(size, exact=not bits)
    width = bits or size * 8
    if kind is CoreKind.FIELD_RSHIFT_U64:
        return Computed(64 - width)
    if btf.byte_order == "little":
        return Computed(64 - (spec.bit_offset + width - offset * 8), exact=not bits)
    return Computed((8 - size) * 8 + spec.bit_offset - offset * 8, exact=not bits)


def _storage_unit(spec: CoreSpec, bits: int, size: int) -> tuple[int, int]:
    """Byte offset and size of the smallest aligned load that holds a bitfield: at least its type's size."""
    if not size:
        raise broken("B0305", f"the bitfield {spec} has a type without size")
    offset = spec.bit_offset // 8 // size * size
    while spec.bit_offset + bits - offset * 8 > size * 8:
        if size >= _WIDEST_LOAD:
            raise broken("B0305", f"the bitfield {spec} does not fit one load of {_WIDEST_LOAD} bytes")
        size *= 2
        offset = spec.bit_offset // 8 // size * size
    return offset, size


def may_change_load(local: Computed, target: Computed) -> bool:
    """Whether a load may take the target's size: pointers, and ints that are unsigned in both (no sign to extend)."""
    if isinstance(local.type, Ptr) and isinstance(target.type, Ptr):
        return True
    return (
        isinstance(local.type, Int)
        and isinstance(target.type, Int)
        and not local.type.signed
        and not target.type.signed
    )
