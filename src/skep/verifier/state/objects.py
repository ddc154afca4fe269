"""Objects of the kernel that are described by BTF: what a pointer to one means, and what lies at an offset.

The walk from an offset to a member is the kernel's (btf_struct_walk); so is the trust that a pointer read from an
object deserves (check_ptr_to_btf_access and its lists of safe members, which the kernel's BTF carries as structures
named ``task_struct__safe_rcu`` and the like).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, Flag, auto

from skep.btf import types as t
from skep.btf.catalog import size_of
from skep.btf.types import Btf
from skep.errors import SkepError

_MAX_NESTING = 64


class Trust(Flag):
    """What is known of a pointer to an object (the kernel's type flags). None of them: an old-style pointer."""

    NONE = 0
    TRUSTED = auto()  # valid, and its object stays while the program runs
    RCU = auto()  # valid until the RCU section ends
    UNTRUSTED = auto()  # may be read, with care; good for nothing else
    USER = auto()  # user memory
    PERCPU = auto()  # an address relative to each CPU's area
    ALLOC = auto()  # allocated by the program
    BORROWED = auto()  # a node that a list or tree owns (non-owning reference)


_PREFIXES = (
    (Trust.USER, "user_"),
    (Trust.PERCPU, "percpu_"),
    (Trust.UNTRUSTED, "untrusted_"),
    (Trust.TRUSTED, "trusted_"),
    (Trust.RCU, "rcu_"),
)
_MODIFIERS_OF_TRUST = Trust.TRUSTED | Trust.ALLOC | Trust.BORROWED  # BPF_REG_TRUSTED_MODIFIERS


@dataclass(frozen=True, slots=True)
class Object:
    """What a pointer points to.

    Attributes:
        type: id of the structure, without qualifiers.
    """

    btf: Btf
    type: int
    trust: Trust = Trust.NONE

    @property
    def name(self) -> str:
        """The structure's name."""
        return self.btf[self.type].name

    @property
    def prefix(self) -> str:
        """The kernel's words for the trust (reg_type_str)."""
        return "".join(word for flag, word in _PREFIXES if self.trust & flag)

    @property
    def unsafe(self) -> bool:
        """Whether something but trust is said of it (bpf_type_has_unsafe_modifiers, but for NULL)."""
        return bool(self.trust & ~_MODIFIERS_OF_TRUST)

    @property
    def trusted(self) -> bool:
        """Whether the flags alone make it trusted."""
        return bool(self.trust & _MODIFIERS_OF_TRUST) and not self.unsafe


class What(Enum):
    """What lies at an offset."""

    NUMBER = auto()
    OBJECT = auto()  # a pointer to a structure
    MEMORY = auto()  # a pointer to something else
    STRUCT = auto()  # a structure that starts just there


@dataclass(frozen=True, slots=True)
class Found:
    """The end of a walk: ``type`` and ``member`` for OBJECT and STRUCT; ``trust``: what tags and unions say."""

    what: What
    type: int = 0
    trust: Trust = Trust.NONE
    member: str = ""


_TAGS = {"user": Trust.USER, "percpu": Trust.PERCPU, "rcu": Trust.RCU}
_NUMBER = Found(What.NUMBER)


def is_struct(found: t.BtfType) -> bool:
    """A structure or union."""
    return isinstance(found, (t.Struct, t.Union))


def walk(btf: Btf, type_id: int, offset: int, size: int) -> Found | str:
    """What ``size`` bytes at ``offset`` of a structure are, or the kernel's reason why they are nothing."""
    found = _step(btf, type_id, offset, size, Trust.NONE)
    for _ in range(_MAX_NESTING):
        if isinstance(found, str) or found.what is not What.STRUCT:
            return found
        found = _step(btf, found.type, 0, size, found.trust)
    return "nested too deep"


def same_or_nested(btf: Btf, type_id: int, offset: int, wanted_btf: Btf, wanted: int, *, strict: bool) -> bool:
    """Whether an object of the wanted type starts at ``offset`` (kernel: btf_struct_ids_match)."""
    if offset == 0 and same_type(btf, type_id, wanted_btf, wanted):
        return True
    for _ in range(0 if strict else _MAX_NESTING):
        found = _step(btf, type_id, offset, 1, Trust.NONE)
        if isinstance(found, str) or found.what is not What.STRUCT:
            return False
        if same_type(btf, found.type, wanted_btf, wanted):
            return True
        type_id, offset = found.type, 0
    return False


def same_type(btf: Btf, type_id: int, other_btf: Btf, other: int) -> bool:
    """One type; a module's BTF goes on from the kernel's (kernel: btf_types_are_same)."""
    return type_id == other and _owner(btf, type_id) is _owner(other_btf, other)


def _owner(btf: Btf, type_id: int) -> Btf:
    while btf.base is not None and type_id < btf.start_id:
        btf = btf.base
    return btf


def _step(btf: Btf, type_id: int, offset: int, size: int, trust: Trust) -> Found | str:
    """One level, and further into structures that do not start at ``offset`` (kernel: btf_struct_walk)."""
    for _ in range(_MAX_NESTING):
        struct = btf[btf.strip(type_id)]
        if not isinstance(struct, (t.Struct, t.Union)):
            return f"Type '{struct.name}' is not a struct"
        if isinstance(struct, t.Union) and len(struct.members) != 1:
            trust |= Trust.UNTRUSTED
        if offset + size > struct.size:
            beyond = _flexible(btf, struct, offset, size)
            if isinstance(beyond, (str, Found)):
                return beyond
            type_id, offset = beyond
            continue
        found = _member(btf, struct, offset, size, trust)
        if isinstance(found, (str, Found)):
            return found
        type_id, offset = found
    return "nested too deep"


def _flexible(btf: Btf, struct: t.Struct | t.Union, offset: int, size: int) -> Found | str | tuple[int, int]:
    """Beyond the end: only a last member that is an array without length goes on there."""
    said = f"access beyond struct {struct.name} at off {offset} size {size}"
    if not struct.members:
        return said
    last = struct.members[-1]
    array = btf[btf.strip(last.type)]
    start = last.bit_offset // 8
    if not isinstance(array, t.Array) or array.nelems or offset < start:
        return said
    element_id = btf.strip(array.type)
    element = btf[element_id]
    if isinstance(element, t.Int):
        return _NUMBER
    if not isinstance(element, (t.Struct, t.Union)) or not element.size:
        return said
    return element_id, (offset - start) % element.size


def _member(
    btf: Btf, struct: t.Struct | t.Union, offset: int, size: int, trust: Trust
) -> Found | str | tuple[int, int]:
    for member in struct.members:
        start = member.bit_offset // 8
        if offset + size <= start:
            break
        if member.bitfield_size:
            end = -(-(member.bit_offset + member.bitfield_size) // 8)
            if offset <= start and end <= offset + size:
                return _NUMBER
            continue
        if offset < start:
            break
        type_id = btf.strip(member.type)
        try:
            length = size_of(btf, type_id)
        except SkepError:
            return f"field {member.name} doesn't have size"
        end = start + length
        if offset >= end:
            continue
        element_id = _element(btf, type_id)
        if element_id != type_id:
            width = size_of(btf, element_id)
            if not width:
                continue
            start += (offset - start) // width * width
        return _at(btf, struct, member, element_id, start, end, offset, size, trust)
    return f"struct {struct.name} doesn't have field at offset {offset}"


def _element(btf: Btf, type_id: int) -> int:
    """The type of an array's elements, through all dimensions."""
    found = btf[type_id]
    while isinstance(found, t.Array):
        type_id = btf.strip(found.type)
        found = btf[type_id]
    return type_id


def _at(
    btf: Btf,
    struct: t.Struct | t.Union,
    member: t.Member,
    type_id: int,
    start: int,
    end: int,
    offset: int,
    size: int,
    trust: Trust,
) -> Found | str | tuple[int, int]:
    """Inside a member (an element, if it is an array) that starts at ``start`` and whose whole ends at ``end``."""
    found = btf[type_id]
    if is_struct(found):
        if offset == start:
            return Found(What.STRUCT, type_id, trust, member.name)
        return type_id, offset - start
    if isinstance(found, t.Ptr):
        if size != 8 or offset != start:
            return (
                f"cannot access ptr member {member.name} with moff {start} in struct {struct.name}"
                f" with off {offset} size {size}"
            )
        target = btf.strip(found.type)
        if not is_struct(btf[target]):
            return Found(What.MEMORY, 0, trust, member.name)
        return Found(What.OBJECT, target, trust | tag_of(btf, found.type), member.name)
    if offset + size > end and not trust & Trust.UNTRUSTED:
        return (
            f"access beyond the end of member {member.name} (mend:{end}) in struct {struct.name}"
            f" with off {offset} size {size}"
        )
    return _NUMBER


def tag_of(btf: Btf, type_id: int) -> Trust:
    """What the outermost tag of a pointer's target says: ``__user``, ``__percpu``, ``__rcu``."""
    found = btf[type_id]
    if isinstance(found, t.TypeTag) and not found.attribute:
        return _TAGS.get(found.name, Trust.NONE)
    return Trust.NONE


def is_safe_member(source: Object, found: Found, suffix: str) -> bool:
    """Whether the kernel lists the member as safe (kernel: btf_nested_type_is_trusted)."""
    btf = source.btf
    parent = btf[source.type]
    listed = btf.find(parent.name + suffix, type(parent))
    if listed is None:
        return False
    for member in btf[listed].members:  # type: ignore[union-attr]
        pointer = btf[btf.strip(member.type)]
        if member.name == found.member and isinstance(pointer, t.Ptr) and btf.strip(pointer.type) == found.type:
            return True
    return False


def trust_of_member(source: Object, found: Found, *, referenced: bool, in_rcu: bool) -> tuple[Trust, bool]:
    """The trust that a pointer read from an object deserves, and whether it may be NULL.

    Args:
        source: what it was read from; ``referenced``: the program holds a reference to it.
        in_rcu: objects that RCU protects cannot go away here.
    """
    flags = found.trust
    if source.trust & Trust.UNTRUSTED:
        return Trust.UNTRUSTED, False
    if not (referenced or source.trusted or source.trust & Trust.RCU):
        return _without_trust(flags), False
    if is_safe_member(source, found, "__safe_trusted"):
        return flags | Trust.TRUSTED, False
    if is_safe_member(source, found, "__safe_trusted_or_null"):
        return flags | Trust.TRUSTED, True
    if not in_rcu:
        return Trust.UNTRUSTED, False
    if is_safe_member(source, found, "__safe_rcu"):
        return flags | Trust.RCU, False
    listed = is_safe_member(source, found, "__safe_rcu_or_null")
    if flags & Trust.RCU or listed:
        if listed:
            flags &= ~Trust.UNTRUSTED
        return flags | Trust.RCU, True
    if flags & (Trust.PERCPU | Trust.USER):
        return flags, False
    return _without_trust(flags), False


def _without_trust(flags: Trust) -> Trust:
    """What remains of the flags (kernel: clear_trusted_flags)."""
    return flags & ~(Trust.TRUSTED | Trust.ALLOC | Trust.BORROWED | Trust.RCU)
