"""What a register or stack cell may hold: a Number or a Pointer.

Both are immutable and shared between states, but for one mark: a Number remembers whether any proof relied on its
range (``precise``) and from which Numbers it was computed (``parents``). Relying on a number makes its ancestors
precise too, so that every saved state that holds one of them compares it strictly. That is the kernel's precision
tracking (mark_chain_precision) by data flow instead of by walking back over instructions.
"""

from __future__ import annotations

from enum import IntEnum

from skep.model.maps import MapSpec
from skep.verifier.domains.scalar import Scalar
from skep.verifier.state.dynptrs import Dynptr, Slice
from skep.verifier.state.objects import Object

MASK64 = (1 << 64) - 1


class Number:
    """A number that is known to lie in a set.

    Attributes:
        range: the set.
        value: the number (unsigned 64 bits) where only one is possible, else None.
        token, delta: Numbers with the same token differ by their deltas on every run (``r2 = r1; r2 += 4``) and are
            refined together (the kernel's scalar ids). None: the Number itself is the token.
        wraps: it is the low 32 bits of token + delta (``w2 = w1; w2 += 4``; the kernel's BPF_ADD_CONST32).
        shared: more than one register or cell may hold it or be linked with it.
        precise, parents: see the module. Parents are dropped once they are marked.
    """

    __slots__ = ("delta", "parents", "precise", "range", "shared", "token", "value", "wraps")

    def __init__(self, known: Scalar, parents: tuple[Number, ...] = ()) -> None:
        self.range = known
        self.value = None if known[1] else known[0]
        self.parents = parents
        self.precise = False
        self.shared = False
        self.token: Number | None = None
        self.delta = 0
        self.wraps = False

    def rely(self) -> None:
        """A proof relies on this number's range: mark it and everything it was computed from."""
        if self.precise:
            return
        pending = [self]
        while pending:
            number = pending.pop()
            if not number.precise:
                number.precise = True
                pending.extend(number.parents)
                number.parents = ()

    def follow(self, other: Number) -> None:
        """If this number is ever relied on, ``other`` (in a state that was found to be covered) must be too."""
        if self.precise:
            other.rely()
        elif other is not self:
            self.parents = (*self.parents, other)

    def linked(self, known: Scalar, parents: tuple[Number, ...], delta: int, *, wraps: bool = False) -> Number:
        """A Number in the same family as this one, ``delta`` away from the family's token."""
        made = Number(known, parents)
        made.token = self.token or self
        made.delta = delta
        made.shared = True
        made.wraps = wraps
        return made

    def __repr__(self) -> str:
        return f"Number({self.range}{'!' if self.precise else ''})"


def constant(value: int) -> Number:
    """A known number (taken modulo 2**64)."""
    return Number(Scalar.constant(value))


def unknown() -> Number:
    """Any number."""
    return Number(Scalar.UNKNOWN)


class Kind(IntEnum):
    """Kinds of pointers (enum bpf_reg_type)."""

    CTX = 0
    STACK = 1
    PACKET = 2
    PACKET_META = 3
    PACKET_END = 4
    MAP_VALUE = 5
    MAP_KEY = 6
    MAP = 7
    MEMORY = 8
    RECORD = 9
    FUNC = 10
    SOCK = 11
    SOCK_COMMON = 12
    TCP_SOCK = 13
    FLOW_KEYS = 14
    BTF = 15
    XDP_SOCK = 16
    PROBED = 17  # kernel memory of unknown size that is read with care (MEM_RDONLY | PTR_UNTRUSTED)
    BUFFER = 18  # a buffer whose size the kernel checks when the program is attached
    ARENA = 19  # an address in an arena: any number, followed with care
    TRACEPOINT_BUFFER = 21  # what a writable tracepoint hands over; sized as BUFFER
    DYNPTR = 20  # a dynptr that is not on the stack and does not change (CONST_PTR_TO_DYNPTR)


KIND_NAMES = {
    Kind.CTX: "ctx",
    Kind.STACK: "fp",
    Kind.PACKET: "pkt",
    Kind.PACKET_META: "pkt_meta",
    Kind.PACKET_END: "pkt_end",
    Kind.MAP_VALUE: "map_value",
    Kind.MAP_KEY: "map_key",
    Kind.MAP: "map_ptr",
    Kind.MEMORY: "mem",
    Kind.RECORD: "ringbuf_mem",
    Kind.FUNC: "func",
    Kind.SOCK: "sock",
    Kind.SOCK_COMMON: "sock_common",
    Kind.TCP_SOCK: "tcp_sock",
    Kind.FLOW_KEYS: "flow_keys",
    Kind.XDP_SOCK: "xdp_sock",
    Kind.BTF: "ptr_",
    Kind.PROBED: "rdonly_untrusted_mem",
    Kind.BUFFER: "buf",
    Kind.TRACEPOINT_BUFFER: "tp_buffer",
    Kind.ARENA: "arena",
    Kind.DYNPTR: "dynptr_ptr",
}
"""The kernel's names in messages (reg_type_str)."""

