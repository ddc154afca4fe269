"""What a context is made of: fields, which of their parts may be read or written, and where.

A context is an interface, not memory: the kernel has no ``struct __sk_buff`` and rewrites each access of it.
So what may be accessed is a rule per field and access size (the ``is_valid_access`` functions of net/core/filter.c,
kernel/trace/bpf_trace.c, kernel/bpf/cgroup.c), not a permission of bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from skep.abi.prog_types import AttachType, ProgType

#: Bytes of the largest load or store.
MAX_ACCESS = 8


class FieldKind(StrEnum):
    """What a load of a context field yields. Where the field has 4 bytes, a load of 4 bytes yields a whole pointer."""

    SCALAR = "scalar"
    PACKET = "packet"  # a pointer to the packet's first byte
    PACKET_END = "packet_end"
    PACKET_META = "packet_meta"
    SOCKET = "socket"  # a pointer to bpf_sock, or NULL (sock_or_null)
    SOCKET_NON_NULL = "socket_non_null"  # a pointer to bpf_sock (sock)
    SOCK_COMMON = "sock_common"  # a pointer to a socket that may lack the parts of a full one, or NULL
    FLOW_KEYS = "flow_keys"
    TRACEPOINT_BUFFER = "tp_buffer"
    BTF_OBJECT = "btf_object"  # a trusted pointer to the kernel structure ContextField.btf_name


@dataclass(frozen=True, slots=True)
class ContextField:
    """One field of a context, as the program sees it (offset and size in bytes).

    Attributes:
        writable: whole elements may be stored.
        narrow: may be read in parts (a u8 of a u32). Accesses are always aligned to their own size.
        element: bytes of one element of an array field; None: the field is one element.
        wide: 8-byte accesses may cover two 4-byte elements.
        narrow_write: may be written in parts.
        parts: where reading in parts has rules of its own: the allowed (offset in the field, size), whole included.
        attach_types: only programs of these attach types see the field; None: all.
        writable_for: only programs of these attach types may write it; None: all that see it.
        btf_name: kernel structure that a BTF_OBJECT points to.
    """

    name: str
    offset: int
    size: int
    kind: FieldKind = FieldKind.SCALAR
    writable: bool = False
    narrow: bool = True
    element: int | None = None
    wide: bool = False
    narrow_write: bool = False
    parts: frozenset[tuple[int, int]] | None = None
    attach_types: frozenset[AttachType] | None = None
    writable_for: frozenset[AttachType] | None = None
    btf_name: str | None = None

    @property
    def end(self) -> int:
        """The offset after its last byte."""
        return self.offset + self.size

    def allows(self, offset: int, size: int, write: bool = False) -> bool:
        """Whether an access, by its offset in the context, fits the field. Attach types are not asked."""
        if size not in (1, 2, 4, MAX_ACCESS) or offset < self.offset or offset + size > self.end:
            return False
        if write and not self.writable:
            return False
        within = offset - self.offset
        if self.parts is not None and not write:
            return (within, size) in self.parts
        unit = self.element or self.size
        if size == unit:
            return within % unit == 0
        if offset % size:
            return False
        if size > unit:
            return self.wide
        return self.narrow_write if write else self.narrow


@dataclass(frozen=True, slots=True)
class Context:
    """The structure that r1 points to at entry.

    Attributes:
        name: its C name, without ``struct``.
        size: bytes; for contexts without a fixed size, the most that the kernel lets a program reach.
        fields: in order of offset, without overlap within one attach type.
        variable_size: the kernel does not know the true size when it verifies; the hook refuses what is too short.
        highest_offset: no access may start after it; None: the fields say.
        packet_writable: stores to packet data are allowed.
        packet_arguments: packet pointers may be passed to helpers that take them (Signature.packet_arguments).
        packet_arguments_anywhere: they may be passed to every helper that takes memory.
    """

    name: str
    size: int
    fields: tuple[ContextField, ...]
    variable_size: bool = False
    highest_offset: int | None = None
    packet_writable: bool = False
    packet_arguments: bool = False
    packet_arguments_anywhere: bool = False

    def field_at(
        self, offset: int, size: int, write: bool = False, attach_type: AttachType | None = None
    ) -> ContextField | None:
        """The field that an access may touch.

        Args:
            offset, size: bytes.
            write: a store; else a load.
            attach_type: of the program. None: fields and writes that only some attach types have are allowed.

        Returns:
            None where the kernel would refuse the access; :meth:`why_not` says why.
        """
        if self.highest_offset is not None and offset > self.highest_offset:
            return None
        for field in self.fields:
            if field.allows(offset, size, write) and _for_attach_type(field, write, attach_type):
                return field
        return None

    def field_named(self, name: str) -> ContextField | None:
        """A field by its C name."""
        return next((field for field in self.fields if field.name == name), None)

    def why_not(self, offset: int, size: int, write: bool = False, attach_type: AttachType | None = None) -> str:
        """Why :meth:`field_at` finds nothing, for people."""
        field = next((f for f in self.fields if f.offset <= offset < f.end), None)
        verb = "written" if write else "read"
        if offset < 0 or offset >= self.size:
            return f"struct {self.name} has {self.size} bytes; offset {offset} is outside"
        if field is None:
            return f"programs of this type have no field at offset {offset} of struct {self.name}"
        if not _for_attach_type(field, write, attach_type):
            return f"{self.name}->{field.name} cannot be {verb} by programs of this attach type"
        if write and not field.writable:
            return f"{self.name}->{field.name} cannot be written"
        if offset % size:
            return f"an access of {size} bytes at offset {offset} is not aligned"
        return f"{self.name}->{field.name} cannot be {verb} {size} bytes at a time from offset {offset}"


def kernel_sentence(offset: int, size: int) -> str:
    """What the kernel's verifier says of a context access that it refuses (check_ctx_access)."""
    return f"invalid bpf_context access off={offset} size={size}"


def _for_attach_type(field: ContextField, write: bool, attach_type: AttachType | None) -> bool:
    if attach_type is None:
        return True
    if field.attach_types is not None and attach_type not in field.attach_types:
        return False
    return not write or field.writable_for is None or attach_type in field.writable_for


ContextTable = dict[ProgType, Context]
