"""What the parser makes of an expression: a tree that says what was written, not yet what it means."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from skep.frontend.pcap.lexer import Token


class Direction(StrEnum):
    """Which of a packet's two addresses."""

    DEFAULT = "default"
    SRC = "src"
    DST = "dst"
    EITHER = "src or dst"
    BOTH = "src and dst"


@dataclass(frozen=True, slots=True)
class Qualifiers:
    """What goes before a name or number. ``protocol`` and ``type`` are keywords; "" where none was written.

    ``first`` is the token they start at.
    """

    protocol: str
    direction: Direction
    type: str
    first: Token


@dataclass(frozen=True, slots=True)
class Operand:
    """A qualified name, number, address or network: ``tcp src port 80``, ``net 10.0.0.0/8``.

    Attributes:
        mask: the token after the slash or the word ``mask``.
        is_prefix: the mask is a number of bits.
    """

    qualifiers: Qualifiers
    value: Token
    mask: Token | None = None
    is_prefix: bool = False


@dataclass(frozen=True, slots=True)
class Protocol:
    """A protocol alone: ``tcp``."""

    token: Token


@dataclass(frozen=True, slots=True)
class Primitive:
    """``less 100``, ``vlan 5``, ``ip broadcast``: a keyword with an optional protocol before and number after.

    ``extra`` holds what only `byte` has: operator and value.
    """

    token: Token
    protocol: Token | None = None
    argument: Token | None = None
    extra: tuple[Token, ...] = ()


@dataclass(frozen=True, slots=True)
class Number:
    """A number or the name of one."""

    token: Token
    value: int


@dataclass(frozen=True, slots=True)
class Length:
    """``len``."""

    token: Token


@dataclass(frozen=True, slots=True)
class PacketBytes:
    """``ip[2:2]``."""

    protocol: Token
    index: Arithmetic
    size: int
    last: Token


@dataclass(frozen=True, slots=True)
class Calculation:
    """``a + b``; for ``-a``, left is None."""

    operator: Token
    left: Arithmetic | None
    right: Arithmetic


Arithmetic = Number | Length | PacketBytes | Calculation


@dataclass(frozen=True, slots=True)
class Relation:
    """``ip[0] & 15 != 5``."""

    operator: Token
    left: Arithmetic
    right: Arithmetic


@dataclass(frozen=True, slots=True)
class Not:
    """``not x``."""

    child: Expression


@dataclass(frozen=True, slots=True)
class Group:
    """``x and y and z`` or ``x or y or z``."""

    is_and: bool
    children: tuple[Expression, ...]


Expression = Operand | Protocol | Primitive | Relation | Not | Group
