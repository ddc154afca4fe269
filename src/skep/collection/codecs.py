"""How keys and values of a map become Python values: by BTF where the object has it, else plain bytes."""

from __future__ import annotations

from typing import Any, Protocol

from skep.btf.types import Btf, Struct, Typedef, Union
from skep.btf.values import codec as btf_codec
from skep.diagnostics import Diagnostic
from skep.errors import UsageError


class Codec(Protocol):
    """Bytes to a Python value and back."""

    @property
    def size(self) -> int:
        """Bytes of an encoded value."""

    def decode(self, data: bytes) -> Any:
        """The Python value of ``size`` bytes."""

    def encode(self, value: Any) -> bytes:
        """The bytes of a Python value."""


class BytesCodec:
    """For maps without type information: bytes as they are; an int is written in the byte order of the program."""

    def __init__(self, size: int, byte_order: str = "little") -> None:
        self._size = size
        self._order = byte_order

    @property
    def size(self) -> int:
        return self._size

    def decode(self, data: bytes) -> bytes:
        return bytes(data)

    def encode(self, value: Any) -> bytes:
        if isinstance(value, int):
            try:
                signed = value < 0
                return value.to_bytes(self._size, "big" if self._order == "big" else "little", signed=signed)
            except OverflowError:
                raise _misfit(f"{value} does not fit into {self._size} bytes", self._size) from None
        if isinstance(value, bytes | bytearray | memoryview):
            if len(value) != self._size:
                raise _misfit(f"{len(value)} bytes were given where {self._size} belong", self._size)
            return bytes(value)
        raise _misfit(f"{type(value).__name__} is not bytes or int, and the map has no type information", self._size)


def codec_for(btf: Btf | None, type_id: int, size: int, byte_order: str = "little") -> Codec:
    """The codec of a BTF type, or plain bytes where the type is unknown or its size is not the map's."""
    if btf is None or type_id == 0:
        return BytesCodec(size, byte_order)
    typed = btf_codec(btf, type_id)
    return typed if typed.size == size else BytesCodec(size, byte_order)


def named_type(btf: Btf | None, name: str) -> tuple[Btf, int]:
    """A type of the object by its name in C.

    Raises:
        UsageError: M0004 the object has no such type.
    """
    type_id = btf.find(name, Struct, Union, Typedef) if btf is not None else None
    if btf is not None and type_id is not None:
        return btf, type_id
    raise UsageError(
        Diagnostic(
            "M0004",
            f"the object has no type '{name}'",
            why=("clang keeps only the types that maps, global variables and functions mention",),
            help=f"add to the C: const struct {name} *unused __attribute__((unused)); and compile with -g",
        )
    )


def _misfit(what: str, size: int) -> UsageError:
    return UsageError(Diagnostic("M0001", what, help=f"give exactly {size} bytes, or compile with -g for typed values"))
