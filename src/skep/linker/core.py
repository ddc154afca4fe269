"""CO-RE: answers of the Target's types written into instructions (libbpf's bpf_core_patch_insn)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from skep.btf.core_relo import CoreRelocation, CoreResult, resolve
from skep.btf.types import Btf
from skep.diagnostics import Diagnostic, Span
from skep.errors import LinkError, SkepError
from skep.isa.instruction import Instruction
from skep.isa.opcodes import ALU, ALU64, CLASS_MASK, LD, LD_IMM64, LDX, SIZE_BYTES, SIZE_MASK, SOURCE_MASK, ST, STX, K
from skep.linker.faults import link_error, span_at
from skep.model.programs import FunctionSpec
from skep.model.target import Target

POISON: Final = 195896080  # 0xbad2310: libbpf's number of a helper that does not exist; reads "bad relo"
_SIZE_CODES: Final = {size: code for code, size in SIZE_BYTES.items()}
_MAX_OFFSET: Final = 0x7FFF


@dataclass(frozen=True, slots=True)
class CoreOutcome:
    """The patched instruction; or, in ``poison``, why it must never be reached (``imm`` is then the number to call)."""

    insn: Instruction
    poison: str | None = None
    imm: int = POISON


class CoreCache:
    """Answers for one object and one Target; programs of an object ask the same questions again and again."""

    def __init__(self, local: Btf | None, target: Target) -> None:
        self.local = local
        self.target = target
        self.known: dict[CoreRelocation, CoreResult] = {}

    def apply(
        self, insn: Instruction, relocation: CoreRelocation, function: FunctionSpec, slot: int, program: str
    ) -> CoreOutcome:
        """Patch one instruction.

        Raises:
            LinkError: B03xx the Target's types give no answer at all, L0110 to L0113 an instruction that the relocation
                does not fit.
        """
        result = self._resolve(relocation, function, slot, program)
        if result.value is None:
            reason = result.reason or f"{self.target.name} has no {result.what}"
            return CoreOutcome(insn, f"CO-RE: {reason}")
        patch = _PATCHES.get(insn.opcode & CLASS_MASK)
        fault = "is neither arithmetic nor a memory access" if patch is None else None
        if patch is not None:
            patched = patch(insn, result, result.value)
            if isinstance(patched, CoreOutcome):
                return patched
            fault = patched
        raise link_error(
            "L0110",
            f"CO-RE relocation of {result.what} cannot be applied: the instruction (opcode {insn.opcode:#04x}) {fault}",
            help="compile the object again; its .BTF.ext and its code do not belong together",
            program=program,
            function=function,
            slot=slot,
        )

    def _resolve(self, relocation: CoreRelocation, function: FunctionSpec, slot: int, program: str) -> CoreResult:
        known = self.known.get(relocation)
        if known is None:
            if self.local is None:
                raise link_error("L0111", "the object has CO-RE relocations but no types (.BTF)", program=program)
            try:
                known = resolve(self.local, relocation, self.target.btf, self.target.module_btf)
            except SkepError as error:
                place = span_at(function, slot)
                raise LinkError([_placed(d, place, program, slot) for d in error.diagnostics]) from error
            self.known[relocation] = known
        return known


def _placed(diagnostic: Diagnostic, span: Span | None, program: str, slot: int) -> Diagnostic:
    return replace(diagnostic, span=diagnostic.span or span, program=program, insn=slot)


def _patch_alu(insn: Instruction, result: CoreResult, value: int) -> CoreOutcome | str:
    """The immediate of arithmetic; 32 bits, of which 64-bit arithmetic sign-extends."""
    if insn.opcode & SOURCE_MASK != K:
        return "has no immediate"
    if result.local_value is not None and _low32(insn.imm) != _low32(result.local_value):
        return f"holds {insn.imm}, not {result.local_value} as the types say"
    if not -(1 << 31) <= value < 1 << 32:
        return f"cannot hold {value} in its 32-bit immediate"
    return CoreOutcome(replace(insn, imm=_signed32(value)))


def _patch_access(insn: Instruction, result: CoreResult, value: int) -> CoreOutcome | str:
    """The offset of a load or store, and its size where the Target's field has another one."""
    if result.local_value is not None and insn.off != result.local_value:
        return f"has offset {insn.off}, not {result.local_value} as the types say"
    if not 0 <= value <= _MAX_OFFSET:
        return f"cannot hold offset {value} in 16 bits"
    if not result.load_is_safe:
        return CoreOutcome(insn, f"CO-RE: {result.reason or f'{result.what} has another size in the target'}")
    opcode = insn.opcode
    if result.load_size is not None:
        code = _SIZE_CODES.get(result.load_size)
        if code is None:
            return f"cannot access {result.load_size} bytes at once"
        opcode = opcode & ~SIZE_MASK | code
    return CoreOutcome(replace(insn, opcode=opcode, off=value))


def _patch_wide(insn: Instruction, result: CoreResult, value: int) -> CoreOutcome | str:
    """The 64-bit immediate of LD_IMM64."""
    if insn.opcode != LD_IMM64 or insn.src != 0:
        return "is no plain 64-bit load"
    if result.local_value is not None and insn.imm != _low64(result.local_value):
        return f"holds {insn.imm}, not {result.local_value} as the types say"
    return CoreOutcome(replace(insn, imm=_low64(value)))


_PATCHES: Final[Mapping[int, Callable[[Instruction, CoreResult, int], CoreOutcome | str]]] = {
    ALU: _patch_alu,
    ALU64: _patch_alu,
    LDX: _patch_access,
    ST: _patch_access,
    STX: _patch_access,
    LD: _patch_wide,
}


def _low32(value: int) -> int:
    return value & 0xFFFFFFFF


def _low64(value: int) -> int:
    return value & 0xFFFFFFFFFFFFFFFF


def _signed32(value: int) -> int:
    value = _low32(value)
    return value - (1 << 32) if value >> 31 else value
