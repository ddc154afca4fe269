"""Variables in arenas: from a section of their own to the beginning of the arena that the object declares."""

from __future__ import annotations

import pytest

from skep.abi.map_types import MapType
from skep.errors import LinkError
from skep.isa.instruction import MapRef, MapValueRef
from skep.linker import link, link_static, place_variables
from skep.linker.arenas import SECTION
from skep.model.objects import ObjectSpec
from skep.model.target import Target
from skep.objfile import read_object
from tests.unit.objfile.build import compile_c

TARGET = Target("linux", (6, 18, 0))
DECLARED = """
#define __arena __attribute__((address_space(1)))
struct { __uint(type, 33); __uint(map_flags, 1024); __uint(max_entries, PAGES); } arena SEC(".maps");
"""
CODE = """
int __arena first = 7; __u64 __arena zeros[4]; int plain = 3;
SEC("syscall") int f(void *c) { zeros[2] = first + plain; return (long) &arena; }
"""


def read(source: str, name: str = "a.o", pages: int = 2) -> ObjectSpec:
    return read_object(compile_c(source.replace("PAGES", str(pages))), name)


def test_the_section_waits_for_its_arena() -> None:
    spec = read(DECLARED + CODE)
    section = spec.maps[SECTION]
    assert (section.type, section.autocreate, spec.variables["first"].map) == (MapType.ARENA, False, SECTION)
    assert section.contents is not None
    assert spec.unsupported == {}
    placed = place_variables(spec)
    assert SECTION not in placed.maps
    assert placed.maps["arena"].contents == section.contents
    assert {variable.map for variable in placed.variables.values()} == {"arena", ".data"}
    assert place_variables(placed) == placed


def test_code_names_the_arena() -> None:
    linked = link(read(DECLARED + CODE), "f", TARGET)
    refs = {insn.ref for insn in linked.insns if insn.ref is not None}
    assert MapRef("arena") in refs
    assert {ref.name for ref in refs if isinstance(ref, MapValueRef)} == {"arena", ".data"}
    assert linked.maps["arena"].contents is not None
    assert set(linked.maps) == {"arena", ".data"}


@pytest.mark.parametrize(
    ("source", "pages", "sentence"),
    [
        ("#define __arena __attribute__((address_space(1)))\n" + CODE.replace("(long) &arena", "0"), 2, "no arena"),
        (DECLARED + DECLARED.replace("arena SEC", "other SEC") + CODE, 2, "several arenas"),
        (DECLARED + CODE.replace("zeros[4]", "zeros[600]"), 1, "arena 'arena' has 4096"),
    ],
)
def test_what_cannot_be_placed(source: str, pages: int, sentence: str) -> None:
    with pytest.raises(LinkError, match=sentence) as caught:
        link(read(source, pages=pages), "f", TARGET)
    assert caught.value.diagnostic.code == "L0120"


def test_variables_of_several_objects() -> None:
    one = read(DECLARED + CODE, "one.o")
    two = read(
        "#define __arena __attribute__((address_space(1)))\n"
        'int __arena second = 9; extern int __arena first; SEC("syscall") int g(void *c) { return second + first; }\n',
        "two.o",
    )
    whole = place_variables(link_static([one, two]))
    data = whole.maps["arena"].contents
    assert data is not None
    for name, value in (("first", 7), ("second", 9)):
        variable = whole.variables[name]
        assert variable.map == "arena"
        assert int.from_bytes(data[variable.offset : variable.offset + 4], "little") == value
    linked = link(whole, "g", TARGET)
    offsets = {insn.ref.offset for insn in linked.insns if isinstance(insn.ref, MapValueRef)}
    assert offsets == {whole.variables["first"].offset, whole.variables["second"].offset}
