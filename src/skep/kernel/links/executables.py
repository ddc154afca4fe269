"""Programs and libraries as files: where they are, where their functions and static probes lie (ELF, sys/sdt.h)."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from skep.diagnostics import Diagnostic
from skep.errors import ElfError, EngineError

_LIBRARIES: Final = ("/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib")
_NOTE_STAPSDT: Final = 3


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of the file that is mapped into memory."""

    address: int
    offset: int
    size: int
    executable: bool


@dataclass(frozen=True, slots=True)
class Probe:
    """A static probe (USDT). Addresses are those of the file; ``semaphore`` 0: none."""

    provider: str
    name: str
    arguments: str
    address: int
    semaphore: int


def find_file(path: str | Path) -> Path:
    """The file that a path or bare name means: libraries as the dynamic linker finds them, programs by PATH.

    Raises:
        EngineError: H0333, there is none.
    """
    text = os.fspath(path)
    if "/" in text:
        places = [Path(text)]
    else:
        is_library = ".so" in text
        searched = os.environ.get("LD_LIBRARY_PATH" if is_library else "PATH", "").split(":")
        standard = [*_multiarch(), *_LIBRARIES] if is_library else ["/usr/bin", "/usr/sbin", "/bin", "/sbin"]
        places = [Path(folder) / text for folder in (*searched, *standard) if folder]
    for place in places:
        if place.is_file():
            return place.resolve()
    raise EngineError(Diagnostic("H0333", f"there is no program or library '{text}'", help="give its whole path"))


class Executable:
    """What can be known of an ELF file without running it."""

    def __init__(self, path: str | Path) -> None:
        """Raises ElfError (H0334) for what is no ELF file, EngineError (H0333) for what is not there."""
        self.path = find_file(path)
        try:
            with self.path.open("rb") as file:
                elf: Any = ELFFile(file)
                self.is_dynamic = elf["e_type"] == "ET_DYN"
                self._order: str = "<" if elf.little_endian else ">"
                self._width = elf.elfclass // 8
                self.segments = tuple(_segments(elf))
                self.functions: Mapping[str, int] = dict(_functions(elf))
                self._notes = list(_notes(elf))
        except OSError as error:
            raise EngineError(Diagnostic("H0333", f"cannot read '{self.path}': {error.strerror}")) from None
        except (ELFError, ValueError, struct.error, UnicodeDecodeError, KeyError, AttributeError, TypeError) as error:
            what = f"'{self.path}' is not an ELF program or library: {error}"
            raise ElfError(Diagnostic("H0334", what, help="give the program itself, not a script")) from None

    def offset_of(self, address: int) -> int:
        """Where an address lies in the file.

        Raises:
            EngineError: H0335, nowhere.
        """
        for segment in self.segments:
            if segment.address <= address < segment.address + segment.size:
                return address - segment.address + segment.offset
        raise EngineError(Diagnostic("H0335", f"address {address:#x} of '{self.path}' lies in no part of the file"))

    def offset_of_symbol(self, name: str) -> int:
        """Where a function begins in the file; ``name@VERSION`` means the function without its version.

        Raises:
            EngineError: H0336, there is no such function.
        """
        address = self.functions.get(name, self.functions.get(name.partition("@")[0]))
        if address is None:
            close = get_close_matches(name, self.functions, n=3)
            raise EngineError(
                Diagnostic(
                    "H0336",
                    f"'{self.path}' has no function '{name}'",
                    why=() if self.functions else ("its symbols are stripped",),
                    help=f"did you mean {' or '.join(close)}?" if close else "nm -D lists its functions",
                )
            )
        return self.offset_of(address)

    def probes(self) -> list[Probe]:
        """The static probes, one for each place."""
        return [
            probe for desc, base in self._notes if (probe := _probe(desc, base, self._order, self._width)) is not None
        ]


def _segments(elf: Any) -> Iterator[Segment]:
    for segment in elf.iter_segments():
        if segment["p_type"] == "PT_LOAD":
            yield Segment(
                segment["p_vaddr"], segment["p_offset"], segment["p_filesz"] or 0, bool(segment["p_flags"] & 1)
            )


def _functions(elf: Any) -> Iterator[tuple[str, int]]:
    for section in elf.iter_sections():
        if isinstance(section, SymbolTableSection):
            for symbol in section.iter_symbols():
                kind = symbol["st_info"]["type"]
                if kind in ("STT_FUNC", "STT_LOOS") and symbol["st_shndx"] != "SHN_UNDEF" and symbol.name:
                    yield symbol.name, symbol["st_value"]


def _notes(elf: Any) -> Iterator[tuple[bytes, int | None]]:
    """(description, address that .stapsdt.base really has) of each stapsdt note."""
    section = elf.get_section_by_name(".note.stapsdt")
    if section is None:
        return
    base = elf.get_section_by_name(".stapsdt.base")
    base_address = base["sh_addr"] if base is not None else None
    data = section.data()
    order = "<" if elf.little_endian else ">"
    at = 0
    while at + 12 <= len(data):
        name_size, desc_size, kind = struct.unpack_from(order + "III", data, at)
        name = data[at + 12 : at + 12 + name_size].rstrip(b"\0")
        start = at + 12 + _aligned(name_size)
        if name == b"stapsdt" and kind == _NOTE_STAPSDT:
            yield data[start : start + desc_size], base_address
        at = start + _aligned(desc_size)


def _probe(desc: bytes, base: int | None, order: str, width: int) -> Probe | None:
    """A note's description: three addresses (probe, base, semaphore), then provider, name, arguments."""
    if len(desc) < 3 * width:
        return None
    address, noted_base, semaphore = struct.unpack_from(order + ("3Q" if width == 8 else "3I"), desc)
    words = desc[3 * width :].split(b"\0")
    if len(words) < 3:
        return None
    # prelink and the like move the code but not the notes: the base section tells by how much.
    moved = base - noted_base if base is not None and noted_base else 0
    provider, name, arguments = (word.decode(errors="replace") for word in words[:3])
    return Probe(provider, name, arguments, address + moved, semaphore + moved if semaphore else 0)


def _multiarch() -> list[str]:
    return [str(folder) for root in ("/lib", "/usr/lib") for folder in Path(root).glob("*-linux-gnu*")]


def _aligned(size: int) -> int:
    return (size + 3) & ~3
