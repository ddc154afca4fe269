"""Functions that programs call by name and that need no kernel: their types, and their C functions."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from skep.btf import types as t
from skep.jit.native import Native, Returns

KFUNCS: Mapping[str, Native] = MappingProxyType(
    {
        "bpf_iter_num_new": Native("skep_iter_num_new", ("p1", "r2", "r3")),
        "bpf_iter_num_next": Native("skep_iter_num_next", ("p1",), Returns.PTR),
        "bpf_iter_num_destroy": Native("skep_iter_num_destroy", ("p1",), Returns.VOID),
    }
)
"""By name. Results of type int come as 64 bits with the sign, as the kernel's JIT leaves them."""

_VOID, _INT, _INT_POINTER, _WORD, _ITERATOR, _POINTER = range(6)
_IT = t.Param("it", _POINTER)

#: What the linker and the verifier must know of them, as a module of a kernel would say it.
TYPES = t.Btf(
    (
        t.Void(),
        t.Int("int", 4, 32, signed=True),
        t.Ptr(_INT),
        t.Int("unsigned long long", 8, 64),
        t.Struct("bpf_iter_num", 8, (t.Member("state", _WORD, 0),)),
        t.Ptr(_ITERATOR),
        t.FuncProto(_INT, (_IT, t.Param("start", _INT), t.Param("end", _INT))),
        t.FuncProto(_INT_POINTER, (_IT,)),
        t.FuncProto(_VOID, (_IT,)),
        t.Func("bpf_iter_num_new", 6, 1),
        t.Func("bpf_iter_num_next", 7, 1),
        t.Func("bpf_iter_num_destroy", 8, 1),
    )
)
