"""Global variables of a loaded object."""

from __future__ import annotations

from typing import Any

from skep.collection.codecs import codec_for
from skep.diagnostics import Diagnostic
from skep.engine import DirectMemory, MapHandle
from skep.errors import UsageError
from skep.model.maps import VariableSpec

_KEY = bytes(4)


class Variable:
    """A global variable: ``obj.variables["port"].value = 443``. Programs see a change at once."""

    def __init__(self, spec: VariableSpec, handle: MapHandle, byte_order: str = "little") -> None:
        self.spec = spec
        self._handle = handle
        self._codec = codec_for(spec.btf, spec.type, spec.size, byte_order)

    @property
    def name(self) -> str:
        """Its name in C."""
        return self.spec.name

    @property
    def value(self) -> Any:
        """The value now, decoded by BTF (bytes where the type is not known)."""
        handle = self._handle
        start, end = self.spec.offset, self.spec.offset + self.spec.size
        if isinstance(handle, DirectMemory):
            return self._codec.decode(bytes(handle.memory()[start:end]))
        whole = handle.lookup(_KEY)
        return self._codec.decode((whole or b"")[start:end])

    @value.setter
    def value(self, value: Any) -> None:
        if self.spec.constant:
            raise UsageError(
                Diagnostic(
                    "U0211",
                    f"'{self.name}' is a constant: it cannot change once the program is loaded",
                    why=("the verifier and the JIT have used its value already",),
                    help=f"set it before loading: skep.load(spec, variables={{'{self.name}': {value!r}}})",
                )
            )
        raw = self._codec.encode(value)
        handle = self._handle
        start, end = self.spec.offset, self.spec.offset + self.spec.size
        if isinstance(handle, DirectMemory):
            handle.memory()[start:end] = raw
            return
        whole = bytearray(handle.lookup(_KEY) or b"")
        whole[start:end] = raw
        handle.update(_KEY, bytes(whole))

    def __repr__(self) -> str:
        return f"<Variable {self.name!r} in {self.spec.map}>"
