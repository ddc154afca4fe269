"""BTF's twenty kinds of types, and Btf: a searchable set of them (Documentation/bpf/btf.rst).

Types refer to each other by id, as in the file: cycles are normal (``struct list_head``), and split BTF continues the
ids of its base. Id 0 is void.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from skep.diagnostics import Diagnostic
from skep.errors import BtfError

MAX_MODIFIERS = 1024  # longest chain that strip() follows; the reader is stricter, this guards sets made by hand


@dataclass(frozen=True, slots=True)
class Void:
    """Id 0."""

    name: str = ""


@dataclass(frozen=True, slots=True)
class Int:
    """An integer; ``bits`` may be less than ``size * 8`` (an old way to write bitfields), ``bit_offset`` likewise."""

    name: str
    size: int
    bits: int
    signed: bool = False
    char: bool = False
    boolean: bool = False
    bit_offset: int = 0


@dataclass(frozen=True, slots=True)
class Ptr:
    type: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class Array:
    type: int
    index_type: int
    nelems: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a struct or union. ``bitfield_size`` 0: not a bitfield. ``bit_offset`` from the struct's start."""

    name: str
    type: int
    bit_offset: int
    bitfield_size: int = 0


@dataclass(frozen=True, slots=True)
class Struct:
    name: str
    size: int
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Union:
    name: str
    size: int
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Enum:
    name: str
    size: int
    signed: bool
    values: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Enum64:
    name: str
    size: int
    signed: bool
    values: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Fwd:
    name: str
    is_union: bool = False


@dataclass(frozen=True, slots=True)
class Typedef:
    name: str
    type: int


@dataclass(frozen=True, slots=True)
class Volatile:
    type: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class Const:
    type: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class Restrict:
    type: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class Func:
    """A function; ``type`` is its FuncProto. ``linkage``: 0 static, 1 global, 2 extern."""

    name: str
    type: int
    linkage: int


@dataclass(frozen=True, slots=True)
class Param:
    name: str
    type: int


@dataclass(frozen=True, slots=True)
class FuncProto:
    """A signature; a last Param without name and type means varargs."""

    ret: int
    params: tuple[Param, ...]
    name: str = ""


@dataclass(frozen=True, slots=True)
class Var:
    """A global variable. ``linkage``: 0 static, 1 global, 2 extern."""

    name: str
    type: int
    linkage: int


@dataclass(frozen=True, slots=True)
class SectionVar:
    """Where a variable lies in its section: bytes."""

    type: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Datasec:
    name: str
    size: int
    entries: tuple[SectionVar, ...]


@dataclass(frozen=True, slots=True)
class Float:
    name: str
    size: int


@dataclass(frozen=True, slots=True)
class DeclTag:
    """A tag on a declaration. ``component``: member or parameter index, -1 for the whole.

    ``attribute``: the name is a whole ``__attribute__((name))``, not a btf_decl_tag (kind_flag, Linux 6.15).
    """

    name: str
    type: int
    component: int
    attribute: bool = False


@dataclass(frozen=True, slots=True)
class TypeTag:
    """A tag on a type; ``attribute`` as for DeclTag."""

    name: str
    type: int
    attribute: bool = False


BtfType = (
    Void
    | Int
    | Ptr
    | Array
    | Struct
    | Union
    | Enum
    | Fwd
    | Typedef
    | Volatile
    | Const
    | Restrict
    | Func
    | FuncProto
    | Var
    | Datasec
    | Float
    | DeclTag
    | TypeTag
    | Enum64
)

MODIFIERS = (Typedef, Volatile, Const, Restrict, TypeTag)


def essential_name(name: str) -> str:
    """A name without its flavor: ``task_struct___old`` is ``task_struct`` (libbpf: three underscores, not more)."""
    for at in range(len(name) - 5, -1, -1):
        if name[at + 1 : at + 4] == "___" and name[at] != "_" and name[at + 4] != "_":
            return name[: at + 1]
    return name


