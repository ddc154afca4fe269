"""Which functions a program needs, in the order in which they go into its flat code, and calls as distances again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from skep.isa.instruction import FuncRef, Instruction
from skep.isa.opcodes import CALL_LOCAL, LD_IMM64, PSEUDO_FUNC
from skep.linker.faults import link_error
from skep.model.programs import FunctionSpec

_BUILTINS = frozenset({"memcpy", "memmove", "memset", "memcmp", "bcmp", "strlen"})


@dataclass(frozen=True, slots=True)
class Placed:
    """A function in flat code; slots, end exclusive."""

    function: FunctionSpec
    start: int
    end: int


def size_in_slots(function: FunctionSpec) -> int:
    """Slots that a function's code takes."""
    return sum(insn.width for insn in function.insns)


def lay_out(program: str, entry: FunctionSpec, functions: Mapping[str, FunctionSpec]) -> tuple[Placed, ...]:
    """The entry first, then every function it reaches, each behind the one that names it first (libbpf's order).

    Raises:
        LinkError: L0101 a function that is called but defined nowhere.
    """
    order: dict[str, FunctionSpec] = {entry.name: entry}
    # Depth first without recursion: chains of calls may be long in hostile objects.
    stack: list[tuple[FunctionSpec, Iterator[tuple[int, str]]]] = [(entry, _named_functions(entry))]
    while stack:
        caller, names = stack[-1]
        found = next(names, None)
        if found is None:
            stack.pop()
            continue
        slot, name = found
        if name in order:
            continue
        function = functions.get(name)
        if function is None:
            raise _undefined(program, caller, slot, name)
        order[name] = function
        stack.append((function, _named_functions(function)))
    placed = []
    start = 0
    for function in order.values():
        end = start + size_in_slots(function)
        placed.append(Placed(function, start, end))
        start = end
    return tuple(placed)


def _named_functions(function: FunctionSpec) -> Iterator[tuple[int, str]]:
    slot = 0
    for insn in function.insns:
        if isinstance(insn.ref, FuncRef):
            yield slot, insn.ref.name
        slot += insn.width


def _undefined(program: str, caller: FunctionSpec, slot: int, name: str) -> Exception:
    if name in _BUILTINS:
        why = f"the compiler turned a copy or comparison into a call of {name}(), which BPF does not have"
        hint = f"use __builtin_{name}() with a constant size of at most 1024 bytes, or a loop over a volatile index"
        return link_error(
            "L0101", f"function '{name}' is not defined", why, help=hint, program=program, function=caller, slot=slot
        )
    return link_error(
        "L0101",
        f"function '{name}' is called, but defined nowhere",
        help=f"define {name}() in this object, link the object that has it, or declare it __ksym if the kernel has it",
        program=program,
        function=caller,
        slot=slot,
    )


def resolve_call(insn: Instruction, slot: int, starts: Mapping[str, int]) -> Instruction:
    """A call, or the address of a function, with the distance that the kernel wants: target slot - own slot - 1.

    For LD_IMM64 the distance stands in the low 32 bits of ``imm`` (signed there), the high 32 bits are zero.
    """
    if not isinstance(insn.ref, FuncRef):
        return insn
    distance = starts[insn.ref.name] - slot - 1
    if insn.opcode == LD_IMM64:
        return replace(insn, src=PSEUDO_FUNC, imm=distance & 0xFFFFFFFF)
    return replace(insn, src=CALL_LOCAL, imm=distance)
