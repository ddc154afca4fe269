"""What decoded values are in Python. All are snapshots: immutable and hashable, so that each can be a key of a dict.

| C                          | Python                                                                        |
|----------------------------|-------------------------------------------------------------------------------|
| integers, pointers         | int; a bool that holds 0 or 1 is bool                                         |
| float, double              | float (long double: its bytes)                                                |
| enum                       | the enumerator's name (str) when the value has one, otherwise int             |
| char[N]                    | str up to the first NUL when that is UTF-8 (Text if bytes follow), else bytes |
| unsigned char[N], __u8[N]  | Bytes: bytes that also compare with a list of numbers                         |
| other arrays               | ArrayValue: a tuple that also compares with lists                             |
| struct                     | StructValue: ``value.field`` and ``value["field"]``, a Mapping                |
| union                      | UnionValue: the same, every member decoded from the same bytes, and ``raw``   |

Members of anonymous structs and unions belong to the struct around them, as in C.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any


class Text(str):
    """A char array with bytes after the NUL: compares as the text before it, encodes to the very bytes it came from."""

    __slots__ = ("raw",)
    raw: bytes

    def __new__(cls, text: str, raw: bytes) -> Text:
        """A text with all bytes of the array."""
        self = super().__new__(cls, text)
        self.raw = raw
        return self


class Bytes(bytes):
    """An array of unsigned bytes; equal to bytes and to lists of numbers."""

    __slots__ = ()
    __hash__ = bytes.__hash__

    def __eq__(self, other: object) -> bool:
        return list(self) == other if isinstance(other, list) else super().__eq__(other)

    def __ne__(self, other: object) -> bool:
        return not self == other


class ArrayValue(tuple[Any, ...]):
    """An array; equal to tuples and lists of the same elements."""

    __slots__ = ()
    __hash__ = tuple.__hash__

    def __eq__(self, other: object) -> bool:
        return tuple.__eq__(self, tuple(other)) if isinstance(other, list) else tuple.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __repr__(self) -> str:
        return f"[{', '.join(map(repr, self))}]"


class Shape:
    """The names of a struct's members, shared by all its values."""

    __slots__ = ("index", "names", "title")

    def __init__(self, title: str, names: tuple[str, ...]) -> None:
        self.title = title  # for repr: the struct's name
        self.names = names
        self.index = {name: position for position, name in enumerate(names)}


class StructValue(Mapping[str, Any]):
    """A struct's members by name: ``value.port``, ``value["port"]``; equal to any mapping with the same items.

    A member whose name is also a method of Mapping (``keys``, ``values``, ``items``, ``get``) is found as an item only.
    """

    __slots__ = ("_shape", "_values")

    def __init__(self, shape: Shape, values: tuple[Any, ...]) -> None:
        object.__setattr__(self, "_shape", shape)
        object.__setattr__(self, "_values", values)

    def __getitem__(self, name: str) -> Any:
        return self._values[self._shape.index[name]]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        position = self._shape.index.get(name)
        if position is None:
            raise AttributeError(f"{self._shape.title} has no member '{name}'")
        return self._values[position]

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"decoded values are read-only; make a new one: {{**value, {name!r}: ...}}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError("decoded values are read-only")

    def __reduce__(self) -> tuple[Any, ...]:
        return _remake, (self._shape.title, self._shape.names, self._values)

    def __iter__(self) -> Iterator[str]:
        return iter(self._shape.names)

    def __len__(self) -> int:
        return len(self._values)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, StructValue) and self._shape.names == other._shape.names:
            return bool(self._values == other._values)
        return dict(self) == dict(other) if isinstance(other, Mapping) else NotImplemented

    def __hash__(self) -> int:
        return hash(frozenset(zip(self._shape.names, self._values, strict=True)))

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._shape.names]

    def __repr__(self) -> str:
        fields = ", ".join(f"{k}={v!r}" for k, v in zip(self._shape.names, self._values, strict=True))
        return f"{self._shape.title}({fields})"


def _remake(title: str, names: tuple[str, ...], values: tuple[Any, ...]) -> StructValue:
    return StructValue(Shape(title, names), values)


class UnionValue(Mapping[str, Any]):
    """A union: all members see the same bytes, ``raw``. Equal to a union with the same bytes."""

    __slots__ = ("_read", "_shape", "raw")

    def __init__(self, shape: Shape, raw: bytes, read: Callable[[str, bytes], Any]) -> None:
        object.__setattr__(self, "_shape", shape)
        object.__setattr__(self, "_read", read)
        object.__setattr__(self, "raw", raw)

    raw: bytes

    def __getitem__(self, name: str) -> Any:
        if name not in self._shape.index:
            raise KeyError(name)
        return self._read(name, self.raw)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name not in self._shape.index:
            raise AttributeError(f"{name} is no member of this union")
        return self._read(name, self.raw)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("decoded values are read-only; make a new one: {'member': ...}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._shape.names)

    def __len__(self) -> int:
        return len(self._shape.names)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, UnionValue):
            return self._shape.names == other._shape.names and self.raw == other.raw
        return dict(self) == dict(other) if isinstance(other, Mapping) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.raw)

    def __repr__(self) -> str:
        return f"{self._shape.title}({', '.join(f'{name}={self[name]!r}' for name in self)})"


def to_json(value: Any) -> Any:
    """A decoded value as json.dumps takes it: structs as objects, arrays as lists, other bytes as hex digits."""
    if isinstance(value, Mapping):
        return {name: to_json(each) for name, each in value.items()}
    if isinstance(value, Bytes):
        return list(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list | tuple):
        return [to_json(each) for each in value]
    return value
