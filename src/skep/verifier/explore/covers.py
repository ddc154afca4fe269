"""The order of states: ``covers(old, new)``: whatever can happen from the new state can happen from the old one."""

from __future__ import annotations

from enum import IntEnum

from skep.verifier.domains import alu
from skep.verifier.domains.scalar import Scalar
from skep.verifier.explore.digest import FrameDigest, make_digest
from skep.verifier.state.dynptrs import Dynptr, Slice
from skep.verifier.state.machine import Frame, MachineState
from skep.verifier.state.stack import INVALID, MISC, SPILL, ZERO, Cell
from skep.verifier.state.values import Number, Pointer, Value
from skep.verifier.state.world import World


class Mode(IntEnum):
    """How closely two states are compared (kernel: enum exact_level)."""

    RELAXED = 0  # numbers on which nothing relied are ignored: the old state is explored completely
    WITHIN = 1  # every number of the new state lies within the old one's: the old state is not explored completely
    EXACT = 2  # the same: going on would repeat what was done


class Comparison:
    """One comparison: the maps between the names of both states, and what follows if it succeeds."""

    __slots__ = ("cells", "ids", "mode", "numbers", "strict", "tokens", "uninit", "world")

    def __init__(self, mode: Mode, world: World) -> None:
        self.mode = mode
        self.world = world
        self.strict = world.speculation is not None and world.speculation.strict
        self.ids: dict[int, int] = {}
        self.tokens: dict[int, tuple[Number, Number]] = {}
        self.numbers: list[tuple[Number, Number]] = []
        self.cells: list[tuple[Cell, Cell]] = []
        self.uninit = False

    def states(
        self,
        old: MachineState,
        new: MachineState,
        live: tuple[int, ...],
        cells: tuple[int, ...],
        digest: tuple[FrameDigest, ...] | None = None,
    ) -> bool:
        """Frame by frame.

        Args:
            live, cells: for each frame the registers and stack cells that matter.
            digest: of the old state, for RELAXED, if it is there already.
        """
        if (
            len(old.locks) != len(new.locks)
            or len(old.refs) != len(new.refs)
            or len(old.frames) != len(new.frames)
            or old.sections != new.sections
        ):
            return False
        if len(old.irqs) != len(new.irqs) or (old.speculative and not new.speculative):
            return False
        if self.mode is Mode.RELAXED and (digest is None or self.strict):
            digest = make_digest(old, live, cells, strict=self.strict)
        if digest is not None:
            for known, b in zip(digest, new.frames, strict=True):
                if not self._digested_registers(known, b):
                    return False
        else:
            for a, b, mask in zip(old.frames, new.frames, live, strict=True):
                if not self._registers(a, b, mask):
                    return False
        for (a_id, _), (b_id, _) in zip((*old.refs, *old.irqs), (*new.refs, *new.irqs), strict=True):
            if not self._same_id(a_id, b_id):
                return False
        for held, new_held in zip(old.locks, new.locks, strict=True):
            if not held.covers(new_held, self._same_id):
                return False
        if digest is not None:
            return all(self._digested_stack(known, b) for known, b in zip(digest, new.frames, strict=True))
        return all(self._stack(a, b, cell_mask) for a, b, cell_mask in zip(old.frames, new.frames, cells, strict=True))

    def commit(self, complete: bool) -> None:
        """The new state is covered: what the old one's proofs relied on, or may yet, the new one relies on."""
        for old, new in self.numbers:
            if old.precise:
                new.rely()
            elif not complete:
                old.follow(new)
        for cell, twin in self.cells:
            if cell.read:
                twin.mark_read()
            elif not complete:
                cell.follow(twin)
        if self.uninit:
            self.world.notes.reads_uninit_stack = True

    def _registers(self, old: Frame, new: Frame, mask: int) -> bool:
        if old.call_slot != new.call_slot or old.callback != new.callback or old.callback_depth > new.callback_depth:
            return False
        a, b = old.regs, new.regs
        for index in range(10):
            if mask >> index & 1:
                value = a[index]
                if value is None:
                    continue
                other = b[index]
                if other is value and type(value) is Number and value.token is None and not value.shared:
                    continue
                if other is None or not self._values(value, other):
                    return False
        return True

    def _values(self, old: Value, new: Value) -> bool:
        if type(old) is Number:
            return type(new) is Number and self._numbers(old, new)
        return isinstance(new, Pointer) and isinstance(old, Pointer) and self._pointers(old, new)

    def _numbers(self, old: Number, new: Number) -> bool:
        mode = self.mode
        if mode is Mode.RELAXED and not old.precise and not self.strict:
            return True
        if mode is Mode.EXACT or self.strict:
            if old.range != new.range:
                return False
        elif not old.range.covers(new.range):
            return False
        self.numbers.append((old, new))
        return not old.shared or self._links(old, new)

    def _links(self, old: Number, new: Number) -> bool:
        """Numbers that move together in the old state must in the new one."""
        if old.wraps != new.wraps and new.value is None:
            return False
        token = old.token or old
        first = self.tokens.setdefault(id(token), (old, new))
        if first[0] is old:
            return first[1] is new or _together(first[1], new, 0)
        return _together(first[1], new, old.delta - first[0].delta)

    def _same_id(self, old: int, new: int) -> bool:
        if not old or not new:
            return old == new
        return self.ids.setdefault(old, new) == new

    def _pointers(self, old: Pointer, new: Pointer) -> bool:
        if old is new:
            same = self._same_id(old.id, new.id) and self._same_id(old.ref, new.ref)
            same = same and self._same_id(old.uid, new.uid)
            return same and (old.dynptr is None or self._same_id(old.dynptr.id, old.dynptr.id))
        if (
            old.kind is not new.kind
            or old.off != new.off
            or old.nullable != new.nullable
            or old.map is not new.map
            or old.size != new.size
            or old.frame != new.frame
            or old.slot != new.slot
            or old.readonly != new.readonly
            or old.object != new.object
            or (old.dynptr is not new.dynptr and not self._dynptrs(old, new))
        ):
            return False
        if self.mode is Mode.EXACT:
            if old.range != new.range:
                return False
        elif old.range > new.range or (old.range < 0 <= new.range):
            return False
        if not self._same_id(old.id, new.id) or not self._same_id(old.ref, new.ref):
            return False
        if not self._same_id(old.uid, new.uid):
            return False
        a, b = old.var or Scalar.ZERO, new.var or Scalar.ZERO
        return a == b or (self.mode is not Mode.EXACT and a.covers(b))

    def _dynptrs(self, old: Pointer, new: Pointer) -> bool:
        a, b = old.dynptr, new.dynptr
        if isinstance(a, Dynptr):
            return isinstance(b, Dynptr) and a.covers(b, self._same_id)
        return a is not None and isinstance(b, Slice) and a.covers(b, self._same_id)

    def _digested_registers(self, known: FrameDigest, new: Frame) -> bool:
        old = known.frame
        if old.call_slot != new.call_slot or old.callback != new.callback or old.callback_depth > new.callback_depth:
            return False
        regs = new.regs
        for index in known.numbers:
            if type(regs[index]) is not Number:
                return False
        for index, value in known.values:
            other = regs[index]
            if other is None or not self._values(value, other):
                return False
        return True

    def _digested_stack(self, known: FrameDigest, new: Frame) -> bool:
        stack, cells = new.stack, known.cells
        count, pairs = len(stack), self.cells
        for place, (index, cell, is_compared) in enumerate(cells):
            twin = stack[index] if index < count else None
            if twin is cell and not is_compared and cell.object is None:
                continue
            if twin is None or cell.types != twin.types or cell.size != twin.size or cell.object is not None:
                same = self._cells(cell, twin)
            else:
                pairs.append((cell, twin))
                if cell.zero.precise:
                    self.numbers.append((cell.zero, twin.zero))
                value, other = cell.value, twin.value
                if value is None:
                    same = True
                elif is_compared:
                    same = other is not None and self._values(value, other)
                else:
                    same = type(other) is Number
            if not same:
                cells[0], cells[place] = cells[place], cells[0]
                return False
        for index, cell in known.loose:
            twin = stack[index] if index < count else None
            if twin is cell:
                continue
            if twin is None or INVALID in twin.types:
                if not self._cells(cell, twin):
                    return False
            else:
                pairs.append((cell, twin))
        return True

    def _stack(self, old: Frame, new: Frame, mask: int) -> bool:
        for index, cell in enumerate(old.stack):
            if cell is not None and mask >> index & 1 and not self._cells(cell, new.cell(index)):
                return False
        return self.mode is not Mode.EXACT or self._nothing_new(old, new, mask)

    def _nothing_new(self, old: Frame, new: Frame, mask: int) -> bool:
        """For the exact comparison: cells that only the new state has are progress."""
        for index, cell in enumerate(new.stack):
            if cell is not None and mask >> index & 1 and old.cell(index) is None:
                return False
        return True

    def _cells(self, old: Cell, new: Cell | None) -> bool:
        if new is None:
            new = Cell(bytes(8))
        self.cells.append((old, new))
        if old.object is not None and not self._objects(old, new):
            return False
        if old is new:
            value = old.value
            return value is None or self._values(value, value)
        if ZERO in old.types and ZERO in new.types:
            self.numbers.append((old.zero, new.zero))
        for a, b in () if old.types == new.types else zip(old.types, new.types, strict=True):
            if a == b:
                continue
            if a in (MISC, INVALID) or (a == ZERO and self.mode is Mode.RELAXED and not old.zero.precise):
                if not self._misc(a, b):
                    return False
            elif a == ZERO:
                value = new.value
                if b != SPILL or not isinstance(value, Number) or value.value != 0:
                    return False
                self.numbers.append((_PRECISE_ZERO, value))
        return old.value is None or self._spills(old, new)

    def _objects(self, old: Cell, new: Cell) -> bool:
        return new.object is not None and old.object is not None and old.object.covers(new.object, self._same_id)

    def _misc(self, old: int, new: int) -> bool:
        if self.mode is Mode.EXACT:
            return False
        if new == INVALID:
            if not self.world.linked.target.privileged:
                return False
            self.uninit = True
        return True

    def _spills(self, old: Cell, new: Cell) -> bool:
        value = old.value
        assert value is not None
        if new.value is not None and new.types[0] == SPILL and new.size == old.size:
            return self._values(value, new.value)
        if isinstance(value, Pointer) or isinstance(new.value, Pointer) or self.mode is Mode.EXACT:
            return False
        if SPILL in new.types[: old.size]:
            return self._other_spill(value, old.size, new)
        if INVALID in new.types[: old.size]:
            if not self.world.linked.target.privileged:
                return False
            self.uninit = True
        return self._numbers(value, Number(Scalar.UNKNOWN))

    def _other_spill(self, old: Number, size: int, new: Cell) -> bool:
        """A number of ``size`` bytes, and where these bytes were spilled as a part of a longer or shorter one."""
        if self.mode is not Mode.RELAXED:
            return False
        value = new.value
        if not old.precise:
            return True
        if type(value) is not Number or new.size < size or new.types[0] != SPILL:
            return False
        return self._numbers(old, Number(alu.truncate(value.range, size), () if value.precise else (value,)))


_PRECISE_ZERO = Number(Scalar.ZERO)
_PRECISE_ZERO.precise = True


def _together(a: Number, b: Number, delta: int) -> bool:
    """Whether ``b`` is always ``a + delta``."""
    if a.value is not None and b.value is not None:
        return (b.value - a.value - delta) & ((1 << 64) - 1) == 0
    return (a.token or a) is (b.token or b) and b.delta - a.delta == delta