@runtime_checkable
class NameIndexed(Protocol):
    """A sequence of types that finds names without making every type (the reader's)."""

    def positions_by_name(self) -> Mapping[str, list[int]]:
        """Positions in the sequence by name, lowest first; types without name are left out."""


@dataclass(slots=True, eq=False)
class Btf:
    """A set of types. Ids of split BTF start where its base ends.

    ``own`` holds this set's types; for a set without base, own[0] is Void. ``byte_order`` is that of the data the
    types describe. ``strings`` is the string section it was read from (without the base's), b"" for a set made by hand.
    """

    own: Sequence[BtfType]
    base: Btf | None = None
    _by_name: Mapping[str, list[int]] | None = field(default=None, repr=False)
    byte_order: str = "little"
    strings: bytes = field(default=b"", repr=False)
    _flavors: dict[str, list[int]] | None = field(default=None, repr=False)
    _codecs: dict[int, object] = field(default_factory=dict, repr=False)  # compiled by btf.values, by type id

    @property
    def start_id(self) -> int:
        """The first id that is not the base's."""
        return len(self.base) if self.base is not None else 0

    def __len__(self) -> int:
        """Number of ids, the base's included."""
        return self.start_id + len(self.own)

    def __getitem__(self, type_id: int) -> BtfType:
        """The type with this id; IndexError outside."""
        if self.base is not None and type_id < len(self.base):
            return self.base[type_id]
        index = type_id - self.start_id
        if index < 0:
            raise IndexError(f"BTF type id {type_id} is out of range")
        return self.own[index]

    def __iter__(self) -> Iterator[BtfType]:
        """All types in the order of ids, the base's first."""
        if self.base is not None:
            yield from self.base
        yield from self.own

    def find_all(self, name: str, *kinds: type) -> list[int]:
        """Ids of the types with this name (and one of these kinds, if given), lowest first."""
        positions = self._positions().get(name, ())
        ids = self.base.find_all(name, *kinds) if self.base is not None else []
        start = self.start_id
        return ids + [start + i for i in positions if not kinds or isinstance(self.own[i], kinds)]

    def find_essential(self, name: str, *kinds: type) -> list[int]:
        """As find_all, for names without flavor: ``task_struct`` also finds ``task_struct___old``."""
        if self._flavors is None:
            self._flavors = {}
            for known, positions in self._positions().items():
                essential = essential_name(known) if "___" in known else known
                if essential != known:
                    self._flavors.setdefault(essential, []).extend(self.start_id + i for i in positions)
        ids = self.base.find_essential(name, *kinds) if self.base is not None else []
        start = self.start_id
        own = [start + i for i in self._positions().get(name, ())] + self._flavors.get(name, [])
        return ids + [i for i in sorted(own) if not kinds or isinstance(self[i], kinds)]

    def _positions(self) -> Mapping[str, list[int]]:
        """Positions in ``own`` by name; made on the first call."""
        if self._by_name is None:
            if isinstance(self.own, NameIndexed):
                self._by_name = self.own.positions_by_name()
            else:
                table: dict[str, list[int]] = {}
                for position, btf_type in enumerate(self.own):
                    if btf_type.name:
                        table.setdefault(btf_type.name, []).append(position)
                self._by_name = table
        return self._by_name

    def find(self, name: str, *kinds: type) -> int | None:
        """The lowest such id, or None."""
        ids = self.find_all(name, *kinds)
        return ids[0] if ids else None

    def strip(self, type_id: int) -> int:
        """The id behind typedefs, const, volatile, restrict and type tags; BtfError if that never ends."""
        current = self[type_id]
        for _ in range(MAX_MODIFIERS):
            if not isinstance(current, MODIFIERS):
                return type_id
            type_id = current.type
            current = self[type_id]
        raise BtfError(Diagnostic("B0107", f"BTF type {type_id} is a chain of typedefs and qualifiers without end"))
