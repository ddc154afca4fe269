"""What all live maps have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from skep.abi.map_types import MapType
from skep.collection.codecs import Codec, codec_for
from skep.diagnostics import Diagnostic
from skep.engine import MapHandle, Pinnable
from skep.errors import ClosedError, UsageError
from skep.model.maps import MapSpec


class Map:
    """A live map. Subclasses say how it is used; ``keys`` and ``values`` below are Python values decoded by BTF.

    Attributes:
        spec: the blueprint it was made from.
        handle: the engine's side: raw bytes, for those who want them.
    """

    def __init__(self, spec: MapSpec, handle: MapHandle, byte_order: str = "little") -> None:
        self.spec = spec
        self._handle: MapHandle | None = handle
        self._key: Codec = codec_for(spec.btf, spec.key_type, spec.key_size, byte_order)
        self._value: Codec = codec_for(spec.btf, spec.value_type, spec.value_size, byte_order)

    @property
    def name(self) -> str:
        """Its name in C."""
        return self.spec.name

    @property
    def type(self) -> MapType:
        """The kind of map."""
        return self.spec.type

    @property
    def handle(self) -> MapHandle:
        """The engine's map; ClosedError after close()."""
        if self._handle is None:
            raise ClosedError(Diagnostic("M0002", f"map '{self.name}' is closed", help="use it inside the with block"))
        return self._handle

    def close(self) -> None:
        """Give it back; a second call does nothing."""
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.close()

    def encode_key(self, key: Any) -> bytes:
        """The bytes of a key."""
        return self._key.encode(key)

    def encode_value(self, value: Any) -> bytes:
        """The bytes of a value (of one CPU, for per-CPU maps)."""
        return self._value.encode(value)

    def pin(self, path: str) -> None:
        """Give it a name in a bpffs, under which it outlives this process (kernel engine).

        Raises:
            UsageError: the engine has no such names.
        """
        handle = self.handle
        if not isinstance(handle, Pinnable):
            raise UsageError(Diagnostic("U0204", f"map '{self.name}' cannot be pinned", help='use engine="kernel"'))
        handle.pin(path)

    def unpin(self, path: str | None = None) -> None:
        """Take a name away, or (None) all that were given through this object."""
        handle = self.handle
        if isinstance(handle, Pinnable):
            handle.unpin(path)

    def contents(self) -> Iterator[tuple[Any, Any]]:
        """What can be shown without changing anything: (key, value) pairs; nothing for queues and ring buffers."""
        return iter(())

    def __repr__(self) -> str:
        state = " closed" if self._handle is None else ""
        return f"<{type(self).__name__} {self.name!r} {self.spec.type.name.lower()}{state}>"
