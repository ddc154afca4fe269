"""Writes bpf_helper_defs.h from the table of helpers: a C prototype and a number for each.

``python -m skep.frontend.c.helper_defs`` renews the committed header; a test says when that is due.
"""

from __future__ import annotations

import pathlib
import re
import textwrap
from collections.abc import Iterable

from skep.abi.helpers import HELPERS
from skep.abi.signatures import Signature

HEADER_PATH = pathlib.Path(__file__).parent.parent / "include" / "bpf" / "bpf_helper_defs.h"

_HEAD = """\
/* SPDX-License-Identifier: Apache-2.0 */
/* Generated from skep.abi.helpers by skep.frontend.c.helper_defs: do not edit. */
#ifndef __BPF_HELPER_DEFS_H__
#define __BPF_HELPER_DEFS_H__

/* Structures that helpers take by pointer; vmlinux.h or <linux/bpf.h> defines those that a program looks into. */
"""
_STRUCT = re.compile(r"\bstruct (\w+)")


def render(helpers: Iterable[Signature]) -> str:
    """The text of bpf_helper_defs.h.

    A helper is a constant function pointer with the helper's number as its address: clang turns a call through it into
    BPF_CALL with that number.
    """
    rows = sorted(helpers, key=lambda helper: helper.id)
    structs = sorted({name for helper in rows for text in _types(helper) for name in _STRUCT.findall(text)})
    lines = [_HEAD, *(f"struct {name};" for name in structs), ""]
    for helper in rows:
        lines += [f"/* Linux {helper.since[0]}.{helper.since[1]} */", *_declaration(helper)]
    lines += ["", "#endif", ""]
    return "\n".join(lines)


def _types(helper: Signature) -> list[str]:
    return [helper.c_return, *(c_type for c_type, _ in helper.c_params)]


def _declaration(helper: Signature) -> list[str]:
    parameters = ", ".join(_join(c_type, name) for c_type, name in helper.c_params) or "void"
    text = f"static {_join(helper.c_return, f'(*const {helper.name})')}({parameters}) = (void *){helper.id};"
    return textwrap.wrap(text, 118, subsequent_indent="\t", break_long_words=False, break_on_hyphens=False)


def _join(c_type: str, name: str) -> str:
    spaced = re.sub(r"\s*\*$", " *", c_type)
    return f"{spaced}{name}" if spaced.endswith("*") or not name else f"{spaced} {name}"


if __name__ == "__main__":
    HEADER_PATH.write_text(render(HELPERS.values()), encoding="utf-8")
