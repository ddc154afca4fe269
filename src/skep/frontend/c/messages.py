"""What clang writes on stderr, as Diagnostics.

clang is asked for one line per message, with source ranges and without pictures:
``firewall.bpf.c:17:5:{17:5-17:12}: error: use of undeclared identifier 'b' [-Wfoo]``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from skep.diagnostics import Diagnostic, Severity, Span
from skep.frontend.c.include_paths import INCLUDE

_MESSAGE = re.compile(
    r"^(?P<file>(?:[A-Za-z]:)?[^:\n]+):(?P<line>\d+):(?P<column>\d+):(?P<ranges>(?:\{[^}]*\})*:?)?\s*"
    r"(?P<kind>fatal error|error|warning|note|remark): (?P<text>.*)$"
)
_PLACELESS = re.compile(r"^(?:[\w.+-]*clang[\w.+-]*|zig): (?P<kind>fatal error|error|warning|note): (?P<text>.*)$")
# The BPF backend: "error: x.c:3:5: in function f i32 (ptr): A call to ..." (also without a place: <unknown>:0:0).
_BACKEND = re.compile(
    r"^(?P<kind>fatal error|error|warning): (?:(?P<file>[^:\n]+):(?P<line>\d+):(?P<column>\d+): )?"
    r"(?:in function (?P<function>\S+) [^:]*: )?(?P<text>.*)$"
)
_INCLUDED = re.compile(r"^In file included from (?P<place>.+?)[:,]$")
_SUMMARY = re.compile(r"^\d+ (?:error|warning)s?( and \d+ errors?)? generated\.$")
_RANGE = re.compile(r"\{(\d+):(\d+)-(\d+):(\d+)\}")
_MOST_REASONS = 8
_OWN_HEADERS = str(INCLUDE)

# Text of the source line: (file, line) -> text or None.
SourceLines = Callable[[str, int], str | None]

_CODES = {"fatal error": "C0101", "error": "C0100", "warning": "C0150", "remark": "C0151"}
# (what clang says, how to mend it)
_HINTS = (
    (
        re.compile(r"'(?:vmlinux\.h)' file not found"),
        "compile with the BTF of the target: skep writes vmlinux.h from it",
    ),
    (re.compile(r"'[^']+' file not found"), "add its directory with -I, or check the name"),
    (
        re.compile(r"unknown type name '__(u|s|be|le)(8|16|32|64)'"),
        'include "vmlinux.h" or <linux/types.h> before <bpf/bpf_helpers.h>',
    ),
    (re.compile(r"unknown type name 'bool'|undeclared identifier '(?:true|false)'"), "include <stdbool.h>"),
    (
        re.compile(r"incomplete (?:definition of )?type|no member named"),
        "without the BTF of a kernel, vmlinux.h is a trimmed one: compile on the target, or with its BTF",
    ),
    (
        re.compile(r"No available targets are compatible with triple|unable to create target"),
        "this clang cannot make eBPF: pip install 'skep[clang]'",
    ),
    (
        re.compile(r"built-in function 'mem(cpy|set|move|cmp)' is not supported|call to built-in function"),
        "eBPF has no C library: use a size that is known when compiling, or __builtin_ forms with small constant sizes",
    ),
    (
        re.compile(r"Undefined temporary symbol \.L__const"),
        "a fault of this clang: with -mcpu=v4 it loses constant arrays that hold addresses: use v3",
    ),
    (
        re.compile(r"stack (?:arguments|limit)|Looks like the BPF stack limit"),
        "the stack of a program has 512 bytes: put large data into a per-CPU array map",
    ),
)


def parse_messages(text: str, source_line: SourceLines) -> list[Diagnostic]:
    """Messages in order; notes and include chains become ``why`` lines of the message they belong to."""
    found: list[Diagnostic] = []
    included: list[str] = []
    for line in text.splitlines():
        if match := _INCLUDED.match(line):
            included.append(f"included from {match['place']}")
            continue
        if _SUMMARY.match(line) or not line.strip():
            continue
        match = _MESSAGE.match(line) or _PLACELESS.match(line) or _BACKEND.match(line)
        if match is None:
            continue
        if match["kind"] in ("note", "remark"):
            _add_note(found, match)
        else:
            found.append(_diagnostic(match, tuple(included), source_line))
        included = []
    return found


def _add_note(found: list[Diagnostic], match: re.Match[str]) -> None:
    if not found or len(found[-1].why) >= _MOST_REASONS:
        return
    groups = match.groupdict()
    if match["text"].startswith("expanded from") and (groups.get("file") or "").startswith(("<", _OWN_HEADERS)):
        return  # how our own macros work is not the user's business
    place = f"{groups['file']}:{groups['line']}: " if groups.get("file") else ""
    found[-1] = replace(found[-1], why=(*found[-1].why, place + match["text"]))


def _diagnostic(match: re.Match[str], included: tuple[str, ...], source_line: SourceLines) -> Diagnostic:
    groups = match.groupdict()
    kind, text = match["kind"], match["text"]
    span = None
    if groups.get("file") and groups["file"] != "<unknown>":
        span = _span(groups, source_line)
    severity = Severity.WARNING if kind == "warning" else Severity.ERROR
    hint = next((help_text for pattern, help_text in _HINTS if pattern.search(text)), None)
    function = groups.get("function")
    return Diagnostic(
        _CODES[kind], text.strip(), severity, span, program=function, why=included[-_MOST_REASONS:], help=hint
    )


def _span(groups: dict[str, str | None], source_line: SourceLines) -> Span:
    """clang counts columns in bytes, from 1; a Span counts characters."""
    file, line, column = groups["file"] or "", int(groups["line"] or 0), int(groups["column"] or 0)
    text = source_line(file, line)
    length = 0
    for match in _RANGE.finditer(groups.get("ranges") or ""):
        first_line, first, last_line, last = map(int, match.groups())
        if first_line == last_line == line and first <= column < last:
            length = last - column
            break
    if text is not None and not text.isascii():
        raw = text.encode()
        before, marked = raw[: max(0, column - 1)], raw[max(0, column - 1) : max(0, column - 1) + length]
        column = len(before.decode(errors="replace")) + 1
        length = len(marked.decode(errors="replace"))
    return Span(file, line, column, length, text)
