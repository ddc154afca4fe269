"""Arenas as Python sees them: memory shared with programs, and pointers in it that can be followed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from skep.btf.values import codec as btf_codec
from skep.collection.base import Map
from skep.collection.codecs import named_type
from skep.collection.dtypes import dtype_of, require_numpy
from skep.diagnostics import Diagnostic
from skep.engine import SharedArena
from skep.errors import MapError, UsageError

if TYPE_CHECKING:
    import numpy as np

EFAULT = 14


class Arena(Map):
    """An arena. Programs leave pointers in maps and in the arena itself; here they are numbers, from ``address`` on."""

    @property
    def address(self) -> int:
        """What a pointer to its first byte is."""
        return self._shared().address

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.memory())

    def memory(self) -> memoryview:
        """All of it, in place: no copy, and changes are seen at once on both sides."""
        return self._shared().memory()

    def offset_of(self, pointer: int) -> int:
        """Where in memory() a pointer points.

        Raises:
            MapError: M0009 it does not point into this arena (EFAULT).
        """
        start = self.address
        # Programs may keep the low 32 bits only (the kernel's own view of a pointer).
        offset = pointer - start if pointer >> 32 else pointer - (start & 0xFFFFFFFF) & 0xFFFFFFFF
        if not 0 <= offset < self.size:
            what = f"{pointer:#x} does not point into arena '{self.name}' ({start:#x} to {start + self.size:#x})"
            raise MapError(Diagnostic("M0009", what, help="is it NULL, or from another arena?"), EFAULT)
        return offset

    def load(self, pointer: int, type_name: str) -> Any:
        """The value of a C type at a pointer, decoded by BTF; its own pointers are numbers again.

        Raises:
            UsageError: M0004 the object has no such type. MapError: M0009 it does not lie in this arena.
        """
        codec = btf_codec(*named_type(self.spec.btf, type_name))
        start = self._checked(pointer, codec.size)
        return codec.decode(bytes(self.memory()[start : start + codec.size]))

    def store(self, pointer: int, type_name: str, value: Any) -> None:
        """Write a value of a C type where a pointer points. Errors as load(), and UsageError for a misfit."""
        codec = btf_codec(*named_type(self.spec.btf, type_name))
        start = self._checked(pointer, codec.size)
        self.memory()[start : start + codec.size] = codec.encode(value)

    def walk(self, pointer: int, type_name: str, link: str = "next") -> Iterator[Any]:
        """A linked list: each element, decoded, until the member ``link`` is NULL (or leads back to the start)."""
        seen: set[int] = set()
        while pointer and pointer not in seen:
            seen.add(pointer)
            found = self.load(pointer, type_name)
            yield found
            pointer = getattr(found, link) if hasattr(found, link) else found[link]

    def array(self, pointer: int, type_name: str, count: int) -> np.ndarray[Any, Any]:
        """``count`` values of a C type from a pointer on, in place, as a NumPy array."""
        numpy = require_numpy()
        dtype = dtype_of(*named_type(self.spec.btf, type_name))
        start = self._checked(pointer, dtype.itemsize * count)
        return numpy.frombuffer(self.memory(), dtype, count, start)  # type: ignore[no-any-return]

    def _checked(self, pointer: int, size: int) -> int:
        start = self.offset_of(pointer)
        if start + size > self.size:
            self.offset_of(pointer + size - 1)
        return start

    def _shared(self) -> SharedArena:
        handle = self.handle
        if not isinstance(handle, SharedArena):
            what = f"arena '{self.name}' cannot be looked into here"
            raise UsageError(Diagnostic("U0404", what, help='load it with engine="kernel"'))
        return handle
