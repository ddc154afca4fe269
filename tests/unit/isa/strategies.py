"""Hypothesis strategies of legal instructions, made from the table itself."""

from __future__ import annotations

from hypothesis import strategies as st
from skep.isa.forms import FORMS, Form, Role
from skep.isa.instruction import Instruction

_I32 = st.integers(-(1 << 31), (1 << 31) - 1)
_I16 = st.integers(-(1 << 15), (1 << 15) - 1)
_WIDE_FIELDS = {"off": _I16, "imm": _I32}


def _field(role: Role | int, field: str) -> st.SearchStrategy[int]:
    match role:
        case Role.REGISTER:
            return st.integers(0, 10)
        case Role.IMMEDIATE64:
            return st.integers(0, (1 << 64) - 1)
        case Role.LOW_WORD:
            return st.integers(0, (1 << 32) - 1)
        case Role.INDEX:
            return st.integers(0, (1 << 15) - 1)
        case Role():
            return _WIDE_FIELDS[field]
        case _:
            return st.just(role)


def instructions_of(form: Form) -> st.SearchStrategy[Instruction]:
    return st.builds(
        Instruction,
        st.just(form.opcode),
        _field(form.dst, "dst"),
        _field(form.src, "src"),
        _field(form.off, "off"),
        _field(form.imm, "imm"),
    )


def instructions() -> st.SearchStrategy[Instruction]:
    return st.sampled_from(FORMS).flatmap(instructions_of)
