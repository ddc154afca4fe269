"""The function that catches what bpf_throw() throws (kernel: bpf_find_exception_callback_insn_off)."""

from __future__ import annotations

from skep.btf import types as t
from skep.model.programs import LinkedProgram

_TAG = "exception_callback:"


def exception_callback(linked: LinkedProgram) -> int | str | None:
    """Its first slot; a text: why it cannot be one; None: the program has none."""
    btf = linked.btf
    main = linked.subprograms[0].btf_id if linked.subprograms else 0
    if btf is None or not main:
        return None
    names = [
        item.name.removeprefix(_TAG)
        for item in btf
        if isinstance(item, t.DeclTag) and item.type == main and item.component == -1 and item.name.startswith(_TAG)
    ]
    if not names:
        return None
    if len(names) > 1:
        return "multiple exception callback tags for main subprog"
    name = names[0]
    found = btf.find(name, t.Func)
    function = btf[found] if found is not None else None
    if not isinstance(function, t.Func):
        return f"exception callback '{name}' could not be found in BTF"
    if function.linkage != 1:
        return f"exception callback '{name}' must have global linkage"
    start = next((sub.start for sub in linked.subprograms[1:] if sub.btf_id == found), None)
    return f"exception callback '{name}' not found in func_info" if start is None else start
