"""Compiling: the size of what comes out, its limits, and the structs that the C knows."""

from __future__ import annotations

import pytest

from skep.btf.catalog import size_of
from skep.btf.types import Struct
from skep.errors import UnsupportedError
from skep.tools.firewall import layout, parse_rules
from skep.tools.firewall.classes import compile_rules
from skep.tools.firewall.firewall import program_spec


def compiled(lines: list[str]) -> tuple[int, int]:
    found = compile_rules(parse_rules("default: deny\nrules:\n" + "\n".join(f"  - {line}" for line in lines)))
    return len(found.tables), sum(len(table.entries) for table in found.tables)


def test_rules_that_ask_for_one_thing_need_no_table() -> None:
    lines = [f"deny: {{from: 10.0.{n}.0/24}}" for n in range(200)] + ["allow: {proto: tcp, port: 80}"]
    assert compiled(lines) == (0, 0)


def test_one_entry_for_each_rule_where_nothing_overlaps() -> None:
    assert compiled([f"deny: {{from: 10.0.{n}.0/24, proto: tcp, port: {n}}}" for n in range(250)]) == (1, 250)


def test_crossing_sources_and_destinations_do_not_multiply() -> None:
    lines = [f"deny: {{from: 10.{n >> 8}.{n & 255}.0/24, proto: tcp}}" for n in range(3000)]
    lines += [f"deny: {{to: 10.{n >> 8}.{n & 255}.0/24, proto: udp}}" for n in range(3000)]
    assert compiled(lines) == (2, 6000)


def test_one_wide_rule_among_many_narrow_ones() -> None:
    lines = [f"deny: {{from: 10.{n >> 8}.{n & 255}.1/32, to: 192.{n >> 8}.{n & 255}.1/32}}" for n in range(3000)]
    lines.append("allow: {from: 10.0.0.0/8, to: 192.0.0.0/8}")
    tables, entries = compiled(lines)
    assert tables == 2
    assert entries == 3001


def test_rules_that_cannot_be_laid_out_are_refused() -> None:
    """Networks nested on 24 levels on both sides, crossing each other: no few tables can tell them apart."""
    lines = [
        f"deny: {{from: {address}.0.0/{length}, to: {address}.0.0/{other}, proto: tcp, port: {low}-{low + width}}}"
        for address in ("10.0", "10.128", "172.16")
        for length in range(16, 33)
        for other in range(16, 33)
        for low, width in ((1, 60), (20, 60), (50, 60), (70, 60), (100, 60), (110, 60), (130, 60), (140, 60))
    ]
    text = "default: deny\nrules:\n" + "\n".join(f"  - {line}" for line in lines)
    with pytest.raises(UnsupportedError) as caught:
        compile_rules(parse_rules(text))
    assert caught.value.diagnostic.code == "F0201"
    assert caught.value.diagnostic.span is not None


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("leaf", layout.LEAF.size),
        ("combination", layout.COMBINATION.size),
        ("place", layout.PLACE.size),
        ("rule", layout.RULE.size),
        ("active", layout.ACTIVE.size),
        ("counter", layout.COUNTER.size),
        ("live_entry", layout.LIVE_ENTRY.size),
        ("decision", layout.DECISION.size),
        ("policy", layout.POLICY_HEAD.size + 5 * layout.LEAF.size + layout.POLICY_TAIL.size),
        ("network4", 12),
        ("network6", 24),
        ("live4", 8),
        ("live6", 20),
        ("flow", 40),
        ("connection", 16),
        ("bucket_key", 24),
        ("fragment_key", 40),
        ("fragment_verdict", 16),
    ],
)
def test_the_structs_have_the_sizes_that_python_writes(name: str, size: int) -> None:
    btf = program_spec().btf
    assert btf is not None
    number = btf.find(name, Struct)
    assert number is not None
    assert size_of(btf, number) == size
