"""Types of a kernel from a file: raw BTF (BTFHub's, pahole's), or a vmlinux with debug information."""

from __future__ import annotations

import os

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from skep.btf.reader import parse_btf
from skep.btf.types import Btf
from skep.diagnostics import Diagnostic
from skep.errors import InputError
from skep.kernel import host

_ELF_MAGIC = b"\x7fELF"
_HELP = "give raw BTF (pahole --btf_encode_detached, BTFHub), or a vmlinux that was built with CONFIG_DEBUG_INFO_BTF"


def read_btf_file(path: str | os.PathLike[str]) -> Btf:
    """The types in a file.

    Raises:
        InputError: B0004 no such file, or it has no types. BtfError: they are broken.
    """
    name = os.fspath(path)
    try:
        with open(path, "rb") as file:
            magic = file.read(len(_ELF_MAGIC))
            file.seek(0)
            if magic != _ELF_MAGIC:
                return parse_btf(file.read())
            section = ELFFile(file).get_section_by_name(".BTF")
            data = section.data() if section is not None else b""
    except OSError as error:
        raise InputError(Diagnostic("B0004", f"cannot read '{name}': {error.strerror}", help=_HELP)) from None
    except (ELFError, ValueError, KeyError, AssertionError, AttributeError, TypeError, OverflowError, MemoryError):
        raise InputError(Diagnostic("B0004", f"'{name}' is a broken ELF file", help=_HELP)) from None
    if not data:
        raise InputError(Diagnostic("B0004", f"'{name}' has no section .BTF", help=_HELP))
    return parse_btf(data)


def find_btf_file() -> Btf | None:
    """The types of the running kernel where distributions put them, for kernels that do not show their own."""
    for path in host.btf_files():
        try:
            return read_btf_file(path)
        except InputError:
            continue
    return None
