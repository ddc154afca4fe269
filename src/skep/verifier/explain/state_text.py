"""Registers and stack as the kernel's log prints them (kernel/bpf/log.c: print_verifier_state, Linux 6.18)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from skep.verifier.domains.scalar import S32, S64, U32, U64, Scalar
from skep.verifier.state.machine import Frame, MachineState
from skep.verifier.state.stack import OBJECTS, SPILL, Cell
from skep.verifier.state.values import PACKET_KINDS, Kind, Number, Pointer, Value

_LETTERS = "?m0r"
_OBJECT_LETTERS = {4: "i", 5: "d", 6: "f"}
_MAPS = frozenset({Kind.MAP, Kind.MAP_VALUE, Kind.MAP_KEY})
_SIZED = frozenset({Kind.MEMORY, Kind.RECORD})
_DECIMAL = 0xFFFF
_SIGNED_DECIMAL = 0x7FFF


def register_text(value: Value, frame: int) -> str:
    """``scalar(smin=0,...)``, ``map_value(map=hits,ks=4,vs=8)``, ``fp-8``."""
    if isinstance(value, Number):
        return _number(value.range)
    return _pointer(value, frame)


def _number(known: Scalar) -> str:
    if known.is_const:
        return _signed(known.value)
    return f"scalar({','.join(_ranges(known))})"


def _pointer(pointer: Pointer, frame: int) -> str:
    name = pointer.name
    if pointer.kind is Kind.ARENA:
        return name
    if pointer.kind is Kind.STACK:
        name += f"[{pointer.frame}]" if pointer.frame != frame else ""
        if pointer.var is None:
            return name + (str(pointer.off) if pointer.off < 0 else f"{pointer.off}")
    if pointer.object is not None:
        name += pointer.object.btf[pointer.object.type].name
    parts = []
    if pointer.id:
        parts.append(f"id={pointer.id}")
    if pointer.ref:
        parts.append(f"ref_obj_id={pointer.ref}")
    if pointer.kind in _MAPS and pointer.map is not None:
        parts.append(f"map={_map_name(pointer.map.name)},ks={pointer.map.key_size},vs={pointer.map.value_size}")
    if pointer.off:
        parts.append(f"off={_signed(pointer.off & U64)}")
    if pointer.kind in PACKET_KINDS and pointer.kind is not Kind.PACKET_END:
        parts.append(f"r={_unsigned(pointer.range)}")
    if pointer.kind in _SIZED:
        parts.append(f"sz={_unsigned(pointer.size)}")
    if pointer.var is not None:
        if pointer.var.is_const:
            parts += [f"imm={_signed(pointer.var.value)}"] if pointer.var.value else []
        else:
            parts += _ranges(pointer.var)
    return f"{name}({','.join(parts)})"


def _map_name(name: str) -> str:
    return name[:15]  # BPF_OBJ_NAME_LEN


def _ranges(known: Scalar) -> Iterator[str]:
    """Bounds that say something, equal ones together: ``smin=smin32=0``; then the known bits (print_scalar_ranges)."""
    rows: list[tuple[str, int, bool]] = [
        ("smin", known.smin, known.smin == -S64),
        ("smax", known.smax, known.smax == S64 - 1),
        ("umin", known.umin, known.umin == 0),
        ("umax", known.umax, known.umax == U64),
        ("smin32", _plain32(known.s32min), known.s32min == -S32),
        ("smax32", _plain32(known.s32max), known.s32max == S32 - 1),
        ("umin32", known.u32min, known.u32min == 0),
        ("umax32", known.u32max, known.u32max == U32),
    ]
    done = [omitted for _, _, omitted in rows]
    for index, (name, value, _) in enumerate(rows):
        if done[index]:
            continue
        names = [name]
        negative = name[0] == "s" and value < 0
        for later in range(index + 2, len(rows), 2):
            other, same, _ = rows[later]
            if done[later] or same & U64 != value & U64 or (other[0] == "s" and same < 0) != negative:
                continue
            done[later] = True
            names.append(other)
        yield "=".join([*names, _signed(value & U64) if name[0] == "s" else _unsigned(value)])
    if not known.is_unknown and known.bits.mask != U64:
        yield f"var_off=({_hex(known.value)}; {_hex(known.mask)})"


def _plain32(number: int) -> int:
    """Small numbers keep their sign, others show their 32 bits."""
    return number if -_SIGNED_DECIMAL - 1 <= number <= _SIGNED_DECIMAL else number & U32


def _signed(number: int) -> str:
    signed = (number ^ S64) - S64
    return str(signed) if -_SIGNED_DECIMAL - 1 <= signed <= _SIGNED_DECIMAL else _hex(number)


def _unsigned(number: int) -> str:
    return str(number) if number <= _DECIMAL else _hex(number)


def _hex(number: int) -> str:
    return hex(number) if number else "0x0"


def frame_text(state: MachineState, frame: Frame, registers: Iterable[int], cells: Iterable[int]) -> str:
    """`` R1=ctx() R10=fp0 fp-8=mmmm????`` of some registers and cells; `` frame1:`` first where it is not the main."""
    parts = [f" frame{frame.number}:"] if frame.number else []
    for number in sorted(registers):
        value = frame.regs[number]
        if value is not None:
            parts.append(f" R{number}={register_text(value, frame.number)}")
    for index in sorted(cells):
        cell = frame.cell(index)
        if cell is not None and any(cell.types):
            parts.append(f" fp{-8 * (index + 1)}={_cell(cell, frame.number)}")
    if state.refs and frame is state.frames[-1]:
        parts.append(f" refs={','.join(str(number) for number, _ in state.refs)}")
    return "".join(parts)


def full_text(state: MachineState, frame: Frame) -> str:
    """All of a frame."""
    return frame_text(state, frame, range(11), range(len(frame.stack)))


def _cell(cell: Cell, frame: int) -> str:
    if cell.object is not None:
        return str(cell.object)
    letters = ""
    for kind in reversed(cell.types):  # the kernel counts from the highest address
        if kind == SPILL and cell.value is not None:
            return letters + register_text(cell.value, frame)
        letters += _OBJECT_LETTERS[kind] if kind in OBJECTS else _LETTERS[kind]
    return letters
