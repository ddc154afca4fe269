"""Generated programs at the next stations: linked, with the types that callbacks need; what their maps hold."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from skep.abi.map_types import MapType
from skep.btf.types import Btf, Func, FuncProto, Int, Void
from skep.isa import opcodes as op
from skep.isa.instruction import Instruction
from skep.model.maps import MapSpec
from skep.model.programs import LinkedProgram, Subprogram
from skep.testing.conformance import find_subprograms
from skep.testing.generate import Sample
from skep.vm.target import vm_target

Contents = tuple[tuple[bytes, bytes], ...]
_FIRST_FUNCTION = 3  # type ids: 1 int, 2 its prototype, then the functions
PER_CPU = (MapType.PERCPU_ARRAY, MapType.PERCPU_HASH)
_UNREADABLE = (MapType.RINGBUF, MapType.PROG_ARRAY)


def link_sample(sample: Sample) -> LinkedProgram:
    """The program as flat code for the vm."""
    return _link(sample, sample.insns, "generated")


def link_target(sample: Sample) -> LinkedProgram:
    """The program that its tail calls lead to."""
    return _link(sample, sample.target, "target")


def _link(sample: Sample, insns: tuple[Instruction, ...], name: str) -> LinkedProgram:
    types = function_types(insns)
    subprograms = find_subprograms(insns)
    if types is not None:
        _, ids = types
        subprograms = tuple(Subprogram(s.name, s.start, s.end, False, ids[s.start]) for s in subprograms)
    used = {insn.ref.name for insn in insns if insn.ref is not None}
    return LinkedProgram(
        name=name,
        section="generated",
        prog_type=sample.prog_type,
        attach_type=None,
        attach_to="",
        sleepable=False,
        frags=False,
        license="GPL",
        insns=insns,
        subprograms=subprograms,
        lines={},
        maps={spec.name: spec for spec in sample.maps if spec.name in used},
        target=vm_target(),
        btf=types[0] if types is not None else None,
    )


def function_types(insns: tuple[Instruction, ...]) -> tuple[Btf, dict[int, int]] | None:
    """Types of its functions by first slot, where it takes the address of one (the kernel wants them to be static)."""
    if not any(insn.opcode == op.LD_IMM64 and insn.src == op.PSEUDO_FUNC for insn in insns):
        return None
    subprograms = find_subprograms(insns)
    functions = [Func(sub.name, 2, int(number == 0)) for number, sub in enumerate(subprograms)]
    btf = Btf((Void(), Int("int", 4, 32, signed=True), FuncProto(1, ()), *functions))
    return btf, {sub.start: _FIRST_FUNCTION + number for number, sub in enumerate(subprograms)}


class MapReader(Protocol):
    """A map as it is read after a run."""

    def all_keys(self) -> Iterable[bytes]:
        """Its keys."""

    def value(self, key: bytes) -> bytes | None:
        """A value; of every CPU for per-CPU maps."""

    def pop(self) -> bytes | None:
        """The next value of a queue."""


def contents(spec: MapSpec, reader: MapReader) -> Contents:
    """Keys and values in an order that does not depend on the engine; per-CPU values without saying which CPU's."""
    if spec.type in _UNREADABLE:
        return ()
    if spec.type is MapType.QUEUE:
        found = []
        while (value := reader.pop()) is not None:
            found.append((b"", value))
        return tuple(found)
    items = sorted((key, reader.value(key) or b"") for key in reader.all_keys())
    if spec.type not in PER_CPU:
        return tuple(items)
    step = -(-spec.value_size // 8) * 8
    split = []
    for key, value in items:
        values = [value[at : at + spec.value_size] for at in range(0, len(value), step)]
        split += [(key, one) for one in sorted(values) if any(one)] or [(key, b"")]
    return tuple(split)
