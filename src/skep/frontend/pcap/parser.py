"""A recursive-descent parser for pcap-filter(7).

``and`` and ``or`` have the same precedence and group from the left. A bare name or number after one of them takes over
the qualifiers before it: ``tcp dst port 80 or 443``.
"""

from __future__ import annotations

from collections.abc import Sequence

from skep.errors import CompileError
from skep.frontend.pcap.lexer import Kind, Token, fault, missing, tokenize
from skep.frontend.pcap.names import CONSTANTS
from skep.frontend.pcap.syntax import (
    Arithmetic,
    Calculation,
    Direction,
    Expression,
    Group,
    Length,
    Not,
    Number,
    Operand,
    PacketBytes,
    Primitive,
    Protocol,
    Qualifiers,
    Relation,
)

PROTOCOLS = frozenset(
    {
        "ether", "ip", "arp", "rarp", "sctp", "tcp", "udp", "icmp", "igmp", "igrp", "pim", "vrrp", "carp", "atalk",
        "aarp", "decnet", "lat", "sca", "mopdl", "moprc", "ip6", "icmp6", "ah", "esp", "iso", "esis", "isis", "l1",
        "l2", "iih", "lsp", "snp", "csnp", "psnp", "clnp", "stp", "ipx", "netbeui", "radio",
    }
)  # fmt: skip
TYPES = frozenset(("host", "net", "port", "portrange", "proto", "protochain", "gateway"))
WITH_OPTIONAL_NUMBER = frozenset(("vlan", "mpls", "pppoes", "geneve"))
ALONE = frozenset(("inbound", "outbound", "pppoed"))
MAX_DEPTH = 64  # of parentheses, brackets, `not`
MAX_OPERATIONS = 200  # of arithmetic in one comparison

_SIGN = "minus"
_PRECEDENCE = {"|": 1, "&": 2, "<<": 3, ">>": 3, "+": 4, "-": 4, "*": 5, "/": 5, "%": 0, "^": 0}
_RELATIONS = ("=", "!=", "<", "<=", ">", ">=")
_ADDRESSES = (Kind.NUMBER, Kind.NAME, Kind.IPV4, Kind.IPV6, Kind.MAC)
_80211 = frozenset(("type", "subtype", "direction", "addr1", "addr2", "addr3", "addr4", "ra", "ta"))
_PF = frozenset(("ifname", "rulenum", "rnr", "srnr", "rset", "reason", "action"))
_ATM = frozenset(
    ("lane", "metac", "bcc", "oam", "oamf4", "connectmsg", "metaconnect", "vpi", "vci", "ilmic", "sc", "llc")
)
_SS7 = frozenset(
    ("fisu", "lssu", "lsu", "msu", "hfisu", "hlssu", "hmsu", "sio", "opc", "dpc", "sls", "hsio", "hopc", "hdpc", "hsls")
)


def parse(source: str) -> Expression | None:
    """The tree of an expression; None for an empty one, which every packet matches.

    Raises:
        CompileError: H0401: a stray character; H0402: it is not an expression.
        UnsupportedError: H0407: words of link types that skep has not.
    """
    parser = _Parser(tokenize(source))
    if parser.peek().kind is Kind.END:
        return None
    tree, _ = parser.expression(None)
    if parser.peek().kind is not Kind.END:
        raise parser.surprise("the expression should end here, or go on with 'and' or 'or'")
    return tree


def _reduces(operator: str, following: str | None) -> bool:
    """Is an operator done before the one that follows?

    libpcap gives ``%`` and ``^`` no precedence: they take in all that follows, and are taken in before what stands to
    their left is done: ``7 + 2 ^ 1`` is 7 + (2 ^ 1), and ``5 % 3 + 2`` is 5 % (3 + 2). Filters must mean the same here.
    """
    if following is None:
        return True
    if operator in ("%", "^") or following in ("%", "^"):
        return False
    return operator == _SIGN or _PRECEDENCE[operator] >= _PRECEDENCE[following]


class _NotArithmetic(Exception):
    """What was tried as arithmetic is none."""


