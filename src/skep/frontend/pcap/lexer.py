"""pcap-filter(7) text to tokens. The longest match wins, as in libpcap's scanner: ``5-3`` is a name, no subtraction."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from skep.diagnostics import Diagnostic, Span
from skep.errors import CompileError, UnsupportedError
from skep.frontend.pcap.names import KEYWORDS

MAX_TEXT = 1 << 20  # characters of an expression


class Kind(StrEnum):
    """What a token is."""

    NUMBER = "number"
    NAME = "name"
    IPV4 = "IPv4 address"  # 10, 10.1, 10.1.2, 10.1.2.3
    IPV6 = "IPv6 address"
    MAC = "Ethernet address"
    KEYWORD = "keyword"
    SYMBOL = "symbol"
    END = "end"


@dataclass(frozen=True, slots=True)
class Token:
    """A word of the expression; ``start`` and ``end`` are positions in ``source``."""

    kind: Kind
    text: str
    start: int
    end: int
    source: str

    def is_word(self, *texts: str) -> bool:
        """Is it one of these keywords or symbols?"""
        return self.kind in (Kind.KEYWORD, Kind.SYMBOL) and self.text in texts

    @property
    def number(self) -> int:
        """The value of a NUMBER: decimal, 0x hexadecimal, or octal with a leading 0. CompileError H0405: too large."""
        text = self.text
        if len(text) > 20:
            raise fault("H0405", "the number does not fit into 32 bits", self)
        if text[:2] in ("0x", "0X"):
            value = int(text, 16)
        elif text.startswith("0") and text.strip("01234567"):
            raise fault("H0405", f"'{text}' is not an octal number", self, help="a leading 0 means octal")
        else:
            value = int(text, 8) if text.startswith("0") else int(text)
        if value > 0xFFFFFFFF:
            raise fault("H0405", f"{text} does not fit into 32 bits", self)
        return value


_HEX1, _HEX2, _HEX4 = "[0-9A-Fa-f]{1,2}", "[0-9A-Fa-f]{2}", "[0-9A-Fa-f]{4}"
_PATTERNS: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    (Kind.NUMBER, re.compile(r"0[xX][0-9A-Fa-f]+|[0-9]+")),
    (Kind.IPV4, re.compile(r"[0-9]+(?:\.[0-9]+){1,3}")),
    (
        Kind.MAC,
        re.compile(
            rf"{_HEX1}(?::{_HEX1}){{5}}|{_HEX1}(?:-{_HEX1}){{5}}|{_HEX1}(?:\.{_HEX1}){{5}}"
            rf"|{_HEX4}(?:\.{_HEX4}){{2}}"
        ),
    ),
    (Kind.IPV6, re.compile(r"(?=[0-9A-Fa-f:]*:[0-9A-Fa-f:]*:)[0-9A-Fa-f:]+(?:\.[0-9]+\.[0-9]+\.[0-9]+)?")),
    (Kind.NAME, re.compile(r"[A-Za-z0-9](?:[-_.A-Za-z0-9]*[.A-Za-z0-9])?")),
    (Kind.NAME, re.compile(r"\\[^ !()\n\t]+")),
    (Kind.SYMBOL, re.compile(r"<<|>>|<=|>=|!=|==|&&|\|\||[-+*/%&|^<>=!()\[\]:]")),
)
_SPACE = re.compile(r"[ \t\r\n]+")
_SPELLINGS = {"&&": "and", "||": "or", "!": "not", "==": "="}


def tokenize(source: str) -> list[Token]:
    """All tokens, and one END.

    Raises:
        CompileError: H0401: a character that belongs nowhere.
    """
    if len(source) > MAX_TEXT:
        raise CompileError(Diagnostic("H0401", f"the expression has {len(source)} characters, more than {MAX_TEXT}"))
    tokens: list[Token] = []
    at = 0
    while True:
        if space := _SPACE.match(source, at):
            at = space.end()
        if at == len(source):
            return [*tokens, Token(Kind.END, "", at, at, source)]
        token = _longest(source, at)
        tokens.append(token)
        at = token.end


def _longest(source: str, at: int) -> Token:
    best: tuple[int, Kind] | None = None
    for kind, pattern in _PATTERNS:
        match = pattern.match(source, at)
        if match is not None and (best is None or match.end() > best[0]):
            best = match.end(), kind
    if best is None:
        token = Token(Kind.SYMBOL, source[at], at, at + 1, source)
        raise fault("H0401", f"{source[at]!r} has no meaning in a filter expression", token)
    end, kind = best
    text = source[at:end]
    if kind is Kind.SYMBOL:
        return Token(kind if text not in _SPELLINGS else Kind.KEYWORD, _SPELLINGS.get(text, text), at, end, source)
    if kind is Kind.NAME and text.startswith("\\"):
        return Token(kind, text[1:], at, end, source)
    if kind is Kind.NAME and text in KEYWORDS:
        return Token(Kind.KEYWORD, KEYWORDS[text], at, end, source)
    return Token(kind, text, at, end, source)


def span(first: Token, last: Token | None = None) -> Span:
    """Where tokens are, as a span on their line."""
    source, last = first.source, last or first
    line_start = source.rfind("\n", 0, first.start) + 1
    line_end = source.find("\n", first.start)
    text = source[line_start : line_end if line_end >= 0 else len(source)]
    length = max(1, min(last.end, line_start + len(text)) - first.start)
    return Span("filter", source.count("\n", 0, first.start) + 1, first.start - line_start + 1, length, text)


def fault(
    code: str, what: str, first: Token, last: Token | None = None, help: str | None = None, why: tuple[str, ...] = ()
) -> CompileError:
    """An error in the expression, marked."""
    return CompileError(Diagnostic(code, what, span=span(first, last), help=help, why=why))


def missing(what: str, first: Token, last: Token | None = None, help: str | None = None) -> UnsupportedError:
    """Something of pcap-filter(7) that skep does not do, by name (H0407)."""
    return UnsupportedError(Diagnostic("H0407", what, span=span(first, last), help=help))
