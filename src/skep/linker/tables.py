"""Programs of tables (struct_ops): which member of which structure of the kernel each stands in for."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from skep.abi.map_types import MapType
from skep.abi.prog_types import ProgType
from skep.btf.types import Struct, essential_name
from skep.linker.faults import link_error
from skep.model.maps import MapSpec
from skep.model.objects import ObjectSpec
from skep.model.programs import ProgramSpec
from skep.model.target import Target


def table_type(table: MapSpec) -> Struct:
    """The C structure of a table."""
    found = table.btf[table.value_type] if table.btf is not None else None
    assert isinstance(found, Struct)
    return found


def member_of(spec: ObjectSpec, program: ProgramSpec) -> str:
    """``structure.member`` that a program stands in for, by the tables that name it.

    The section name does not decide: ``SEC("struct_ops/anything")`` (libbpf's bpf_object__collect_st_ops_relos).

    Raises:
        LinkError: L0121 no table names it, or tables name it in different places.
    """
    places = sorted({place for _, place in _places(spec, program.name)})
    if len(places) == 1:
        return places[0]
    if not places:
        raise link_error(
            "L0121",
            f"no table names program '{program.name}', so nobody knows what it stands in for",
            help=f'name it in a table, in SEC(".struct_ops.link"):  .member = (void *){program.name}',
            program=program.name,
        )
    raise link_error(
        "L0121",
        f"program '{program.name}' stands in for {' and for '.join(places)}",
        help="write one program for each: the kernel checks a program for one member",
        program=program.name,
    )


def loads_by_itself(spec: ObjectSpec, program: ProgramSpec, target: Target) -> bool:
    """Whether a program is loaded when nobody asks for it by name: its section has no ``?``, and for programs of
    tables, some table that is made names it, for a member that this kernel has (libbpf's autoload of struct_ops).
    """
    if not program.autoload or program.prog_type is not ProgType.STRUCT_OPS:
        return program.autoload
    places = list(_places(spec, program.name))
    return not places or any(table.autocreate and has_member(target, place) for table, place in places)


def has_member(target: Target, place: str) -> bool:
    """Whether the target's kernel has ``structure.member``; True where its types are not known."""
    if target.btf is None:
        return True
    name, _, member = place.partition(".")
    modules = (target.module_btf[module] for module in target.module_btf)  # each is read when it is its turn
    for btf in chain((target.btf,), modules):
        found = btf.find(name, Struct)
        struct = btf[found] if found is not None else None
        if isinstance(struct, Struct):
            return any(each.name == member for each in struct.members)
    return True


def _places(spec: ObjectSpec, program: str) -> Iterator[tuple[MapSpec, str]]:
    for table in spec.maps.values():
        if table.type is not MapType.STRUCT_OPS or table.btf is None:
            continue
        struct = table_type(table)
        for slot in table.slots:
            if slot.target == program:
                yield table, f"{essential_name(struct.name)}.{struct.members[slot.index].name}"
