"""Write docs/errors/codes.md: every code outside the verifier, what it says, what helps, and which room says it.

Read from the source: a code stands as a text of its own in a call or a table row, what is said beside it.
Run ``python -m scripts.error_codes`` after adding a code; a test compares.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "errors" / "codes.md"
SOURCES = ROOT / "src" / "skep"
_CODE = re.compile(r"[A-UW-Z]\d{4}")  # V: the verifier's have pages of their own
STATIONS = {
    "B": "Type information (BTF, CO-RE)",
    "C": "Compiling C",
    "E": "Engines: loading and running programs",
    "F": "skep firewall",
    "H": "Hooks: attaching, packets, captures, filters",
    "K": "Tools' control",
    "L": "Linking",
    "M": "Maps",
    "N": "skep lb",
    "O": "Object files and instructions",
    "R": "Ring buffers and events",
    "T": "Targets",
    "U": "Usage: the command line and the API",
}
_HEADER = """# All other codes

What skep says outside its verifier (whose codes have [pages of their own](README.md)): bad input, refusals of the
kernel, wrong usage. The first letter is the station. `...` stands for names and numbers of the moment.
Written by `python -m scripts.error_codes`.
"""


@dataclass(frozen=True, slots=True, order=True)
class Said:
    """One place that gives a code: what it says, what it advises ("" where that is decided elsewhere), its room."""

    code: str
    what: str
    help: str
    room: str


#: Codes whose text another function, the compiler or the kernel makes.
_MADE_ELSEWHERE = {
    "C0100": "clang's error, at its place in the source",
    "C0101": "clang's fatal error: a header is not there, or too many errors",
    "C0150": "clang's warning",
    "C0151": "clang's remark",
    "E0225": "the function, hook or type that SEC() names is not in this kernel",
    "E0301": "the program cannot run in this process: it works on objects of a kernel",
    "F0112": "a key of the rule file is not known",
    "F0113": "a value of the rule file cannot be what it says",
    "H0307": "the kernel refused the hook, for a reason that has no code of its own: its error number stands beside it",
    "H0342": "an argument of a USDT probe cannot be read",
    "H0407": "a word of pcap-filter(7) that no filter is compiled for",
    "L0107": "the program uses a map or section that cannot be linked",
    "M0001": "a key or value has another size than the map says",
    "M0105": "the attributes of the map do not go together",
    "N0102": "a key of the configuration is not known",
    "N0206": "the backend does not fit into the service, or is not written as an address",
    "N0301": "the flow is not written as one: 'tcp 198.51.100.7:4711 > 203.0.113.10:80'",
    "N0103": "a value of the configuration cannot be what it says",
    "U0001": "the command line cannot be understood",
    "U0101": "the object has no program of this name",
    "U0301": "there is no such instruction in the assembler's text",
    "U0302": "a number in the assembler's text is out of range",
    "U0350": "options for live packets that do not go together",
}


class _Finder(ast.NodeVisitor):
    """Finds codes, with the names that texts were given before them in the same function."""

    def __init__(self, room: str) -> None:
        self.room = room
        self.found: list[Said] = []
        self._names: dict[str, ast.expr] = {}

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        before, self._names = self._names, dict(self._names)
        self.generic_visit(node)
        self._names = before

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            if isinstance(target, ast.Name):
                self._names[target.id] = node.value
            elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                for name, value in zip(target.elts, node.value.elts, strict=False):
                    if isinstance(name, ast.Name):
                        self._names[name.id] = value
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        named = {word.arg: word.value for word in node.keywords}
        helps = [named[word] for word in ("help",) if word in named]
        self._look([named[word] for word in ("code", "what") if word in named] + node.args, helps)
        self.generic_visit(node)

    def visit_Tuple(self, node: ast.Tuple) -> None:
        self._look(node.elts, [])
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and _CODE.fullmatch(node.value):
            self.found.append(Said(node.value, "", "", self.room))

    def _look(self, parts: list[ast.expr], helps: list[ast.expr]) -> None:
        for index, part in enumerate(parts):
            if isinstance(part, ast.Constant) and isinstance(part.value, str) and _CODE.fullmatch(part.value):
                texts = [self._text(each) for each in parts[index + 1 :]]
                what = texts[0] if texts else ""
                help = self._text(helps[0]) if helps else " ".join(texts[1:2])
                self.found.append(Said(part.value, what, help, self.room))

    def _text(self, node: ast.expr, depth: int = 0) -> str:
        """A text as its reader sees it, "..." for what is only known when it is said."""
        if isinstance(node, ast.Constant):
            return node.value if isinstance(node.value, str) else ""
        if isinstance(node, ast.JoinedStr):
            pieces = (piece.value if isinstance(piece, ast.Constant) else "..." for piece in node.values)
            return "".join(map(str, pieces))
        if isinstance(node, ast.Name) and node.id in self._names and depth < 4:
            return self._text(self._names[node.id], depth + 1)
        if isinstance(node, ast.IfExp):
            return " / ".join(filter(None, (self._text(node.body, depth), self._text(node.orelse, depth))))
        if isinstance(node, ast.BinOp):
            return self._text(node.left, depth) + self._text(node.right, depth)
        return ""


def all_codes(sources: Path = SOURCES) -> list[Said]:
    """Every code of the package, in order; the same text from two places stands once for each room."""
    found: set[Said] = set()
    for path in sorted(sources.rglob("*.py")):
        room = ".".join(path.relative_to(sources).with_suffix("").parts[:2])
        finder = _Finder(room)
        finder.visit(ast.parse(path.read_text(encoding="utf-8")))
        found.update(finder.found)
    told = {each.code for each in found if each.what}
    made = (replace(each, what=_MADE_ELSEWHERE.get(each.code, "")) for each in found if each.code not in told)
    return sorted({*(each for each in found if each.what), *made})


def codes_in_text(sources: Path = SOURCES) -> set[str]:
    """Every code that stands in the source as a text of its own: what the page must have."""
    quoted = re.compile(rf'"({_CODE.pattern})"')
    return {code for path in sources.rglob("*.py") for code in quoted.findall(path.read_text(encoding="utf-8"))}


def page(said: list[Said]) -> str:
    """The page as Markdown."""
    lines = [_HEADER]
    for letter in sorted({each.code[0] for each in said}):
        lines += [
            f"## {letter}: {STATIONS[letter]}",
            "",
            "| code | says | what to do | room |",
            "| --- | --- | --- | --- |",
        ]
        lines += list(_rows([each for each in said if each.code.startswith(letter)]))
        lines.append("")
    return "\n".join(lines)


def _rows(said: list[Said]) -> Iterator[str]:
    """A row for each different sentence; the code stands in the first."""
    codes = sorted({each.code for each in said})
    for code in codes:
        rows = [each for each in said if each.code == code]
        for number, each in enumerate(rows):
            name = f'<a id="{code}"></a>{code}' if not number else ""
            yield f"| {name} | {_cell(each.what)} | {_cell(each.help)} | {each.room} |"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())


if __name__ == "__main__":
    PAGE.write_text(page(all_codes()), encoding="utf-8")
