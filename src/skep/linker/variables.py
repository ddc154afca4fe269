"""Setting global variables before loading: a new ObjectSpec with other bytes in ``.rodata``, ``.data`` or ``.bss``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from skep.abi.prog_types import AttachType, ProgType
from skep.btf.values import codec
from skep.diagnostics import Diagnostic
from skep.errors import UsageError
from skep.linker.faults import unknown_name
from skep.model.maps import MapSpec, VariableSpec
from skep.model.objects import ObjectSpec


def set_variables(spec: ObjectSpec, values: Mapping[str, Any]) -> ObjectSpec:
    """The object with other initial values.

    Args:
        spec: the object; it does not change.
        values: by variable name: a Python value as the BTF codec takes it, or the very bytes. Variables without BTF
            take an int (of the variable's size, signed or unsigned), or bytes.

    Raises:
        UsageError: U0110 no such variable, U0111 a value that does not fit.
    """
    buffers: dict[str, bytearray] = {}
    for name, value in values.items():
        variable = spec.variables.get(name)
        if variable is None:
            raise unknown_name("variable", name, spec.variables, "U0110")
        home = spec.maps[variable.map]
        buffer = buffers.setdefault(home.name, bytearray(home.contents or b""))
        buffer[variable.offset : variable.offset + variable.size] = _encoded(spec, variable, value)
    maps: dict[str, MapSpec] = dict(spec.maps)
    for name, buffer in buffers.items():
        maps[name] = maps[name].replace(contents=bytes(buffer))
    return replace(spec, maps=maps)


def _encoded(spec: ObjectSpec, variable: VariableSpec, value: Any) -> bytes:
    if variable.btf is not None and variable.type and not isinstance(value, bytes | bytearray | memoryview):
        made = codec(variable.btf, variable.type)
        if made.size == variable.size:
            try:
                return made.encode(value)
            except UsageError as error:
                inner = error.diagnostic
                what = f"variable '{variable.name}' cannot be set: {inner.what}"
                raise UsageError(replace(inner, code="U0111", what=what)) from error
    if isinstance(value, bytes | bytearray | memoryview):
        raw = bytes(value)
        if len(raw) != variable.size:
            raise _misfit(variable, f"it has {variable.size} bytes, not {len(raw)}")
        return raw
    if not isinstance(value, int):
        raise _misfit(variable, f"the object does not say its type; give an int or {variable.size} bytes")
    if variable.size not in (1, 2, 4, 8):
        raise _misfit(variable, f"the object does not say its type; give its {variable.size} bytes")
    bits = variable.size * 8
    if not -(1 << (bits - 1)) <= value < 1 << bits:
        raise _misfit(variable, f"{value} does not fit {bits} bits")
    return (value & ((1 << bits) - 1)).to_bytes(variable.size, "little" if spec.byte_order == "little" else "big")


def _misfit(variable: VariableSpec, reason: str) -> UsageError:
    return UsageError(Diagnostic("U0111", f"variable '{variable.name}' cannot be set: {reason}"))


def set_type(spec: ObjectSpec, program: str, prog_type: ProgType, attach_type: AttachType | None = None) -> ObjectSpec:
    """The object with a program's type given by the user, for section names that say nothing.

    Raises:
        UsageError: U0101 no such program.
    """
    found = spec.programs.get(program)
    if found is None:
        raise unknown_name("program", program, spec.programs, "U0101")
    changed = replace(found, prog_type=prog_type, attach_type=attach_type)
    return replace(spec, programs={**spec.programs, program: changed})