_SAID_READ_ONLY = frozenset({Kind.MEMORY, Kind.BUFFER})
PACKET_KINDS = frozenset({Kind.PACKET, Kind.PACKET_META, Kind.PACKET_END})


AT_END, BEYOND_END = -1, -2  # ranges of packet pointers at data_end or after it (AT_PKT_END), and only after it


class Pointer:
    """An address: region, fixed offset in bytes, variable offset.

    Attributes:
        off: fixed part of the offset.
        var: variable part; None: zero.
        id: packet pointers with the same id have the same variable part; nullable ones are NULL together.
        range: for packet pointers: readable bytes from ``base + var``; AT_END or BEYOND_END: it is known not to lie in
            the packet.
        nullable: may be NULL.
        map: blueprint, for MAP, MAP_VALUE and MAP_KEY (an inner map's template).
        size: bytes, for MEMORY and RECORD.
        frame: number of the frame, for STACK.
        ref: id of the acquired reference it belongs to; 0: none.
        readonly: must not be written through.
        slot: first instruction, for FUNC.
        object: what it points to, for BTF.
        dynptr: the one that it points to, for DYNPTR; the one that it belongs to, for MEMORY.
        uid: which map it was that was looked up in another map, for MAP and MAP_VALUE of maps with timers or work in
            their values (kernel: map_uid); 0: not such a map.
    """

    __slots__ = (
        "dynptr",
        "frame",
        "id",
        "kind",
        "map",
        "nullable",
        "object",
        "off",
        "range",
        "readonly",
        "ref",
        "size",
        "slot",
        "uid",
        "var",
    )

    def __init__(
        self,
        kind: Kind,
        off: int = 0,
        var: Scalar | None = None,
        id: int = 0,
        range: int = 0,
        nullable: bool = False,
        map: MapSpec | None = None,
        size: int = 0,
        frame: int = 0,
        ref: int = 0,
        readonly: bool = False,
        slot: int = -1,
        object: Object | None = None,
        dynptr: Dynptr | Slice | None = None,
        uid: int = 0,
    ) -> None:
        self.kind = kind
        self.off = off
        self.var = var
        self.id = id
        self.range = range
        self.nullable = nullable
        self.map = map
        self.size = size
        self.frame = frame
        self.ref = ref
        self.readonly = readonly
        self.slot = slot
        self.object = object
        self.dynptr = dynptr
        self.uid = uid

    def moved(self, off: int, var: Scalar | None, id: int, range: int) -> Pointer:
        """The same region at another offset."""
        return Pointer(
            self.kind,
            off,
            var,
            id,
            range,
            self.nullable,
            self.map,
            self.size,
            self.frame,
            self.ref,
            self.readonly,
            self.slot,
            self.object,
            self.dynptr,
            self.uid,
        )

    def non_null(self) -> Pointer:
        """The same pointer, known not to be NULL."""
        return Pointer(
            self.kind,
            self.off,
            self.var,
            0,
            self.range,
            False,
            self.map,
            self.size,
            self.frame,
            self.ref,
            self.readonly,
            self.slot,
            self.object,
            self.dynptr,
            self.uid,
        )

    def seen_as(self, found: Object, ref: int) -> Pointer:
        """The same pointer, of whose object and reference something else is known now."""
        twin = self.moved(self.off, self.var, self.id, self.range)
        twin.object = found
        twin.ref = ref
        return twin

    @property
    def name(self) -> str:
        """The kernel's name of its type."""
        if self.object is not None:
            return f"{self.object.prefix}ptr_{'or_null_' if self.nullable else ''}"
        only_read = "rdonly_" if self.readonly and self.kind in _SAID_READ_ONLY else ""
        return only_read + KIND_NAMES[self.kind] + ("_or_null" if self.nullable else "")

    @property
    def low(self) -> int:
        """Lowest variable offset, signed."""
        return 0 if self.var is None else self.var.smin

    @property
    def high(self) -> int:
        """Highest variable offset, unsigned."""
        return 0 if self.var is None else self.var.umax

    def __repr__(self) -> str:
        return f"{self.name}({self.off}{'' if self.var is None else '+var'})"


Value = Number | Pointer


def type_name(value: Value | None) -> str:
    """The kernel's word for what a register holds."""
    if value is None:
        return "?"
    return value.name if isinstance(value, Pointer) else "scalar"
