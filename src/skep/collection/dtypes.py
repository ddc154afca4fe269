"""NumPy's structured types from BTF: many values of one C struct in one array. NumPy is needed only here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from skep.btf.catalog import POINTER_SIZE, describe, size_of
from skep.btf.types import Array, Btf, Enum, Enum64, Float, Int, Member, Ptr, Struct, Union
from skep.diagnostics import Diagnostic
from skep.errors import UnsupportedError

if TYPE_CHECKING:
    import numpy as np


def require_numpy() -> Any:
    """The numpy module.

    Raises:
        UnsupportedError: U0401, it is not installed.
    """
    try:
        import numpy
    except ImportError:
        raise UnsupportedError(
            Diagnostic("U0401", "arrays of records need NumPy", help="pip install numpy, or read records one by one")
        ) from None
    return numpy


def dtype_of(btf: Btf, type_id: int) -> np.dtype[Any]:
    """The NumPy type with the layout of a C type; padding is left out of the names, not of the size.

    Raises:
        UnsupportedError: U0402, bitfields, 128-bit numbers and the like, which NumPy has not.
    """
    return require_numpy().dtype(_spec(btf, type_id))  # type: ignore[no-any-return]


def _spec(btf: Btf, type_id: int) -> Any:
    order = ">" if btf.byte_order == "big" else "<"
    bare = btf.strip(type_id)
    found = btf[bare]
    if isinstance(found, Int | Enum | Enum64):
        if found.size not in (1, 2, 4, 8):
            raise _unsupported(btf, type_id)
        if isinstance(found, Int) and found.boolean:
            return "?" if found.size == 1 else f"{order}u{found.size}"
        return f"{order}{'i' if found.signed else 'u'}{found.size}"
    if isinstance(found, Ptr):
        return f"{order}u{POINTER_SIZE}"
    if isinstance(found, Float) and found.size in (4, 8):
        return f"{order}f{found.size}"
    if isinstance(found, Array):
        element = btf[btf.strip(found.type)]
        if isinstance(element, Int) and element.size == 1 and (element.char or element.name == "char"):
            return f"S{found.nelems}"
        return (_spec(btf, found.type), (found.nelems,))
    if isinstance(found, Struct | Union):
        names: list[str] = []
        formats: list[Any] = []
        offsets: list[int] = []
        for name, offset, member_type in _members(btf, found.members, 0, describe(btf, type_id)):
            names.append(name)
            formats.append(_spec(btf, member_type))
            offsets.append(offset)
        return {"names": names, "formats": formats, "offsets": offsets, "itemsize": size_of(btf, bare)}
    raise _unsupported(btf, type_id)


def _members(btf: Btf, members: tuple[Member, ...], base: int, title: str) -> list[tuple[str, int, int]]:
    """(name, offset, type); members of anonymous structs and unions belong to the outer one, as in C."""
    found: list[tuple[str, int, int]] = []
    for member in members:
        inner = btf[btf.strip(member.type)]
        offset = base + member.bit_offset // 8
        if not member.name and isinstance(inner, Struct | Union):
            found += _members(btf, inner.members, offset, title)
        elif member.bitfield_size:
            raise UnsupportedError(
                Diagnostic(
                    "U0402",
                    f"{title} has a bitfield '{member.name}', which NumPy's arrays have not",
                    help="read its records one by one with events()",
                )
            )
        elif member.name:
            found.append((member.name, offset, member.type))
    return found


def _unsupported(btf: Btf, type_id: int) -> UnsupportedError:
    return UnsupportedError(
        Diagnostic(
            "U0402",
            f"NumPy's arrays have no {describe(btf, type_id)}",
            help="read its records one by one with events()",
        )
    )
