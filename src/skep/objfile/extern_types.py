"""Types of an object as the kernel takes them: it knows no externs, so what is declared only must not look declared.

The kernel's BTF check (btf_func_check_meta, btf_var_check_meta, btf_func_proto_check) refuses extern linkage, variables
of type void, and functions whose parameters have no names. libbpf mends its copy the same way (bpf_object__fixup_btf,
bpf_object_fixup_btf of ``.ksyms``). Ids stay, so relocations and map types stay right.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from skep.btf.types import Btf, BtfType, Datasec, Func, FuncProto, Fwd, Var
from skep.objfile.typeinfo import LINKAGE_EXTERN, LINKAGE_GLOBAL, with_changes

_EMPTY_SIZE: Final = 4  # a DATASEC without entries must still have a size


def without_externs(btf: Btf) -> Btf:
    """The same types; extern functions count as global, extern variables become forward declarations of their name."""
    changes: dict[int, BtfType] = {}
    for type_id, found in enumerate(btf):
        if isinstance(found, Func) and found.linkage == LINKAGE_EXTERN:
            changes[type_id] = replace(found, linkage=LINKAGE_GLOBAL)
            proto = btf[found.type]
            if isinstance(proto, FuncProto):
                changes[found.type] = _with_names(proto)
        elif isinstance(found, Var) and found.linkage == LINKAGE_EXTERN:
            changes[type_id] = Fwd(found.name)
        elif isinstance(found, Datasec):
            entries = tuple(entry for entry in found.entries if not _is_extern(btf[entry.type]))
            if len(entries) != len(found.entries):
                changes[type_id] = replace(found, entries=entries, size=found.size or _EMPTY_SIZE)
    return with_changes(btf, changes)


def _is_extern(found: BtfType) -> bool:
    return isinstance(found, Func | Var) and found.linkage == LINKAGE_EXTERN


def _with_names(proto: FuncProto) -> FuncProto:
    params = tuple(
        replace(param, name=param.name or f"arg{number}") if param.type else param
        for number, param in enumerate(proto.params, 1)
    )
    return replace(proto, params=params)
