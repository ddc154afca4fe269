"""Tables of functions in the kernel (struct_ops, 5.6): a map whose one value is a structure of the kernel.

The kernel's structure may differ from the one that the program was compiled with: members are matched by name, as
libbpf's bpf_map__init_kern_struct_ops does.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from skep.btf.catalog import size_of
from skep.btf.types import Btf, FuncProto, Member, Ptr, Struct, essential_name
from skep.diagnostics import Diagnostic
from skep.engine import ProgramHandle
from skep.errors import MapError, UnsupportedError, UsageError
from skep.kernel.bpf import maps
from skep.kernel.bpf.call import BpfCallError
from skep.kernel.fd import Fd
from skep.kernel.maps.create import kernel_name
from skep.kernel.maps.handle import KernelMap
from skep.kernel.memlock import with_memory
from skep.kernel.refusals import map_refused
from skep.kernel.target import KernelTypes, open_module_types
from skep.kernel.typeinfo import TypeStore
from skep.model.maps import MapSpec

F_LINK: Final = 1 << 13  # BPF_F_LINK (6.4)
F_VTYPE_BTF_OBJ_FD: Final = 1 << 15  # BPF_F_VTYPE_BTF_OBJ_FD (6.9)
_KEY: Final = bytes(4)
_WORD: Final = 8


@dataclass(frozen=True, slots=True)
class KernelTable:
    """The kernel's structure for a kind of table.

    Attributes:
        value_type: id of ``bpf_struct_ops_NAME``, which is what the map's value is; ``struct``: of NAME in it.
        offset: bytes in the value before NAME.
        module: whose types these are; None: the kernel's own.
    """

    btf: Btf
    value_type: int
    struct: Struct
    offset: int
    module: str | None = None

    @property
    def size(self) -> int:
        """Bytes of the map's value."""
        return size_of(self.btf, self.value_type)

    def member(self, name: str) -> Member | None:
        """A member by name."""
        return next((member for member in self.struct.members if member.name == name), None)


