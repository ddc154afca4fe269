"""Types as C text: names, and declarations of a name with a type."""

from __future__ import annotations

from typing import Final

from skep.btf.faults import broken
from skep.btf.types import (
    Array,
    Btf,
    BtfType,
    Const,
    DeclTag,
    Enum,
    Enum64,
    Func,
    FuncProto,
    Fwd,
    Ptr,
    Restrict,
    Struct,
    TypeTag,
    Union,
    Var,
    Void,
    Volatile,
)

_QUALIFIERS: Final = {Const: "const", Volatile: "volatile", Restrict: "restrict"}
_MAX_DEPTH: Final = 256  # for sets made by hand; the reader allows less
_BUDGET: Final = 2_000  # types that one text may name: prototypes of prototypes grow exponentially


def c_name(btf: Btf, type_id: int, declared: str = "") -> str:
    """C text of a type, e.g. ``const struct sock *`` or ``int (*)(void *)``; with ``declared`` a declaration of that.

    Raises:
        BtfError: B0108 for a type whose text would be without reasonable end.
    """
    return Namer(btf).declare(type_id, declared)


def keyword(found: Struct | Union | Enum | Enum64 | Fwd) -> str:
    """``struct``, ``union`` or ``enum``."""
    if isinstance(found, Fwd):
        return "union" if found.is_union else "struct"
    return "union" if isinstance(found, Union) else "struct" if isinstance(found, Struct) else "enum"


class Namer:
    """Writes declarations. Subclasses decide how a type without further parts (struct, int, typedef) is written."""

    def __init__(self, btf: Btf, budget: int = _BUDGET) -> None:
        self.btf = btf
        self._full_budget = self._budget = budget

    def declare(self, type_id: int, declared: str = "") -> str:
        """A declaration of ``declared`` (or the bare type, without)."""
        self.start_text()
        return self._declare(type_id, declared, 0)

    def start_text(self) -> None:
        """A new text begins: it may name as many types as any other."""
        self._budget = self._full_budget

    def plain(self, type_id: int, found: BtfType) -> str:
        """Text of a type that is not a pointer, array, prototype or qualifier."""
        if isinstance(found, Void):
            return "void"
        if isinstance(found, Struct | Union | Enum | Enum64 | Fwd):
            return f"{keyword(found)} {found.name or '{...}'}"
        return found.name or type(found).__name__.lower()

    def array_length(self, nelems: int) -> str:
        """What stands between the brackets."""
        return str(nelems or "")

    def _declare(self, type_id: int, inner: str, depth: int) -> str:
        """C declares from the name outwards: pointers go to the left of ``inner``, arrays and parameters to the right.

        ``inner`` that starts with ``*`` binds weaker than brackets.
        """
        btf = self.btf
        self._budget -= 1
        if depth > _MAX_DEPTH or self._budget < 0:
            raise broken("B0108", f"BTF type {type_id} is too big to be written in C")
        if not 0 <= type_id < len(btf):
            raise broken("B0105", f"there is no BTF type {type_id}; there are {len(btf)}")
        found = btf[type_id]
        if isinstance(found, Ptr):
            return self._declare(found.type, f"*{inner}", depth + 1)
        if isinstance(found, Const | Volatile | Restrict):
            qualifier = _QUALIFIERS[type(found)]
            if self._is_pointer(found.type):
                return self._declare(found.type, _qualified(qualifier, inner), depth + 1)
            if isinstance(found, Restrict):  # only pointers can be restrict
                return self._declare(found.type, inner, depth + 1)
            text = self._declare(found.type, inner, depth + 1)
            return text if text.startswith(f"{qualifier} ") else f"{qualifier} {text}"  # a const array of const
        if isinstance(found, TypeTag | DeclTag):
            return self._declare(found.type, inner, depth + 1)
        if isinstance(found, Func | Var):
            return self._declare(found.type, found.name, depth + 1)
        if isinstance(found, Array):
            return self._declare(found.type, f"{_closed(inner)}[{self.array_length(found.nelems)}]", depth + 1)
        if isinstance(found, FuncProto):
            return self._declare(found.ret, f"{_closed(inner)}({self._parameters(found, depth)})", depth + 1)
        text = self.plain(type_id, found)
        if not inner:
            return text
        return f"{text}{inner}" if inner.startswith("[") else f"{text} {inner}"

    def _parameters(self, proto: FuncProto, depth: int) -> str:
        last = len(proto.params) - 1
        texts = [
            "..." if index == last and not param.type else self._declare(param.type, param.name, depth + 1)
            for index, param in enumerate(proto.params)
        ]
        return ", ".join(texts) or "void"

    def _is_pointer(self, type_id: int) -> bool:
        for _ in range(_MAX_DEPTH):
            if not 0 <= type_id < len(self.btf):
                return False
            found = self.btf[type_id]
            if not isinstance(found, TypeTag | Const | Volatile | Restrict):
                return isinstance(found, Ptr)
            type_id = found.type
        return False


def _closed(inner: str) -> str:
    return f"({inner})" if inner.startswith("*") else inner


def _qualified(qualifier: str, inner: str) -> str:
    """``*const p``: the qualifier of a pointer stands to the right of its star (which comes next)."""
    return f"{qualifier} {inner}" if inner else qualifier
