"""A verified program as the text of one LLVM module. Pure: the same program gives the same text, as the cache needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from skep.isa.instruction import slots
from skep.jit.blocks import find_blocks, is_helper_call, is_kfunc_call, mark_live
from skep.jit.kinds import Kinds, Routine
from skep.jit.memory import alias_metadata
from skep.jit.native import Lowering, Returns
from skep.jit.routine import Writer
from skep.jit.unit import Rows, Unit, constant_symbol, map_symbol
from skep.model.programs import VerifiedProgram

INTRINSICS = {
    **{f"llvm.bswap.i{bits}": f"declare i{bits} @llvm.bswap.i{bits}(i{bits})" for bits in (16, 32, 64)},
    "llvm.trap": "declare void @llvm.trap()",
}


@dataclass(frozen=True, slots=True)
class Module:
    """A program as IR, complete but for the C functions it calls.

    Attributes:
        declared: the C functions it calls, with their LLVM types.
        maps: names of the maps whose memory it refers to.
    """

    text: str = field(repr=False)
    declared: Mapping[str, str]
    maps: tuple[str, ...]


def build_module(
    verified: VerifiedProgram, rows: Rows, map_sizes: Mapping[str, int], memory_size: int | None = None
) -> Module:
    """IR of a program.

    Args:
        verified: the program.
        rows: the vm's tables of C functions.
        map_sizes: bytes of memory of each map, from its header on.
        memory_size: r1 is a buffer of this size and r2 its size (``MemoryEntry``); None: r1 is a context.

    Raises:
        UnsupportedError: an instruction that this engine cannot run.
        InternalError: the program needs a helper that has no row.
    """
    unit = _open_unit(verified, rows, memory_size)
    kinds = Kinds(unit.table, unit.facts, unit.routines, lambda slot: _returns_pointer(unit, slot))
    kinds.solve()
    entry = verified.linked.subprograms[0].start
    bodies = [Writer(unit, kinds, routine, routine.start == entry).text() for routine in unit.routines.values()]
    globals_ = [_external(name, map_sizes[name]) for name in unit.used_maps]
    globals_ += [_constant(name, verified.linked.maps[name].contents or b"") for name in unit.used_constants]
    parts = [*globals_, *INTRINSICS.values(), *bodies, *alias_metadata()]
    return Module("\n".join(parts) + "\n", dict(unit.declared), tuple(unit.used_maps))


def _open_unit(verified: VerifiedProgram, rows: Rows, memory_size: int | None) -> Unit:
    linked, facts = verified.linked, verified.facts
    table = slots(linked.insns)
    routines = {}
    for number, subprogram in enumerate(linked.subprograms):
        if subprogram.start in facts.reachable:
            blocks = find_blocks(table, subprogram.start, facts.reachable)
            mark_live(table, blocks)
            routines[subprogram.start] = Routine(f"sub_{number}", subprogram.start, blocks)
    unit = Unit(linked, facts, rows, table, routines, memory_size)
    for start in _callbacks(unit):
        routines[start].callback = True
    routines[linked.subprograms[0].start].parameters = 0b10
    return unit


def _callbacks(unit: Unit) -> set[int]:
    """Starts of the subprograms that are called through a pointer, and so need the C type of a callback."""
    found: set[int] = set()
    for slot, fact in unit.facts.calls.items():
        if slot not in unit.facts.reachable:
            continue
        insn = unit.table[slot]
        if insn is None or not is_helper_call(insn):
            continue
        lowering = unit.find_native(fact, slot).lowering
        if lowering in (Lowering.CALL, Lowering.TAIL_CALL) or (
            lowering is Lowering.INLINE_LOOP and fact.callback is not None
        ):
            continue
        if fact.callback is not None:
            found.add(fact.callback)
        else:  # any whose address is taken
            found |= {start for start in unit.routines if start != unit.linked.subprograms[0].start}
    return found & set(unit.routines)


def _returns_pointer(unit: Unit, slot: int) -> bool:
    insn = unit.table[slot]
    assert insn is not None
    if is_kfunc_call(insn):
        return unit.find_kfunc(insn, slot).returns is Returns.PTR
    if not is_helper_call(insn):
        return False
    fact = unit.call_fact(insn, slot)
    native = unit.find_native(fact, slot)
    return native.returns is Returns.PTR and native.lowering in (Lowering.CALL, Lowering.CALLBACK)


def _external(name: str, size: int) -> str:
    """A map's memory: page aligned, never NULL; its address comes when the code is linked."""
    return f'@"{map_symbol(name)}" = external global [{size} x i8], align 4096'


def _constant(name: str, contents: bytes) -> str:
    text = "".join(f"\\{byte:02X}" for byte in contents)
    return f'@"{constant_symbol(name)}" = internal constant [{len(contents)} x i8] c"{text}", align 64'
