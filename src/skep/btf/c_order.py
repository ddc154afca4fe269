"""In which order C needs definitions: what must be complete before it is used, what need only have been named.

A node is a definition at file scope: a named struct, union or enum, an anonymous enum, or a typedef. Whatever has no
name is written where it is used, so its parts count as parts of the node around it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from skep.btf.catalog import get_type
from skep.btf.faults import broken
from skep.btf.types import (
    Array,
    Btf,
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
    Typedef,
    TypeTag,
    Union,
    Var,
    Volatile,
)

_BUDGET: Final = 1 << 17  # parts of one definition: unnamed structs within unnamed structs grow exponentially


class CPlan:
    """Definitions in order, and how often each anonymous enum is used."""

    def __init__(self, btf: Btf, roots: Iterable[int]) -> None:
        self.btf = btf
        self.order: list[int] = []
        self.enum_uses: Counter[int] = Counter()
        self._done: set[int] = set()
        self._open: set[int] = set()
        for root in roots:
            for node in self._parts(root, is_root=True):
                self._visit(node)

    def _visit(self, root: int) -> None:
        """Depth first with an explicit stack: chains in the kernel are longer than Python's recursion limit."""
        if root in self._done:
            return
        stack = [(root, iter(self._parts(root)))]
        self._open.add(root)
        while stack:
            node, needed = stack[-1]
            for each in needed:
                if each in self._done:
                    continue
                if each in self._open:
                    raise broken("B0107", f"BTF type {each} needs itself to be complete: C cannot write that")
                self._open.add(each)
                stack.append((each, iter(self._parts(each))))
                break
            else:
                stack.pop()
                self._open.discard(node)
                self._done.add(node)
                self.order.append(node)

    def _parts(self, node: int, is_root: bool = False) -> list[int]:
        """The nodes that must be written before this one (for a root: the root itself, or what it consists of)."""
        needed: list[int] = []
        # (type, must it be complete, is it the node itself)
        stack = [(node, True, not is_root)]
        budget = _BUDGET
        while stack:
            type_id, complete, is_self = stack.pop()
            budget -= 1
            if budget < 0:
                raise broken("B0108", f"BTF type {node} is too big to be written in C")
            found = get_type(self.btf, type_id)
            if isinstance(found, Struct | Union):
                if found.name and not is_self:
                    if complete:
                        needed.append(type_id)
                else:
                    stack += [(member.type, True, False) for member in reversed(found.members)]
            elif isinstance(found, Typedef):
                if is_self:
                    stack.append((found.type, False, False))
                else:
                    needed.append(type_id)
                    if complete:
                        stack.append((self._behind(found.type), True, False))
            elif isinstance(found, Enum | Enum64):
                if not is_self:
                    needed.append(type_id)
                    if not found.name and not (is_root and type_id == node):
                        self.enum_uses[type_id] += 1
            elif isinstance(found, Ptr):
                stack.append((found.type, is_root, False))  # who asks for a function wants what it points to
            elif isinstance(found, Array):
                stack.append((found.type, True, False))
            elif isinstance(found, Const | Volatile | Restrict | TypeTag):
                stack.append((found.type, complete, False))
            elif isinstance(found, FuncProto):
                stack += [(param.type, False, False) for param in reversed(found.params)]
                stack.append((found.ret, False, False))
            elif isinstance(found, Fwd):
                pass
            elif isinstance(found, Func | Var | DeclTag) and is_root:
                stack.append((found.type, True, False))
        return needed

    def _behind(self, type_id: int) -> int:
        """What a typedef's user needs complete besides the typedef: a named struct, through further typedefs."""
        while isinstance(found := get_type(self.btf, type_id), Typedef | Const | Volatile | Restrict | TypeTag):
            type_id = found.type
        return type_id if isinstance(found, Struct | Union) and found.name else 0
