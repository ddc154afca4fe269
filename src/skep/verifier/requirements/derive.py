"""What each instruction needs: from its encoding to a tuple of requirements, in the order in which the kernel asks."""

from __future__ import annotations

from collections.abc import Callable

from skep.abi.helpers import HELPERS, signature_for
from skep.isa import opcodes as op
from skep.isa.instruction import FuncRef, Instruction, KsymRef, MapRef, MapValueRef
from skep.model.programs import LinkedProgram
from skep.verifier.requirements.arena import ValidCast
from skep.verifier.requirements.kfuncs import KernelVariable, KfuncArguments, KfuncAvailable, KfuncPlace, Throws
from skep.verifier.requirements.kinds import (
    Event,
    HelperAvailable,
    Initialised,
    KnownHelper,
    LegacyPacketLoad,
    NothingOpen,
    Requirement,
    ResultInRange,
    SuitableMap,
    Supported,
    Unreachable,
    Use,
    ValidAccess,
    ValidArgument,
    ValidArithmetic,
    ValidCall,
    ValidComparison,
    ValidMapValue,
    ValidMove,
)
from skep.verifier.requirements.unprivileged import MaskableArithmetic, NoAddress

Requirements = tuple[Requirement, ...]

_TAIL_CALL = 12
_THROW = "bpf_throw"


def derive(insn: Instruction, slot: int, linked: LinkedProgram) -> Requirements:
    """The obligations of the instruction at ``slot``."""
    reason = linked.core_poisoned.get(slot)
    if reason is not None:
        return (Unreachable(reason),)
    return _BY_CLASS[insn.opcode & op.CLASS_MASK](insn, slot, linked)


def _alu(insn: Instruction, slot: int, linked: LinkedProgram) -> Requirements:
    code = insn.opcode & op.CODE_MASK
    width = 64 if insn.opcode & op.CLASS_MASK == op.ALU64 else 32
    by_register = bool(insn.opcode & op.X)
    if code == op.MOV:
        if not by_register:
            return ()
        if width == 64 and insn.off == 1:
            return (Initialised(insn.src), ValidCast(insn.imm))
        how = "" if width == 64 and not insn.off else "sign-extended" if insn.off else "32 bits"
        return (Initialised(insn.src), ValidMove(insn.src, how)) if how else (Initialised(insn.src),)
    if code == op.NEG or code == op.END:
        return (Initialised(insn.dst), ValidMove(insn.dst, "negated" if code == op.NEG else "swapped"))
    if by_register:
        math = ValidArithmetic(code, insn.dst, insn.src, 0, width)
        return (Initialised(insn.src), Initialised(insn.dst), math, *_masked(math, slot, linked))
    math = ValidArithmetic(code, insn.dst, None, insn.imm, width)
    return (Initialised(insn.dst), math, *_masked(math, slot, linked))


def _masked(math: ValidArithmetic, slot: int, linked: LinkedProgram) -> Requirements:
    return () if linked.target.privileged or math.code not in (op.ADD, op.SUB) else (MaskableArithmetic(math, slot),)


def _load(insn: Instruction, slot: int, linked: LinkedProgram) -> Requirements:
    size = op.SIZE_BYTES[insn.opcode & op.SIZE_MASK]
    extended = insn.opcode & op.MODE_MASK == op.MEMSX
    return (Initialised(insn.src), ValidAccess(insn.src, insn.off, size, Use.READ, sign_extended=extended))


def _store(insn: Instruction, slot: int, linked: LinkedProgram) -> Requirements:
    size = op.SIZE_BYTES[insn.opcode & op.SIZE_MASK]
    return (Initialised(insn.dst), ValidAccess(insn.dst, insn.off, size, Use.WRITE, imm=insn.imm))


def _store_register(insn: Instruction, slot: int, linked: LinkedProgram) -> Requirements:
    size = op.SIZE_BYTES[insn.opcode & op.SIZE_MASK]
    if insn.opcode & op.MODE_MASK == op.ATOMIC:
        return _atomic(insn, size, linked)
    needs = (Initialised(insn.src), Initialised(insn.dst))
    return (*needs, ValidAccess(insn.dst, insn.off, size, Use.WRITE, value=insn.src))