class _Parser:
    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0
        self._operations = 0

    # ---- tokens ----

    def peek(self, ahead: int = 0) -> Token:
        return self._tokens[min(self._at + ahead, len(self._tokens) - 1)]

    def _next(self) -> Token:
        token = self.peek()
        self._at += token.kind is not Kind.END
        return token

    def _take(self, *words: str) -> Token | None:
        return self._next() if self.peek().is_word(*words) else None

    def _expect(self, word: str, why: str) -> Token:
        return self._take(word) or self._raise(self.surprise(f"{why}: '{word}' is missing"))

    @staticmethod
    def _raise(error: Exception) -> Token:
        raise error

    def surprise(self, what: str, help: str | None = None) -> CompileError:
        token = self.peek()
        if token.kind is Kind.END:
            return fault("H0402", f"the expression ends too early: {what}", token, help=help)
        if help is None and token.kind is Kind.KEYWORD and token.text in PROTOCOLS:
            help = f"'{token.text}' is a keyword; as a name write \\{token.text}"
        return fault("H0402", f"'{token.source[token.start : token.end]}' does not fit: {what}", token, help=help)

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise fault("H0403", f"the expression is nested deeper than {MAX_DEPTH} levels", self.peek())

    # ---- expressions; each gives the tree and the qualifiers that a bare name after it takes over ----

    def expression(self, inherited: Qualifiers | None) -> tuple[Expression, Qualifiers | None]:
        tree, qualifiers = self._term(inherited)
        children, is_and = [tree], True
        while word := self._take("and", "or"):
            tree, qualifiers = self._term(qualifiers)
            if len(children) > 1 and is_and != (word.text == "and"):
                children = [Group(is_and, tuple(children))]
            is_and = word.text == "and"
            children.append(tree)
        return (Group(is_and, tuple(children)) if len(children) > 1 else children[0]), qualifiers

    def _term(self, inherited: Qualifiers | None) -> tuple[Expression, Qualifiers | None]:
        self._deeper()
        try:
            if self._take("not"):
                child, qualifiers = self._term(inherited)
                return Not(child), qualifiers
            relation = self._try_relation()
            if relation is not None:
                return relation, None
            if self._take("("):
                inside = self.expression(inherited)
                self._expect(")", "a parenthesis is open")
                return inside
            return self._primary(inherited)
        finally:
            self._depth -= 1

    def _primary(self, inherited: Qualifiers | None) -> tuple[Expression, Qualifiers | None]:
        token = self.peek()
        if token.kind in _ADDRESSES:
            if inherited is not None:
                return self._operand(inherited), inherited
            raise self.surprise("it stands alone", help=f"say what it is, e.g. host {token.text} or port {token.text}")
        if token.kind is not Kind.KEYWORD:
            raise self.surprise("a primitive such as 'tcp', 'host ADDRESS' or 'port NUMBER' is expected")
        self._refuse_other_links(token)
        if token.text in ALONE or token.text in WITH_OPTIONAL_NUMBER:
            return self._optional_number(), None
        if token.text in ("less", "greater"):
            self._next()
            return Primitive(token, argument=self._number_token(f"'{token.text}' takes a number of bytes")), None
        if token.text == "byte":
            return self._byte(), None
        protocol = self._next() if token.text in PROTOCOLS else None
        if word := self._take("broadcast", "multicast"):
            return Primitive(word, protocol=protocol), None
        head = self._head(token, protocol)
        if head is None:
            if protocol is None:
                raise self.surprise("a primitive such as 'tcp', 'host ADDRESS' or 'port NUMBER' is expected")
            return Protocol(protocol), None
        return self._identifier(head), head

    def _refuse_other_links(self, token: Token) -> None:
        for words, what in (
            (_80211, "802.11 frames are not supported"),
            (_PF, "pf's log records are not supported"),
            (_ATM, "ATM and LLC frame types are not supported"),
            (_SS7, "SS7 signalling is not supported"),
        ):
            if token.text in words:
                raise missing(f"'{token.text}': {what}", token, help="compare bytes instead, e.g. ether[0] = 8")

    def _head(self, first: Token, protocol: Token | None) -> Qualifiers | None:
        """Direction and type; None if neither is there."""
        self._refuse_other_links(self.peek())
        direction = Direction.DEFAULT
        if word := self._take("src", "dst"):
            direction = Direction(word.text)
            joined = self.peek(1).is_word("dst" if word.text == "src" else "src")
            if self.peek().is_word("or", "and") and joined:
                direction = Direction.EITHER if self._next().text == "or" else Direction.BOTH
                self._next()
        kind = self._next() if self.peek().kind is Kind.KEYWORD and self.peek().text in TYPES else None
        if direction is Direction.DEFAULT and kind is None:
            return None
        if kind is not None and kind.text in ("proto", "protochain", "gateway") and direction is not Direction.DEFAULT:
            raise fault("H0404", f"'{direction.value}' does not go with '{kind.text}'", first, kind)
        return Qualifiers(protocol.text if protocol else "", direction, kind.text if kind else "", first)

    def _identifier(self, qualifiers: Qualifiers) -> Expression:
        """A name or number, `not` one, or several in parentheses: ``port (80 or 443)``."""
        self._deeper()
        try:
            if self._take("not"):
                return Not(self._identifier(qualifiers))
            if not self._take("("):
                return self._operand(qualifiers)
            children, is_and = [self._identifier(qualifiers)], True
            while word := self._take("and", "or"):
                if len(children) > 1 and is_and != (word.text == "and"):
                    children = [Group(is_and, tuple(children))]
                is_and = word.text == "and"
                children.append(self._identifier(qualifiers))
            self._expect(")", "a parenthesis is open")
            return Group(is_and, tuple(children)) if len(children) > 1 else children[0]
        finally:
            self._depth -= 1

    def _operand(self, qualifiers: Qualifiers) -> Operand:
        token = self.peek()
        if token.kind not in _ADDRESSES:
            wanted = f"'{qualifiers.type or 'host'}' takes a name, a number or an address"
            raise self.surprise(wanted)
        self._next()
        if token.kind in (Kind.NUMBER, Kind.IPV4, Kind.IPV6) and self._take("/"):
            return Operand(qualifiers, token, self._number_token("a prefix length is a number of bits"), is_prefix=True)
        if token.kind in (Kind.NUMBER, Kind.IPV4) and self._take("mask"):
            mask = self.peek()
            if mask.kind not in (Kind.IPV4, Kind.NUMBER):
                raise self.surprise("a mask looks like 255.255.255.0")
            return Operand(qualifiers, token, self._next())
        return Operand(qualifiers, token)

    def _optional_number(self) -> Primitive:
        token = self._next()
        if token.text in WITH_OPTIONAL_NUMBER and self._is_plain_number():
            return Primitive(token, argument=self._next())
        return Primitive(token)

    def _is_plain_number(self) -> bool:
        """A number that does not begin an arithmetic expression."""
        return self.peek().kind is Kind.NUMBER and not self.peek(1).is_word(*_RELATIONS)

    def _number_token(self, why: str) -> Token:
        return self._next() if self.peek().kind is Kind.NUMBER else self._raise(self.surprise(why))

    def _byte(self) -> Primitive:
        word = self._next()
        index = self._number_token("'byte' takes an offset, an operator and a value")
        operator = self._take("=", "<", ">", "&", "|") or self._raise(self.surprise("'byte' compares with = < > & |"))
        return Primitive(word, argument=index, extra=(operator, self._number_token("'byte' compares with a number")))

    # ---- arithmetic ----

    def _try_relation(self) -> Relation | None:
        """A comparison, or None with nothing consumed: only the operator tells ``(tcp[0]) = 5`` from ``(tcp)``."""
        if not self._may_be_arithmetic():
            return None
        mark, depth = self._at, self._depth
        self._operations = 0
        try:
            left = self._arithmetic()
        except _NotArithmetic:
            self._at, self._depth = mark, depth
            return None
        operator = self._take(*_RELATIONS)
        if operator is None:
            if isinstance(left, Number):  # an operand whose qualifiers come from before
                self._at = mark
                return None
            raise self.surprise("a number is compared: one of = != < <= > >= is expected")
        try:
            return Relation(operator, left, self._arithmetic())
        except _NotArithmetic:
            raise self.surprise("a number, 'len' or bytes such as ip[2:2] are expected") from None

    def _may_be_arithmetic(self) -> bool:
        token = self.peek()
        if token.kind is Kind.KEYWORD and token.text in PROTOCOLS:
            return self.peek(1).is_word("[")
        return token.kind is Kind.NUMBER or token.text in CONSTANTS or token.is_word("(", "-", "len")

    def _arithmetic(self) -> Arithmetic:
        """Operators by precedence, as libpcap's grammar has it: see _reduces()."""
        operands: list[Arithmetic] = []
        operators: list[tuple[str, Token]] = []  # "minus" is the sign
        while True:
            while sign := self._take("-"):
                operators.append((_SIGN, sign))
                self._count(sign)
            operands.append(self._factor())
            following = self._take(*_PRECEDENCE)
            while operators and _reduces(operators[-1][0], following.text if following else None):
                kind, token = operators.pop()
                right = operands.pop()
                operands.append(Calculation(token, None if kind == _SIGN else operands.pop(), right))
            if following is None:
                return operands[0]
            self._count(following)
            operators.append((following.text, following))

    def _count(self, operator: Token) -> None:
        self._operations += 1
        if self._operations > MAX_OPERATIONS:
            raise fault("H0403", f"the comparison has more than {MAX_OPERATIONS} operations", operator)

    def _factor(self) -> Arithmetic:
        token = self.peek()
        if token.kind is Kind.NUMBER:
            self._next()
            return Number(token, token.number)
        if token.kind is Kind.NAME and token.text in CONSTANTS:
            return Number(self._next(), CONSTANTS[token.text])
        if self._take("len"):
            return Length(token)
        if self._take("("):
            self._deeper()
            inside = self._arithmetic()
            if not self._take(")"):
                raise _NotArithmetic
            self._depth -= 1
            return inside
        if token.kind is Kind.KEYWORD and token.text in PROTOCOLS and self.peek(1).is_word("["):
            return self._packet_bytes()
        raise _NotArithmetic

    def _packet_bytes(self) -> PacketBytes:
        protocol, _ = self._next(), self._next()
        self._deeper()
        size = 1
        try:
            index = self._arithmetic()
        except _NotArithmetic:
            raise self.surprise("brackets hold an offset, e.g. tcp[13]") from None
        if self._take(":"):
            token = self._number_token("after the colon comes a size: 1, 2 or 4")
            size = token.number
            if size not in (1, 2, 4):
                raise fault("H0405", f"a load of {token.text} bytes", token, help="sizes are 1, 2 and 4 bytes")
        last = self._expect("]", "a bracket is open")
        self._depth -= 1
        return PacketBytes(protocol, index, size, last)
