"""What lies where in an object: the one answer to "what does this symbol, or this place in a section, stand for?"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from skep.objfile.elf import ElfFile, Symbol


@dataclass(frozen=True, slots=True)
class Layout:
    """Named things by place; places are (section number, byte offset).

    Attributes:
        maps: declared maps, by where their definition starts.
        data_maps: section number -> name of the map that holds the section's bytes.
        functions: functions, by where they start.
        commons: symbol number -> (map, offset) of tentative definitions (SHN_COMMON).
    """

    maps: Mapping[tuple[int, int], str] = field(default_factory=dict)
    data_maps: Mapping[int, str] = field(default_factory=dict)
    functions: Mapping[tuple[int, int], str] = field(default_factory=dict)
    commons: Mapping[int, tuple[str, int]] = field(default_factory=dict)


def describe_symbol(elf: ElfFile, symbol: Symbol, offset: int) -> str:
    """A symbol for messages: its name, or the place in its section."""
    if symbol.is_defined:
        section = elf.sections[symbol.section].name
        return f"'{symbol.name}' in section {section}" if symbol.name != section else f"{section}+{offset}"
    return f"'{symbol.name}'"
