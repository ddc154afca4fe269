"""All 148 objects of real projects: programs are found with the section, name and size that the kernel saw."""

from __future__ import annotations

import json
from collections import defaultdict
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection

from skep.errors import ElfError, LinkError
from skep.linker.calls import lay_out
from skep.model.objects import ObjectSpec
from skep.objfile import read_object
from skep.objfile.elf import STT_SECTION, read_elf

INVALID = {"invalid/badsymsize.o": "O0112", "invalid/invalid-lddw.o": "O0156"}


@pytest.fixture(scope="module")
def objects(corpus: Path) -> dict[str, ObjectSpec | ElfError]:
    folder = corpus / "objects"
    found: dict[str, ObjectSpec | ElfError] = {}
    for path in sorted(folder.glob("**/*.o")):
        try:
            found[str(path.relative_to(folder))] = read_object(path.read_bytes(), path.name)
        except ElfError as error:
            found[str(path.relative_to(folder))] = error
    return found


@pytest.fixture(scope="module")
def rows(corpus: Path) -> dict[str, list[dict[str, Any]]]:
    table: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in json.loads((corpus / "objects" / "manifest.json").read_text()):
        table[row["object"]].append(row)
    return table


def test_all_objects_can_be_read_but_two_that_are_broken(objects: dict[str, ObjectSpec | ElfError]) -> None:
    assert len(objects) == 148
    broken = {name: found.diagnostic.code for name, found in objects.items() if isinstance(found, ElfError)}
    assert broken == INVALID


def test_programs_are_those_of_the_manifest(
    objects: dict[str, ObjectSpec | ElfError], rows: dict[str, list[dict[str, Any]]]
) -> None:
    compared = 0
    for name, expected in rows.items():
        spec = objects[name]
        assert isinstance(spec, ObjectSpec)
        wanted = {}
        for row in expected:
            if row["function"] != "-":  # libbpf could not open the object at all
                wanted[row["function"]] = (row["section"], row["insns"])
        found = {}
        for program in spec.programs.values():
            if program.section != ".text":
                found[program.name] = (program.section, _linked_slots(spec, program.name))
        assert found == wanted, name
        compared += len(found)
    assert compared == 413


def _linked_slots(spec: ObjectSpec, program: str) -> int:
    """Slots of the program with its subprograms, as the kernel is given them; alone when a function is missing."""
    function = spec.programs[program].function
    try:
        return lay_out(program, function, spec.functions)[-1].end
    except LinkError:
        return sum(insn.width for insn in function.insns)


def test_tables_agree_with_pyelftools(corpus: Path) -> None:
    for path in sorted((corpus / "objects" / "linux").glob("*.o"))[:20] + sorted(
        (corpus / "objects" / "ovs").glob("*.o")
    ):
        data = path.read_bytes()
        ours, theirs = read_elf(data, path.name), ELFFile(BytesIO(data))
        sections = list(theirs.iter_sections())
        assert [(s.name, s.size, s.offset) for s in ours.sections] == [
            (s.name, s["sh_size"], s["sh_offset"]) for s in sections
        ]
        table = theirs.get_section_by_name(".symtab")
        found = [(s.name, s.value, s.size) for s in ours.symbols if s.type != STT_SECTION]
        assert found == [
            (s.name, s["st_value"], s["st_size"]) for s in table.iter_symbols() if s["st_info"]["type"] != "STT_SECTION"
        ]
        for index, relocations in ours.relocations.items():
            (other,) = [s for s in sections if isinstance(s, RelocationSection) and s["sh_info"] == index]
            assert [(r.offset, r.type, r.symbol.index) for r in relocations] == [
                (r["r_offset"], r["r_info_type"], r["r_info_sym"]) for r in other.iter_relocations()
            ]


def test_maps_have_types_and_sizes(objects: dict[str, ObjectSpec | ElfError]) -> None:
    maps = [m for spec in objects.values() if isinstance(spec, ObjectSpec) for m in spec.maps.values()]
    assert len(maps) == 491
    legacy = [m for m in maps if any("legacy" in note for note in m.notes)]
    assert len(legacy) == 388
    assert all(m.max_entries <= 1 << 22 and m.key_size <= 512 for m in legacy), (
        "the words of the definition are misread"
    )
