"""The table of helpers is total, and says what the C code says."""

from __future__ import annotations

import re

import llvmlite.binding as binding

from skep import llvm
from skep.abi.helpers import HELPERS
from skep.jit.native import PARAM_TOKENS, Lowering
from skep.vm.helpers.refused import REFUSED
from skep.vm.helpers.table import CONTEXT, FIELDS, LOAD_PACKET, NATIVES
from skep.vm.runtime import HOST_SYMBOLS, bitcode

_TYPES = {"run": "ptr", "ctx": "ptr", "map": "ptr", "key_size": "i32", "value_size": "i32", "max_entries": "i32"}


def _wanted(token: str) -> str:
    return _TYPES.get(token) or {"r": "i64", "p": "ptr"}[token[0]]


def test_every_helper_is_done_or_refused_with_a_reason() -> None:
    done = {number for number, _ in NATIVES}
    assert done | set(REFUSED) == set(HELPERS)
    assert not done & set(REFUSED)
    assert all((number, None) in NATIVES for number in done), "a helper without a row for maps not known when compiling"
    assert all(len(reason.split()) >= 5 for reason in REFUSED.values())


def test_rows_have_the_types_of_the_c_functions() -> None:
    module = binding.parse_bitcode(bitcode())
    for native in [*NATIVES.values(), *FIELDS.values(), LOAD_PACKET, CONTEXT]:
        assert set(native.params) <= PARAM_TOKENS
        if native.lowering is Lowering.INLINE_LOOP:
            continue
        wanted = f"{native.returns.value} ({', '.join(_wanted(token) for token in native.params)})"
        function = module.get_function(native.symbol)
        assert not function.is_declaration
        assert str(function.global_value_type) == wanted, native.symbol


def test_only_known_host_functions_are_called() -> None:
    text = llvm.disassemble(bitcode())
    declared = {name for name in re.findall(r"^declare .*?@([\w.]+)\(", text, re.M) if not name.startswith("llvm.")}
    assert declared <= HOST_SYMBOLS | {"skep_program"}
