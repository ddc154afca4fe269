"""Arenas: pointers into them may be anything, since a fault is caught where it happens (kernel: arena.c, check_alu_op).

An arena is 4 GiB at most, its pointers are 32 bits wide, and every access adds the arena's base: whatever a pointer
holds, the access stays in the arena or in its guard pages. So there are few rules.
"""

from __future__ import annotations

from skep.isa import opcodes as op
from skep.verifier.requirements.arena import ValidCast
from skep.verifier.requirements.kinds import Rule, Use, ValidAccess, Violation
from skep.verifier.state.machine import MachineState
from skep.verifier.state.values import Pointer
from skep.verifier.state.world import World

CASTS = frozenset({1, 1 << 16})  # imm: space 1 to 0, space 0 to 1
_SIGN_EXTENDING = (6, 18)  # x86-64: bpf_jit_supports_insn() learnt MEMSX in arenas
# x86-64 has no instruction for these; the JIT's loop cannot catch faults (bpf_jit_supports_insn).
_NO_FETCHING = frozenset({op.AND | op.FETCH, op.OR | op.FETCH, op.XOR | op.FETCH})


def valid_cast(need: ValidCast, state: MachineState, world: World) -> Violation | None:
    """Between spaces 0 and 1 only, and the program names an arena."""
    if need.spaces not in CASTS:
        said = "addr_space_cast insn can only convert between address space 1 and 0"
        return Violation(Rule.ARENA_CAST, need, said, None, {"reason": "there are address spaces 0 and 1 only"})
    if world.arena is None:
        said = "addr_space_cast insn can only be used in a program that has an associated arena"
        return Violation(Rule.ARENA_CAST, need, said, None, {"reason": "the program names no arena"})
    return None


def access(need: ValidAccess, pointer: Pointer, state: MachineState, world: World) -> Violation | None:
    """Every access is allowed, but for what the JIT cannot do (kernel: atomic_ptr_type_ok, convert_ctx_accesses)."""
    if need.use is Use.ATOMIC and need.operation in _NO_FETCHING:
        said = f"BPF_ATOMIC stores into R{need.reg} {pointer.name} is not allowed"
        return Violation(Rule.ATOMIC_REGION, need, said, need.reg, {"pointer": pointer.name})
    if need.sign_extended and world.linked.target.kernel_version[:2] < _SIGN_EXTENDING:
        said = "sign extending loads from arena are not supported yet"
        return Violation(Rule.ARENA_SIGN_EXTENSION, need, said, need.reg)
    return None
