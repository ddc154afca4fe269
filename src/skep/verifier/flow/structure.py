"""Rules about the text of a program: legal encodings, jumps that stay inside, no code that cannot be reached.

Two kinds, as in the kernel. :func:`check` finds what makes a program unloadable even where no path comes by
(check_subprogs(), check_cfg(), resolve_pseudo_ldimm64()). :func:`local_faults` finds single instructions that are wrong
only if a path executes them (check_alu_op() and the like in do_check()): in dead code Linux does not mind them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial

from skep.isa import opcodes as op
from skep.isa.forms import explain_illegal
from skep.isa.instruction import Instruction, slots
from skep.verifier.flow.cfg import call_target, function_target, is_jump, jump_target
from skep.verifier.flow.cycles import deepest_chain
from skep.verifier.flow.effects import effect

MAX_FRAMES = 8  # MAX_CALL_FRAMES
MAX_SUBPROGRAMS = 256  # BPF_MAX_SUBPROGS
MAX_FINDINGS = 20  # more of the same would not help
MAX_SLOTS = 1_000_000  # BPF_COMPLEXITY_LIMIT_INSNS

Code = Sequence[Instruction | None]

_FRAME_POINTER = 1 << 10
_GOTOX = op.JMP | op.JA | op.X  # a jump through a table (Linux 6.19): where it goes is not in the text


class Flaw(StrEnum):
    """What can be wrong with the text of a program: one row of the catalogue of messages each (explain/rules).

    A member with the same value as one of requirements.kinds.Rule is the same finding and has the same row.
    """

    EMPTY = "empty"
    TOO_LARGE = "too_large"  # insns
    TOO_MANY_SUBPROGRAMS = "too_many_subprograms"
    OPCODE = "unknown_opcode"  # opcode
    RESERVED_FIELD = "reserved_field"
    REGISTER_NUMBER = "register_number"
    JUMP_RANGE = "jump_range"  # target
    JUMP_MIDDLE = "jump_middle"  # target
    CALL_TARGET = "call_target"  # target
    LAST_INSN = "last_insn"
    UNREACHABLE = "unreachable"
    CALL_CHAIN = "call_chain"  # frames
    RECURSION = "recursion"
    DIVISION_BY_ZERO = "division_by_zero"
    SHIFT_AMOUNT = "shift_amount"  # amount, width
    FRAME_POINTER = "frame_pointer"


@dataclass(frozen=True, slots=True)
class StructureViolation:
    """A rule about the text that a program breaks.

    Attributes:
        rule: which one.
        slot: the instruction, counted as the kernel counts.
        kernel: the sentence of the kernel's verifier.
        values: numbers for the message; the keys stand behind each rule in :class:`Flaw`.
    """

    rule: Flaw
    slot: int
    kernel: str
    values: Mapping[str, object] = field(default_factory=dict)


def check(
    insns: Sequence[Instruction], functions: Mapping[str, int] | None = None, roots: Sequence[int] = ()
) -> tuple[StructureViolation, ...]:
    """What makes the program unloadable wherever it stands. Empty: control flow may be built (flow.cfg.build).

    The kernel stops at the first finding; so does this, but it gives all findings (up to 20) of one kind of check.

    Args:
        functions: name to slot of subprograms, where LD_IMM64 of a callback still names it.
        roots: slots of functions that are entered without being named (the exception callback).
    """
    code = slots(insns)
    if not code:
        return (StructureViolation(Flaw.EMPTY, 0, "last insn is not an exit or jmp"),)
    if len(code) > MAX_SLOTS:
        return (StructureViolation(Flaw.TOO_LARGE, 0, "E2BIG", {"insns": len(code)}),)
    names = functions or {}
    starts, found = _subprogram_starts(code, names)
    unreachable = partial(_unreachable, roots)
    for phase in (_bad_jumps, _bad_opcodes, _bad_edges, unreachable, _bad_chains):
        if found:
            break
        found = phase(code, starts, names)
    return tuple(found[:MAX_FINDINGS])


def local_faults(insns: Sequence[Instruction], masked_shifts: bool = False) -> dict[int, StructureViolation]:
    """Slots whose instruction is an error if any path executes it.

    Args:
        masked_shifts: shift amounts outside the width are masked (RFC 9669 section 4.1) instead of wrong (Linux).
    """
    faults: dict[int, StructureViolation] = {}
    for slot, insn in enumerate(slots(insns)):
        if insn is not None:
            fault = _local_fault(insn, slot, masked_shifts)
            if fault is not None:
                faults[slot] = fault
    return faults


def _local_fault(insn: Instruction, slot: int, masked_shifts: bool) -> StructureViolation | None:
    form, _, writes = effect(insn)
    if form is None:
        kernel = explain_illegal(insn)
        if kernel.startswith("unknown"):
            return StructureViolation(Flaw.OPCODE, slot, kernel, {"opcode": insn.opcode})
        if kernel.endswith("is invalid"):
            return StructureViolation(Flaw.REGISTER_NUMBER, slot, kernel)
        if insn.opcode & op.CLASS_MASK in (op.ALU, op.ALU64) and "BPF_END" not in kernel:
            name = {op.NEG: "NEG", op.MOV: "MOV"}.get(insn.opcode & op.CODE_MASK, "ALU")
            kernel = f"BPF_{name} uses reserved fields"
        return StructureViolation(Flaw.RESERVED_FIELD, slot, kernel)
    if writes & _FRAME_POINTER:
        return StructureViolation(Flaw.FRAME_POINTER, slot, "frame pointer is read only")
    klass = insn.opcode & op.CLASS_MASK
    if klass not in (op.ALU, op.ALU64) or insn.opcode & op.SOURCE_MASK != op.K:
        return None
    code = insn.opcode & op.CODE_MASK
    if code in (op.DIV, op.MOD) and insn.imm == 0:
        return StructureViolation(Flaw.DIVISION_BY_ZERO, slot, "div by zero")
    width = 64 if klass == op.ALU64 else 32
    if code in (op.LSH, op.RSH, op.ARSH) and not masked_shifts and not 0 <= insn.imm < width:
        values = {"amount": insn.imm, "width": width}
        return StructureViolation(Flaw.SHIFT_AMOUNT, slot, f"invalid shift {insn.imm}", values)
    return None


def _subprogram_starts(code: Code, names: Mapping[str, int]) -> tuple[list[int], list[StructureViolation]]:
    """Where subprograms begin: targets of calls and of callback addresses (kernel: add_subprog_and_kfunc())."""
    starts = {0, *names.values()}
    bad = []
    for slot, insn in enumerate(code):
        target = None if insn is None else call_target(insn, slot)
        if insn is not None and target is None:
            target = function_target(insn, slot, names)
        if target is None:
            continue
        if not 0 <= target < len(code) or code[target] is None:
            bad.append(StructureViolation(Flaw.CALL_TARGET, slot, "call to invalid destination", {"target": target}))
        else:
            starts.add(target)
    if not bad and len(starts) > MAX_SUBPROGRAMS:
        bad.append(StructureViolation(Flaw.TOO_MANY_SUBPROGRAMS, 0, "too many subprograms"))
    return sorted(starts), bad


def _bad_opcodes(code: Code, _starts: list[int], _names: Mapping[str, int]) -> list[StructureViolation]:
    """Opcodes that do not exist, and forms that are checked before any path is followed."""
    bad = []
    for slot, insn in enumerate(code):
        if insn is None or (insn.opcode != _GOTOX and effect(insn).form is not None):
            continue
        kernel = f"unknown opcode {insn.opcode:02x}" if insn.opcode == _GOTOX else explain_illegal(insn)
        if kernel.startswith("unknown opcode"):
            bad.append(StructureViolation(Flaw.OPCODE, slot, kernel, {"opcode": insn.opcode}))
        elif insn.opcode == op.LD_IMM64 or (insn.opcode & op.CLASS_MASK == op.LDX and insn.imm):
            rule = Flaw.REGISTER_NUMBER if kernel.endswith("is invalid") else Flaw.RESERVED_FIELD
            bad.append(StructureViolation(rule, slot, kernel))
    return bad


def _bad_jumps(code: Code, starts: list[int], _names: Mapping[str, int]) -> list[StructureViolation]:
    """Jumps stay in their subprogram, and a subprogram cannot run over its end (check_subprogs())."""
    bad = []
    ends = [*starts[1:], len(code)]
    for start, end in zip(starts, ends, strict=True):
        for slot in range(start, end):
            insn = code[slot]
            if insn is None or not is_jump(insn):
                continue
            target = jump_target(insn, slot)
            if not start <= target < end:
                sentence = f"jump out of range from insn {slot} to {target}"
                bad.append(StructureViolation(Flaw.JUMP_RANGE, slot, sentence, {"target": target}))
        last = code[end - 1]
        if last is None or last.opcode not in _LAST:
            bad.append(StructureViolation(Flaw.LAST_INSN, end - 1, "last insn is not an exit or jmp"))
    return bad


def _bad_edges(code: Code, _starts: list[int], _names: Mapping[str, int]) -> list[StructureViolation]:
    """Jumps land on instructions."""
    bad = []
    for slot, insn in enumerate(code):
        target = jump_target(insn, slot) if insn is not None and is_jump(insn) else 0
        if code[target] is None:
            sentence = f"jump into the middle of ldimm64 insn {target - 1}"
            bad.append(StructureViolation(Flaw.JUMP_MIDDLE, slot, sentence, {"target": target}))
    return bad


_LAST = frozenset({op.JMP | op.EXIT, op.JMP | op.JA, op.JMP32 | op.JA})


def _unreachable(
    roots: Sequence[int], code: Code, _starts: list[int], names: Mapping[str, int]
) -> list[StructureViolation]:
    """Follow every edge from the entry, callees and callbacks included; conditions are not judged (check_cfg())."""
    seen = bytearray(len(code))
    pending = [0, *roots]
    while pending:
        slot = pending.pop()
        if slot >= len(code) or seen[slot]:
            continue
        seen[slot] = 1
        insn = code[slot]
        if insn is None:
            continue
        if insn.opcode == op.JMP | op.EXIT:
            continue
        if is_jump(insn):
            pending.append(jump_target(insn, slot))
            if insn.opcode in _LAST:
                continue
        for target in (call_target(insn, slot), function_target(insn, slot, names)):
            if target is not None:
                pending.append(target)
        pending.append(slot + insn.width)
    return [
        StructureViolation(Flaw.UNREACHABLE, slot, f"unreachable insn {slot}")
        for slot, insn in enumerate(code)
        if insn is not None and not seen[slot]
    ]


def _bad_chains(code: Code, starts: list[int], _names: Mapping[str, int]) -> list[StructureViolation]:
    """Calls nest at most 8 frames deep, so none comes back to a function that is still running."""
    calls: dict[int, dict[int, int]] = {start: {} for start in starts}  # caller -> callee -> slot of a call
    caller = 0
    for slot, insn in enumerate(code):
        if slot in calls:
            caller = slot
        target = None if insn is None else call_target(insn, slot)
        if target is not None:
            calls[caller].setdefault(target, slot)
    chain, loops = deepest_chain(calls, 0)
    if not loops and len(chain) <= MAX_FRAMES:
        return []
    first, second = (chain[-2], chain[-1]) if loops else chain[MAX_FRAMES - 1 : MAX_FRAMES + 1]
    frames = MAX_FRAMES + 1 if loops else len(chain)
    sentence = f"the call stack of {frames} frames is too deep"
    rule = Flaw.RECURSION if loops else Flaw.CALL_CHAIN
    return [StructureViolation(rule, calls[first][second], sentence, {"frames": frames, "chain": tuple(chain)})]
