"""Small linked programs from assembly text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from skep.abi.map_types import MapType
from skep.abi.prog_types import AttachType, ProgType
from skep.isa import opcodes as op
from skep.isa.assembler import assemble
from skep.isa.instruction import Instruction, MapRef, MapValueRef, slots
from skep.model.maps import MapSpec
from skep.model.programs import LinkedProgram, Subprogram, Verdict
from skep.model.target import Target
from skep.verifier import Options, judge

TARGET = Target("vm", (6, 18, 0))
HASH = MapSpec("hits", MapType.HASH, key_size=8, value_size=16, max_entries=8)
ARRAY = MapSpec("numbers", MapType.ARRAY, key_size=4, value_size=48, max_entries=4)
RINGBUF = MapSpec("events", MapType.RINGBUF, max_entries=4096)
RODATA = MapSpec(
    ".rodata",
    MapType.ARRAY,
    key_size=4,
    value_size=8,
    max_entries=1,
    flags=1 << 7,
    contents=b"\x05\0\0\0abc\0",
    frozen=True,
)
MAPS = {spec.name: spec for spec in (HASH, ARRAY, RINGBUF, RODATA)}


def link(
    text: str,
    prog_type: ProgType = ProgType.XDP,
    maps: Mapping[str, MapSpec] = MAPS,
    refs: Mapping[int, MapRef | MapValueRef] | None = None,
    target: Target = TARGET,
    attach_type: AttachType | None = None,
    sleepable: bool = False,
    poisoned: Mapping[int, str] | None = None,
) -> LinkedProgram:
    """Assemble; LD_IMM64 at the slots of ``refs`` get these names."""
    insns: list[Instruction] = []
    slot = 0
    for insn in assemble(text):
        ref = (refs or {}).get(slot)
        if ref is not None:
            src = op.PSEUDO_MAP_VALUE if isinstance(ref, MapValueRef) else op.PSEUDO_MAP_FD
            insn = replace(insn, src=src, imm=0, ref=ref)
        insns.append(insn)
        slot += insn.width
    code = slots(insns)
    starts = {0}
    for place, item in enumerate(code):
        if item is not None and item.opcode == op.JMP | op.CALL and item.src == op.CALL_LOCAL:
            starts.add(place + 1 + item.imm)
        if item is not None and item.opcode == op.LD_IMM64 and item.src == op.PSEUDO_FUNC:
            starts.add(place + 1 + ((item.imm & 0xFFFF_FFFF) ^ 0x8000_0000) - 0x8000_0000)
    ordered = sorted(starts)
    ends = [*ordered[1:], len(code)]
    return LinkedProgram(
        name="program",
        section="test",
        prog_type=prog_type,
        attach_type=attach_type,
        attach_to="",
        sleepable=sleepable,
        frags=False,
        license="GPL",
        insns=tuple(insns),
        subprograms=tuple(Subprogram(f"f{a}", a, b) for a, b in zip(ordered, ends, strict=True)),
        lines={},
        maps=maps,
        target=target,
        core_poisoned=poisoned or {},
    )


def check(text: str, options: Options | None = None, **linking: object) -> Verdict:
    """The verdict on a program."""
    return judge(link(text, **linking), options)  # type: ignore[arg-type]


def said(verdict: Verdict) -> str:
    """The kernel's sentence of the first diagnostic; "" if accepted."""
    return (verdict.diagnostics[0].kernel or verdict.diagnostics[0].what) if verdict.diagnostics else ""
