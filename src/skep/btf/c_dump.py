"""Types as C that clang compiles for BPF: ``vmlinux.h``.

Sizes and offsets are those of BTF. Names that C cannot have twice get a flavor (``foo___2``), which CO-RE ignores.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from skep.btf.c_layout import Layouts
from skep.btf.c_names import Namer, keyword
from skep.btf.c_order import CPlan
from skep.btf.faults import broken
from skep.btf.types import Btf, BtfType, Enum, Enum64, Float, FuncProto, Fwd, Int, Struct, Typedef, Union, Void

_HEAD: Final = """\
#ifndef __VMLINUX_H__
#define __VMLINUX_H__

#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute push (__attribute__((preserve_access_index)), apply_to = record)
#endif
"""
_TAIL: Final = """\
#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute pop
#endif

#endif /* __VMLINUX_H__ */
"""
_KEYWORD_TEXT: Final = """
auto break case char const continue default do double else enum extern float for goto if inline int long register
restrict return short signed sizeof static struct switch typedef union unsigned void volatile while asm typeof __int128
_Alignas _Alignof _Atomic _Bool _Complex _Generic _Imaginary _Noreturn _Static_assert _Thread_local __builtin_va_list
"""
_KEYWORDS: Final = frozenset(_KEYWORD_TEXT.split())
_C23: Final = frozenset({"bool", "true", "false", "nullptr", "constexpr", "thread_local", "static_assert", "alignas"})
_IDENTIFIER: Final = re.compile(r"[A-Za-z_]\w*\Z", re.ASCII)
_MAX_LINES: Final = 8_000_000  # of all definitions
_PARTS: Final = 1 << 19  # types that one definition may name

# How clang's BPF target spells integers: words in any order -> (size, signed).
_INT_WORDS: Final[dict[frozenset[str], int]] = {
    frozenset({"char"}): 1,
    frozenset({"short"}): 2,
    frozenset({"short", "int"}): 2,
    frozenset({"int"}): 4,
    frozenset({"long"}): 8,
    frozenset({"long", "int"}): 8,
    frozenset({"__int128"}): 16,
    frozenset(): 4,
}
_PLAIN_INTS: Final = {
    (1, True): "signed char",
    (1, False): "unsigned char",
    (2, True): "short",
    (2, False): "unsigned short",
    (4, True): "int",
    (4, False): "unsigned int",
    (8, True): "long long",
    (8, False): "unsigned long long",
    (16, True): "__int128",
    (16, False): "unsigned __int128",
}
_ENUM_MODES: Final = {1: "QI", 2: "HI", 8: "DI"}


def dump_c(btf: Btf, ids: Iterable[int] | None = None) -> str:
    """A C header with these types and all they need (None: every type of the set's own section).

    Raises:
        BtfError: B0114 members that overlap, B0107, B0108 types that C cannot write.
    """
    roots = range(btf.start_id or 1, len(btf)) if ids is None else list(ids)
    named = (Struct, Union, Enum, Enum64, Typedef)
    if ids is None:
        roots = [i for i in roots if isinstance(btf[i], named) and (btf[i].name or isinstance(btf[i], Enum | Enum64))]
    writer = _Writer(btf, CPlan(btf, roots))
    return "\n".join([_HEAD, *writer.definitions(), _TAIL])


def _words_fit(found: Int) -> bool:
    """Whether clang knows the name and gives it this size and sign on BPF."""
    words = found.name.split()
    if words == ["_Bool"]:
        return found.size == 1
    rest = [word for word in words if word not in ("signed", "unsigned")]
    size = _INT_WORDS.get(frozenset(rest))
    signed = "unsigned" not in words
    if rest == ["char"] and len(words) == 1:
        return found.size == 1  # plain char: signed on BPF; ABIs where it is not still mean text
    return bool(words) and size == found.size and signed == found.signed


class _Writer(Namer):
    """Writes definitions in the plan's order."""

    def __init__(self, btf: Btf, plan: CPlan) -> None:
        super().__init__(btf, _PARTS)
        self._plan = plan
        self._layouts = Layouts(btf)
        self._tags: dict[str, object] = {}  # name -> who has it: tags of structs, unions and enums
        self._ordinary: dict[str, object] = {}  # typedefs and enumerators
        self._names: dict[object, str] = {}
        self._declared: set[str] = set()
        self._forward: dict[str, None] = {}
        self._aliases: dict[str, None] = {}
        self._in_parameters = 0
        self._indent = 0
        self._lines = 0

    def definitions(self) -> list[str]:
        """Every definition, with the forward declarations it needs before it."""
        pieces: list[str] = []
        for node in self._plan.order:
            text = self._define(node)
            pieces += self._aliases
            pieces += [f"{tag};" for tag in self._forward if tag not in self._declared]
            self._declared.update(self._forward)
            self._aliases.clear()
            self._forward.clear()
            if text:
                pieces.append(text + "\n")
        return pieces

    def _define(self, node: int) -> str:
        found = self.btf[node]
        self.start_text()
        if isinstance(found, Typedef):
            return self._typedef(node, found)
        if isinstance(found, Enum | Enum64):
            uses = self._plan.enum_uses[node]
            if not found.name and uses == 1:
                return ""  # written where it is used
            return self._guarded(found, f"{self._enum(node, found)};")
        assert isinstance(found, Struct | Union)
        tag = self._tag(node, found)
        text = f"{tag} {self._body(found)};"
        self._forward.pop(tag, None)
        self._declared.add(tag)
        return text

    def _typedef(self, node: int, found: Typedef) -> str:
        name = self._unique(self._ordinary, node, found.name)
        text = f"typedef {self.declare(found.type, name)};"
        if name in _C23:
            return f"#if __STDC_VERSION__ < 202311L\n{text}\n#endif"
        return text

    def _guarded(self, found: Enum | Enum64, text: str) -> str:
        if any(name in _C23 for name, _ in found.values):
            return f"#if __STDC_VERSION__ < 202311L\n{text}\n#endif"
        return text

    # Names

    def _unique(self, space: dict[str, object], owner: object, wanted: str) -> str:
        """A name that nobody else has in this name space; the first one to ask gets it as it is."""
        known = self._names.get((id(space), owner))
        if known is not None:
            return known
        name = wanted if _IDENTIFIER.match(wanted) else re.sub(r"\W", "_", f"_{wanted}", flags=re.ASCII)
        if name in _KEYWORDS:
            name = f"{name}___btf"
        free, number = name, 1
        while space.setdefault(free, owner) != owner:
            number += 1
            free = f"{name}___{number}"
        self._names[id(space), owner] = free
        return free

    def _tag(self, type_id: int, found: Struct | Union | Enum | Enum64 | Fwd) -> str:
        """``struct foo``. A forward declaration means the struct of its name, where there is one."""
        owner: object = type_id
        if isinstance(found, Fwd):
            real = self.btf.find(found.name, Union if found.is_union else Struct)
            owner = real if real is not None else (keyword(found), found.name)
        name = found.name
        if not name and isinstance(found, Enum | Enum64):
            name = f"anonymous_{found.values[0][0]}" if found.values else "anonymous"
        return f"{keyword(found)} {self._unique(self._tags, owner, name)}"

    def plain(self, type_id: int, found: BtfType) -> str:
        """Names of what has one; bodies of what has none."""
        if isinstance(found, Void):
            return "void"
        if isinstance(found, Fwd) or (isinstance(found, Struct | Union) and found.name):
            tag = self._tag(type_id, found)
            if self._in_parameters and tag not in self._declared:
                self._forward[tag] = None
            return tag
        if isinstance(found, Struct | Union):
            return f"{keyword(found)} {self._body(found)}"
        if isinstance(found, Enum | Enum64):
            if not found.name and self._plan.enum_uses[type_id] == 1:
                return self._enum(type_id, found)
            return self._tag(type_id, found)
        if isinstance(found, Typedef):
            return self._unique(self._ordinary, type_id, found.name)
        if isinstance(found, Int):
            return found.name if _words_fit(found) else self._odd_number(found)
        if isinstance(found, Float):
            return found.name if (found.name, found.size) in (("float", 4), ("double", 8)) else self._odd_number(found)
        raise broken("B0114", f"{type(found).__name__} '{found.name}' cannot stand here in C")

    def _odd_number(self, found: Int | Float) -> str:
        """A number that C on BPF does not have by this name: an alias of one of the same size, or its bytes."""
        signed = isinstance(found, Int) and found.signed
        if isinstance(found, Int) and (found.size, signed) in _PLAIN_INTS:
            fitting = _PLAIN_INTS[found.size, signed]
            if not _IDENTIFIER.match(found.name) or found.name in _KEYWORDS:
                return "_Bool" if found.boolean and found.size == 1 else fitting
            alias = f"typedef {fitting} %s;"
        else:
            align = min(16, 1 << max(found.size.bit_length() - 1, 0))
            alias = f"typedef struct {{ unsigned char bytes[{found.size}]; }} __attribute__((aligned({align}))) %s;"
        owner = (found.name, found.size, signed)
        known = (id(self._ordinary), owner) in self._names
        name = self._unique(self._ordinary, owner, found.name or "number")
        if not known:
            self._aliases[alias % name] = None
        return name

    def array_length(self, nelems: int) -> str:
        """Flexible arrays as [0], which may stand anywhere, also in unions."""
        return str(nelems)

    # Bodies

    def _body(self, found: Struct | Union) -> str:
        layout = self._layouts.layout(found)
        self._indent += 1
        start = "\t" * self._indent
        lines = []
        used: set[str] = set()
        for member, pads in zip(found.members, layout.pads, strict=False):
            lines += [f"{start}{pad};" for pad in pads]
            name = self._member_name(member.name, used)
            bits = self._layouts.bitfield(member)
            declared = self._declare(member.type, name, 0)
            lines.append(f"{start}{declared}{f' : {bits}' if bits else ''};")
        lines += [f"{start}{pad};" for pad in layout.pads[-1]]
        self._indent -= 1
        self._lines += len(lines)
        if self._lines > _MAX_LINES:
            raise broken("B0108", "these types are too big to be written in C")
        closing = "\t" * self._indent + ("} __attribute__((packed))" if layout.packed else "}")
        return "\n".join(["{", *lines, closing]) if lines else "{ " + closing.strip()

    def _member_name(self, name: str, used: set[str]) -> str:
        if not name:
            return ""
        if not _IDENTIFIER.match(name) or name in _KEYWORDS:
            name = re.sub(r"\W", "_", f"_{name}", flags=re.ASCII)
        while name in used:
            name += "_"
        used.add(name)
        return name

    def _enum(self, type_id: int, found: Enum | Enum64) -> str:
        start = "\t" * (self._indent + 1)
        wide = isinstance(found, Enum64)
        lines = []
        for position, (label, value) in enumerate(found.values):
            name = self._unique(self._ordinary, (type_id, position), label)
            suffix = "" if not wide else "LL" if found.signed else "ULL"
            number = f"({value + 1}{suffix} - 1)" if value in (-(1 << 63), -(1 << 31)) else f"{value}{suffix}"
            lines.append(f"{start}{name} = {number},")
        mode = _ENUM_MODES.get(found.size)
        inline = not found.name and self._plan.enum_uses[type_id] <= 1
        head = "enum" if inline else self._tag(type_id, found)
        if not found.values:
            return head  # a forward declaration
        close = "\t" * self._indent + "}" + (f" __attribute__((mode({mode})))" if mode else "")
        return "\n".join([f"{head} {{", *lines, close])

    def _parameters(self, proto: FuncProto, depth: int) -> str:
        self._in_parameters += 1
        try:
            return super()._parameters(proto, depth)
        finally:
            self._in_parameters -= 1
