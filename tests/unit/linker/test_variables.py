"""Setting global variables before loading."""

from __future__ import annotations

from typing import Any

import pytest

from skep.errors import UsageError
from skep.linker import link, set_variables
from skep.model.objects import ObjectSpec
from skep.model.target import Target
from skep.objfile import read_object
from tests.unit.objfile.build import compile_c

SOURCE = """
struct limits { __u32 low; __u32 high; };
volatile const __u64 threshold = 1;
volatile const int negative = 0;
volatile const char name[8] = "eth0";
volatile struct limits limits = { 1, 2 };
volatile __u16 ports[3];
SEC("xdp") int f(void *c) { return threshold + negative + name[0] + limits.low + ports[1]; }
"""


@pytest.fixture(scope="module")
def spec() -> ObjectSpec:
    return read_object(compile_c(SOURCE), "vars.o")


def stored(spec: ObjectSpec, name: str) -> bytes:
    variable = spec.variables[name]
    contents = spec.maps[variable.map].contents
    assert contents is not None
    return contents[variable.offset : variable.offset + variable.size]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("threshold", 1 << 40, (1 << 40).to_bytes(8, "little")),
        ("negative", -2, b"\xfe\xff\xff\xff"),
        ("limits", {"low": 7, "high": 8}, bytes([7, 0, 0, 0, 8, 0, 0, 0])),
        ("ports", [1, 2, 3], bytes([1, 0, 2, 0, 3, 0])),
        ("ports", b"\1\2\3\4\5\6", b"\1\2\3\4\5\6"),
    ],
)
def test_values_by_type(spec: ObjectSpec, name: str, value: Any, expected: bytes) -> None:
    changed = set_variables(spec, {name: value})
    assert stored(changed, name) == expected
    assert stored(spec, name) != expected, "the object itself must not change"
    for other in set(spec.variables) - {name}:
        assert stored(changed, other) == stored(spec, other)


def test_text(spec: ObjectSpec) -> None:
    assert stored(set_variables(spec, {"name": "wlan0"}), "name") == b"wlan0\0\0\0"


def test_linked_programs_see_the_new_bytes(spec: ObjectSpec) -> None:
    changed = set_variables(spec, {"threshold": 9, "ports": [5, 6, 7]})
    linked = link(changed, "f", Target("vm", (6, 18, 0)))
    assert linked.maps[".rodata"].contents == changed.maps[".rodata"].contents != spec.maps[".rodata"].contents
    assert linked.maps[".bss"].contents == changed.maps[".bss"].contents


@pytest.mark.parametrize(
    ("name", "value"),
    [("threshold", 1 << 64), ("threshold", "many"), ("ports", [1, 2]), ("limits", {"lo": 1}), ("ports", b"123")],
)
def test_values_that_do_not_fit(spec: ObjectSpec, name: str, value: Any) -> None:
    with pytest.raises(UsageError) as caught:
        set_variables(spec, {name: value})
    assert name in caught.value.diagnostic.what
    assert caught.value.diagnostic.code == "U0111"


def test_unknown_names_get_close_matches(spec: ObjectSpec) -> None:
    with pytest.raises(UsageError) as caught:
        set_variables(spec, {"treshold": 1})
    assert "'threshold'" in (caught.value.diagnostic.help or "")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [("threshold", 77, bytes([77]) + bytes(7)), ("negative", -1, b"\xff" * 4), ("ports", b"\1" * 6, b"\1" * 6)],
)
def test_without_types_ints_of_the_variable_s_size(name: str, value: Any, expected: bytes) -> None:
    untyped = read_object(compile_c(SOURCE, "-g0"), "vars.o")
    assert stored(set_variables(untyped, {name: value}), name) == expected


@pytest.mark.parametrize(("name", "value"), [("negative", 1 << 32), ("ports", 5), ("threshold", 1.5), ("ports", b"1")])
def test_without_types_what_does_not_fit(name: str, value: Any) -> None:
    untyped = read_object(compile_c(SOURCE, "-g0"), "vars.o")
    with pytest.raises(UsageError, match=name):
        set_variables(untyped, {name: value})
