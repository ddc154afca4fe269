"""Single words of the files that tools read: numbers, ports, durations.

ValueError says what is wrong; what stands behind "; " in it is the advice.
"""

from __future__ import annotations

import re
from difflib import get_close_matches

from skep.tools.names import PORTS

MAX_PORT = 65535
UNITS = {"s": 1, "second": 1, "m": 60, "minute": 60, "h": 3600, "hour": 3600, "d": 86400, "day": 86400}
_DURATION = re.compile(r"(\d{1,9})\s*([a-z]*)")


def text_of(item: object) -> str:
    """An item of a YAML file that must be one word."""
    if not isinstance(item, str):
        raise ValueError("one word or number belongs here, not a list or mapping")
    return item


def parse_number(text: str, low: int, high: int, what: str) -> int:
    """A decimal number between two others, both included."""
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and low <= int(text) <= high):
        raise ValueError(f"'{text}' is not {what} ({low} to {high})")
    return int(text)


def parse_port(text: str) -> int:
    """A port by number or name."""
    if text in PORTS:
        return PORTS[text]
    if not text[:1].isdigit():
        raise ValueError(unknown_word("port", text, PORTS, "use its number"))
    return parse_number(text, 0, MAX_PORT, "a port")


def parse_seconds(text: str) -> int:
    """``30``, ``30s``, ``5m``, ``2h``: seconds, 1 to about a year."""
    match = _DURATION.fullmatch(text)
    unit = (match.group(2) or "s") if match else ""
    if match is None or unit not in UNITS:
        raise ValueError(f"'{text}' is not a time; e.g. 30s, 5m, 2h")
    seconds = int(match.group(1)) * UNITS[unit]
    if not 1 <= seconds <= 366 * 86400:
        raise ValueError(f"'{text}' is not between one second and a year")
    return seconds


def parse_interface(text: str) -> str:
    """The name of an interface; whether it exists is not asked."""
    if not 1 <= len(text.encode()) <= 15 or "/" in text or any(letter.isspace() for letter in text):
        raise ValueError(f"'{text}' is not an interface's name (1 to 15 bytes, no blanks, no slash)")
    return text


def unknown_word(what: str, word: str, known: object, otherwise: str) -> str:
    """The sentence about a word that is not known, with the nearest one that is."""
    close = get_close_matches(word, list(known), n=1)  # type: ignore[call-overload]
    return f"there is no {what} '{word}'" + (f"; did you mean '{close[0]}'?" if close else f"; {otherwise}")
