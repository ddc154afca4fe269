"""Which parts of the stack matter later: what exploration may ignore when it compares two stacks at the same place.

The stack is 64 cells of 8 bytes; bit n of a mask stands for the cell at r10 - 8 * (n + 1). A forward pass finds which
registers hold addresses in the frame, a backward pass which cells may still be read. Where an address is not known, or
may have gone through memory, every cell is live: the answer is always on the safe side.
"""

from __future__ import annotations

from skep.isa import opcodes as op
from skep.isa.instruction import Instruction
from skep.verifier.flow.cfg import Extent, Flow
from skep.verifier.flow.effects import effect

CELLS = 64  # of 8 bytes: MAX_BPF_STACK
ALL = (1 << CELLS) - 1

_CALL = op.JMP | op.CALL
_CALL_REGISTER = op.JMP | op.CALL | op.X
_MOVE = op.ALU64 | op.MOV | op.X
_ADD_IMM = op.ALU64 | op.ADD | op.K
_SUB_IMM = op.ALU64 | op.SUB | op.K

# What a register may be to the frame: an offset from r10, some address in it (or not known), or no address in it.
_SOMEWHERE = "somewhere"
_Place = int | str | None
_Places = tuple[_Place, ...]

_ENTRY: _Places = (*[None] * 10, 0)


def live_cells(flow: Flow) -> tuple[int, ...]:
    """By slot: the cells of the running function's frame whose content before the instruction may still be read.

    For the frame of a caller, take the answer at the slot of the call that is running.
    """
    live = [0] * len(flow.code)
    for extent in flow.subprograms:
        _settle(extent, flow, live)
    return tuple(live)


def _settle(extent: Extent, flow: Flow, live: list[int]) -> None:
    escapes = False
    places = _find_places(extent, flow, escapes)
    if any(_lets_escape(flow.code[slot], at) for slot, at in places.items()):
        escapes = True
        places = _find_places(extent, flow, escapes)
    callbacks = any(extent.start <= slot < extent.end for slot in flow.callbacks)
    effects = {slot: _effect(flow.code[slot], at, callbacks) for slot, at in places.items()}
    ends = {block.start: block.end for block in extent.blocks}
    after = {block.start: block.successors for block in extent.blocks}
    changed = True
    while changed:
        changed = False
        for start in extent.postorder:
            current = 0
            for successor in after[start]:
                current |= live[successor]
            for slot in range(ends[start] - 1, start - 1, -1):
                read, written = effects.get(slot, (0, 0))
                current = current & ~written | read
                if live[slot] != current:
                    live[slot] = current
                    changed = True


def _find_places(extent: Extent, flow: Flow, escapes: bool) -> dict[int, _Places]:
    """Forward: what each register is to the frame, before each slot."""
    ends = {block.start: block.end for block in extent.blocks}
    after = {block.start: block.successors for block in extent.blocks}
    entry: dict[int, _Places] = {extent.start: _ENTRY}
    found: dict[int, _Places] = {}
    pending = [extent.start]
    while pending:
        start = pending.pop()
        at = entry[start]
        for slot in range(start, ends[start]):
            insn = flow.code[slot]
            if insn is None:
                continue
            form, _, writes = effect(insn)
            if form is not None:  # no path gets past an illegal instruction
                found[slot] = at
                if writes:
                    at = _step(insn, writes, at, escapes)
        for successor in after[start]:
            known = entry.get(successor)
            joined = at if known is None else tuple(a if a == b else _SOMEWHERE for a, b in zip(known, at, strict=True))
            if joined != known:
                entry[successor] = joined
                pending.append(successor)
    return found


def _step(insn: Instruction, bits: int, at: _Places, escapes: bool) -> _Places:
    changed = list(at)
    written = [reg for reg in range(10) if bits >> reg & 1]
    for reg in written:
        changed[reg] = None
    dst, old = insn.dst, at[insn.dst]
    klass = insn.opcode & op.CLASS_MASK
    if insn.opcode == _MOVE and insn.off == 0:
        changed[dst] = at[insn.src]
    elif insn.opcode in (_ADD_IMM, _SUB_IMM) and isinstance(old, int):
        changed[dst] = old + (insn.imm if insn.opcode == _ADD_IMM else -insn.imm)
    elif klass in (op.ALU, op.ALU64):
        uses_source = insn.opcode & op.SOURCE_MASK == op.X and insn.opcode & op.CODE_MASK != op.END
        if (insn.opcode & op.CODE_MASK != op.MOV and old is not None) or (uses_source and at[insn.src] is not None):
            changed[dst] = _SOMEWHERE
    elif escapes and (klass in (op.LDX, op.STX) or insn.opcode in (_CALL, _CALL_REGISTER)):
        for reg in written:  # an address may come back from memory, or as a result
            changed[reg] = _SOMEWHERE
    return tuple(changed)


def _lets_escape(insn: Instruction | None, at: _Places) -> bool:
    """Whether an address of the frame goes where this analysis does not follow: to memory, or into a function."""
    if insn is None:
        return False
    if insn.opcode in (_CALL, _CALL_REGISTER):
        return not _is_leaf(insn) and any(place is not None for place in at[1:6])
    return insn.opcode & op.CLASS_MASK == op.STX and at[insn.src] is not None


def _effect(insn: Instruction | None, at: _Places, callbacks: bool) -> tuple[int, int]:
    """Cells that may be read, and cells that are overwritten whole."""
    if insn is None:
        return 0, 0
    klass = insn.opcode & op.CLASS_MASK
    if insn.opcode in (_CALL, _CALL_REGISTER):
        return _read_by_call(insn, at, callbacks), 0
    if klass == op.LDX:
        return _cells(at[insn.src], insn.off, _size(insn)), 0
    if klass not in (op.ST, op.STX):
        return 0, 0
    place = at[insn.dst]
    if insn.opcode & op.MODE_MASK == op.ATOMIC:
        form = effect(insn).form
        base = at[insn.src] if form is not None and form.reads == ("src",) else place  # load_acquire reads from src
        return _cells(base, insn.off, _size(insn)), 0
    if isinstance(place, int) and _size(insn) == 8 and (place + insn.off) % 8 == 0:
        return 0, _cells(place, insn.off, 8)
    return 0, 0


def _read_by_call(insn: Instruction, at: _Places, callbacks: bool) -> int:
    """The kernel reads upwards from an address it is given; a function, or what calls one back, anywhere."""
    read = 0
    for place in at[1:6]:
        if place is None:
            continue
        if callbacks or not _is_leaf(insn) or not isinstance(place, int):
            return ALL
        read |= _cells(place, 0, max(0, -place))
    return read


def _is_leaf(insn: Instruction) -> bool:
    """A function of the kernel: it keeps no address of the stack that the program could get back as one."""
    return insn.opcode == _CALL and insn.src in (op.CALL_HELPER, op.CALL_KFUNC)


def _size(insn: Instruction) -> int:
    return op.SIZE_BYTES[insn.opcode & op.SIZE_MASK]


def _cells(place: _Place, offset: int, size: int) -> int:
    """Cells that ``size`` bytes at an address touch."""
    if place is None:
        return 0
    if not isinstance(place, int):
        return ALL
    first, last = place + offset, place + offset + size - 1
    if last < first:
        return 0
    high, low = min(CELLS - 1, (-first - 1) // 8), max(0, (-last - 1) // 8)
    return sum(1 << cell for cell in range(low, high + 1))