def _atomic(insn: Instruction, size: int, linked: LinkedProgram) -> Requirements:
    if insn.imm == op.LOAD_ACQUIRE:
        return (Initialised(insn.src), ValidAccess(insn.src, insn.off, size, Use.ATOMIC_LOAD))
    needs: Requirements = (Initialised(insn.src), Initialised(insn.dst))
    if insn.imm == op.STORE_RELEASE:
        return (*needs, ValidAccess(insn.dst, insn.off, size, Use.ATOMIC_STORE, value=insn.src))
    if insn.imm == op.CMPXCHG:
        needs = (*needs, Initialised(0))
    if not linked.target.privileged:
        compared = (NoAddress(0, "mem"),) if insn.imm == op.CMPXCHG else ()
        needs = (*needs, *compared, NoAddress(insn.src, "mem"))
    fetched = (0 if insn.imm == op.CMPXCHG else insn.src) if insn.imm & op.FETCH else None
    overwrites = fetched == insn.dst
    return (*needs, ValidAccess(insn.dst, insn.off, size, Use.ATOMIC, operation=insn.imm, overwrites=overwrites))


def _load_special(insn: Instruction, slot: int, linked: LinkedProgram) -> Requirements:
    mode = insn.opcode & op.MODE_MASK
    if mode == op.ABS:
        return (Initialised(6), LegacyPacketLoad(None), NothingOpen(Event.LEGACY_LOAD))
    if mode == op.IND:
        return (Initialised(6), Initialised(insn.src), LegacyPacketLoad(insn.src), NothingOpen(Event.LEGACY_LOAD))
    ref = insn.ref
    if isinstance(ref, KsymRef):
        return (KernelVariable(ref.name),)
    if isinstance(ref, MapValueRef):
        return (ValidMapValue(ref.name, ref.offset),)
    if ref is None and insn.src not in (0, op.PSEUDO_FUNC):
        return (Supported("maps that are not given by name"),)
    if isinstance(ref, (MapRef, FuncRef)) or insn.src in (0, op.PSEUDO_FUNC):
        return ()
    return (Supported("this kind of 64-bit constant"),)


def _jump(insn: Instruction, slot: int, linked: LinkedProgram) -> Requirements:
    code = insn.opcode & op.CODE_MASK
    if code == op.JA:
        return ()
    if code == op.CALL:
        return _call(insn, slot, linked)
    if code == op.EXIT:
        return (NothingOpen(Event.EXIT), ResultInRange())
    if code == op.JCOND:
        return ()
    return _comparison(insn, 64)


def _jump32(insn: Instruction, slot: int, linked: LinkedProgram) -> Requirements:
    return () if insn.opcode & op.CODE_MASK == op.JA else _comparison(insn, 32)


def _comparison(insn: Instruction, width: int) -> Requirements:
    code = insn.opcode & op.CODE_MASK
    if insn.opcode & op.X:
        compare = ValidComparison(code, insn.dst, insn.src, 0, width)
        return (Initialised(insn.src), Initialised(insn.dst), compare)
    return (Initialised(insn.dst), ValidComparison(code, insn.dst, None, insn.imm, width))


def _call(insn: Instruction, slot: int, linked: LinkedProgram) -> Requirements:
    if insn.opcode & op.X:
        return (Initialised(insn.dst), KnownHelper(insn.dst))
    if insn.src == op.CALL_LOCAL:
        return (ValidCall(slot + 1 + insn.imm),)
    if insn.src == op.CALL_KFUNC:
        return _kfunc_call(getattr(insn.ref, "name", f"#{insn.imm}"))
    return helper_call(insn.imm, linked)


def _kfunc_call(name: str) -> Requirements:
    needs: Requirements = (KfuncAvailable(name), KfuncArguments(name), KfuncPlace(name))
    return (*needs, Throws()) if name == _THROW else needs


def helper_call(helper: int, linked: LinkedProgram) -> Requirements:
    """What a call of a helper needs."""
    needs: list[Requirement] = [HelperAvailable(helper)]
    signature = signature_for(helper, linked.prog_type) or HELPERS.get(helper)
    for number, arg in enumerate(signature.args or () if signature else (), start=1):
        needs += [Initialised(number), ValidArgument(helper, number, arg)]
    needs.append(SuitableMap(helper))
    if helper == _TAIL_CALL:
        needs.append(NothingOpen(Event.TAIL_CALL))
    return tuple(needs)


_BY_CLASS: dict[int, Callable[[Instruction, int, LinkedProgram], Requirements]] = {
    op.LD: _load_special,
    op.LDX: _load,
    op.ST: _store,
    op.STX: _store_register,
    op.ALU: _alu,
    op.JMP: _jump,
    op.JMP32: _jump32,
    op.ALU64: _alu,
}
