"""One copy of a large C function per map, instead of one per call.

The vm's map functions are meant to be inlined, so that the map's sizes are constants in them. For a hash map's update
that is some hundred instructions at every call, and LLVM's time for all of them. Here each set of constants gets a copy
of its own, that all calls with the same constants share: LLVM still sees that they are constants, inlines a copy that
is called once, and compiles the others once.
"""

from __future__ import annotations

import re

from skep.jit.library import Function, Library

LARGE_LINES = 100  # of IR; smaller functions are inlined at every call
_CALL = re.compile(r"call (?:i64|ptr|void) @(\w+)\(([^\n]*)\)$", re.MULTILINE)
_CONSTANT = re.compile(r'i32 \d+|ptr @"map\.[^"]*"')
_GROUP = re.compile(r"#(\d+)")
_COPIED_GROUP = 1_000_000  # added to the number of an attribute group: the same without alwaysinline


def specialise(text: str, library: Library) -> tuple[str, str]:
    """Give the large functions that a program calls a copy per set of constants.

    Returns:
        the program's text with calls of the copies, and the copies.
    """
    names: dict[tuple[str, ...], str] = {}

    def rename(call: re.Match[str]) -> str:
        symbol, arguments = call.groups()
        function = library.functions.get(symbol)
        if function is None or not _is_large(function):
            return call.group()
        key = (symbol, *_CONSTANT.findall(arguments))
        name = names.setdefault(key, f"{symbol}.{len(names)}")
        return call.group().replace(f"@{symbol}(", f"@{name}(", 1)

    changed = _CALL.sub(rename, text)
    if not names:
        return text, ""
    copies = [_copy(library.functions[key[0]].text, key[0], name) for key, name in names.items()]
    groups = [_copied_group(line) for line in library.frame.split("\n") if line.startswith("attributes #")]
    return changed, "\n".join([*copies, *groups, ""])


def _is_large(function: Function) -> bool:
    return bool(function.text) and not function.outlined and function.text.count("\n") > LARGE_LINES


def _copy(text: str, symbol: str, name: str) -> str:
    head, _, body = text.partition("\n")
    before, _, group = head.replace(f"@{symbol}(", f"@{name}(", 1).rpartition(")")
    return f"{before}){_GROUP.sub(lambda found: f'#{int(found[1]) + _COPIED_GROUP}', group)}\n{body}"


def _copied_group(line: str) -> str:
    number, _, rest = line.removeprefix("attributes #").partition(" ")
    return f"attributes #{int(number) + _COPIED_GROUP} {rest.replace('alwaysinline', 'inlinehint')}"