def find_table(types: KernelTypes, spec: MapSpec) -> KernelTable:
    """The kernel's side of a table.

    Raises:
        UnsupportedError: M0126 this kernel has no such tables.
    """
    name = essential_name(_own_struct(spec).name)
    place = types.find(f"bpf_struct_ops_{name}", Struct)
    btf = None
    if place is not None:
        btf = types.vmlinux if place.module is None else types.modules[place.module]
    value = btf[place.btf_id] if btf is not None and place is not None else None
    data = next((m for m in value.members if m.name == "data"), None) if isinstance(value, Struct) else None
    struct = btf[btf.strip(data.type)] if btf is not None and data is not None else None
    if btf is None or place is None or data is None or not isinstance(struct, Struct):
        what = f"table '{spec.name}': this kernel lets nobody put programs into struct {name}"
        raise UnsupportedError(Diagnostic("M0126", what, help=f"look for struct bpf_struct_ops_{name}: skep btf dump"))
    return KernelTable(btf, place.btf_id, struct, data.bit_offset // 8, place.module)


def create_table(spec: MapSpec, types: KernelTypes, store: TypeStore, token: int = 0) -> TableMap:
    """Make the map; its functions come later, with fill().

    Raises:
        UnsupportedError: M0126. MapError: M0121, E022x as for every map; M0127 its bytes do not fit this kernel.
    """
    table = find_table(types, spec)
    value_of(spec, table, {})  # before anything exists: do the members that are no functions fit?
    loaded = store.get(spec.btf)
    with ExitStack() as stack:
        flags, module = spec.flags, -1
        if table.module is not None:
            opened = open_module_types(table.module)
            if opened is None:
                what = f"table '{spec.name}': the types of module '{table.module}' cannot be opened"
                raise UnsupportedError(Diagnostic("M0126", what, help="this needs CAP_SYS_ADMIN"))
            stack.callback(opened.close)
            flags, module = flags | F_VTYPE_BTF_OBJ_FD, opened.number
        request = maps.MapRequest(
            map_type=spec.type,
            key_size=len(_KEY),
            value_size=table.size,
            max_entries=1,
            flags=flags,
            name=kernel_name(spec.name),
            vmlinux_value_type=table.value_type,
            value_type_btf=max(module, 0),
            btf=loaded.fd.number if loaded is not None else 0,  # the kernel wants the object's types, too
            token=token,
        )
        try:
            fd = with_memory(lambda: maps.create(request, f"table {spec.name}"))
        except BpfCallError as error:
            raise map_refused(error, spec) from None
    return TableMap(spec.replace(value_size=table.size), fd, spec, table)


class TableMap(KernelMap):
    """A table. It is filled with programs, then registered, and then (6.4) put into force by a link."""

    def __init__(self, spec: MapSpec, fd: Fd, source: MapSpec, table: KernelTable) -> None:
        super().__init__(spec, fd)
        self._source = source
        self._table = table
        self._value: bytes | None = None
        self._is_registered = False

    @property
    def has_link(self) -> bool:
        """A link puts it into force; else registering does."""
        return bool(self._spec.flags & F_LINK)

    def fill(self, programs: Mapping[str, ProgramHandle]) -> None:
        """Say which programs stand in for its members, by their names in C; those that are not there are left out."""
        numbers: dict[str, int] = {}
        for name, program in programs.items():
            fd = getattr(program, "fd", None)
            if not isinstance(fd, Fd):
                raise UsageError(Diagnostic("E0213", "the program belongs to another engine"))
            numbers[name] = fd.number
        self._value = value_of(self._source, self._table, numbers)

    def register(self) -> None:
        """Give the kernel the table (BPF_MAP_UPDATE_ELEM); a second call does nothing.

        Raises:
            MapError: M0128 the kernel does not take it as it is, or another one has its name (EEXIST).
        """
        if self._is_registered:
            return
        try:
            maps.update(self.fd.number, _KEY, self._value or value_of(self._source, self._table, {}))
        except BpfCallError as error:
            raise self._refused(error) from None
        self._is_registered = True

    def unregister(self, fd: int) -> None:
        """Take a table without a link out of force (BPF_MAP_DELETE_ELEM), through any descriptor of it."""
        self._is_registered = False
        maps.delete(fd, _KEY)

    def _refused(self, error: BpfCallError) -> MapError:
        name = self._table.struct.name
        what = f"table '{self._spec.name}': the kernel does not take it as a struct {name}: {error.reason}"
        return MapError(
            Diagnostic("M0128", what, why=_WHY.get(error.number, ()), help=f"see what struct {name} must have",
                       kernel=errno.errorcode.get(error.number, str(error.number))),
            error.number,
        )  # fmt: skip


_WHY: Final[Mapping[int, tuple[str, ...]]] = {
    errno.EINVAL: ("a member that must be there is not, or one has a value that it must not have",),
    errno.EEXIST: ("another table has the same name",),
}


def value_of(spec: MapSpec, table: KernelTable, programs: Mapping[str, int]) -> bytes:
    """The map's value: the object's bytes where the kernel has the members, and the programs' descriptors.

    Raises:
        MapError: M0127 a member with a value that this kernel does not have, or has in another way.
    """
    source, btf = _own_struct(spec), spec.btf
    assert btf is not None
    contents = spec.contents or bytes(source.size)
    functions = {slot.index: slot.target for slot in spec.slots}
    value = bytearray(table.size)
    for index, member in enumerate(source.members):
        wanted = table.member(member.name)
        raw = contents[member.bit_offset // 8 :][: _bytes_of(btf, member)]
        if wanted is None:
            if any(raw):
                raise _misfit(spec, f"struct {table.struct.name} of this kernel has no member '{member.name}'")
            continue
        at = table.offset + wanted.bit_offset // 8
        problem = _difference(btf, member, table.btf, wanted)
        if problem is not None:
            raise _misfit(spec, f"member '{member.name}' {problem}")
        if index in functions:
            number = programs.get(functions[index], 0)
            value[at : at + _WORD] = number.to_bytes(_WORD, "little" if btf.byte_order == "little" else "big")
        elif not isinstance(table.btf[table.btf.strip(wanted.type)], Ptr):
            value[at : at + len(raw)] = raw
        elif any(raw):
            raise _misfit(spec, f"member '{member.name}' is a pointer, and points to no program")
    return bytes(value)


def _difference(btf: Btf, ours: Member, kernel: Btf, theirs: Member) -> str | None:
    if ours.bitfield_size or theirs.bitfield_size:
        return "is a bitfield, which cannot be set"
    a, b = btf[btf.strip(ours.type)], kernel[kernel.strip(theirs.type)]
    if type(a) is not type(b):
        return f"is {_kind(b)} in this kernel, not {_kind(a)}"
    if isinstance(a, Ptr) and isinstance(b, Ptr):
        is_function = isinstance(btf[btf.strip(a.type)], FuncProto)
        same = is_function == isinstance(kernel[kernel.strip(b.type)], FuncProto)
        return None if same else "is a pointer to something else in this kernel"
    sizes = _bytes_of(btf, ours), _bytes_of(kernel, theirs)
    return None if sizes[0] == sizes[1] else f"has {sizes[1]} bytes in this kernel, not {sizes[0]}"


def _kind(found: object) -> str:
    return f"a {type(found).__name__.lower()}"


def _bytes_of(btf: Btf, member: Member) -> int:
    if member.bitfield_size:
        return -(-(member.bit_offset % 8 + member.bitfield_size) // 8)
    return size_of(btf, member.type)


def _own_struct(spec: MapSpec) -> Struct:
    found = spec.btf[spec.value_type] if spec.btf is not None else None
    if not isinstance(found, Struct):
        raise _misfit(spec, "its type is not known")
    return found


def _misfit(spec: MapSpec, why: str) -> MapError:
    what, help = f"table '{spec.name}' does not fit this kernel", "compile it with the vmlinux.h of this kernel"
    return MapError(Diagnostic("M0127", what, why=(why,), help=help), errno.ENOTSUP)
