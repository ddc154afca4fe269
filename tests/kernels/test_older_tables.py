"""What older kernels offer, as measured in their guests (scripts/kernels/availability.py), against the tables.

The measurements are kept here (verdicts/availability-*.json); a new kernel's are made with scripts.kernels.verdicts.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from skep.abi.helpers import HELPERS
from skep.abi.history import ATTACH_TYPES, ITERATORS, MAP_FLAGS, RELEASES, SLEEPABLE, VALUE_STRUCTS
from skep.abi.history_sets import FIELD_SINCE, HELPERS_FOR, KFUNCS_FOR
from skep.abi.kfuncs import KFUNCS
from skep.abi.prog_types import AttachType, ProgType
from skep.abi.trace_targets import ITERATORS as KNOWN_ITERATORS

MEASURED = Path(__file__).with_name("verdicts")
BY_NAME = {row.name: row for row in HELPERS.values()}
#: The configuration of these kernels, not their version: test functions of the kernel's own, error injection.
CONFIGURED = {"bpf_override_return", "bpf_kfunc_call_test_release", "bpf_kfunc_call_memb_release", "crash_kexec"}
RELEASE = pytest.mark.parametrize("release", ["6.1", "6.12"])


def measured(release: str) -> tuple[tuple[int, int], dict[str, Any]]:
    found = json.loads((MEASURED / f"availability-{release}.json").read_text())
    major, minor = found["release"]
    return (major, minor), found


@RELEASE
def test_helpers_for_program_types(release: str) -> None:
    version, found = measured(release)
    refused = {(kind, name) for kind, name in found["helpers"] if name not in CONFIGURED}
    ours = {
        (kind.name, name)
        for (name, kind), since in HELPERS_FOR.items()
        if since > version and kind.name in found["loadable"] and BY_NAME[name].since <= version
    }
    assert ours - refused == set(), "the tables say no where the kernel says yes"
    assert refused - ours == set(), "the tables say yes where the kernel says no"


@RELEASE
def test_kfuncs_for_program_types(release: str) -> None:
    version, found = measured(release)
    refused = {(kind, name) for kind, name in found["kfuncs"] if name not in CONFIGURED}
    ours = {
        (kind.name, name)
        for (name, kind), since in KFUNCS_FOR.items()
        if max(since, KFUNCS[name].since) > version and KFUNCS[name].since <= version
    }
    assert refused - ours == set()


@RELEASE
def test_context_fields(release: str) -> None:
    version, found = measured(release)
    _, newest = measured("6.12")
    # Refused there and later alike: the probe asks without the attach type that the field needs.
    elsewhere = {tuple(pair) for pair in newest["fields"]} if release != "6.12" else set()
    refused = {tuple(pair) for pair in found["fields"]} - elsewhere
    ours = {(kind.name, name) for (kind, name), since in FIELD_SINCE.items() if since > version}
    if release != "6.12":
        assert refused == ours
    assert found["maps"] == []


def test_tables_are_whole() -> None:
    assert set(ATTACH_TYPES) == set(AttachType)
    assert set(KNOWN_ITERATORS) <= set(ITERATORS)
    assert list(RELEASES) == sorted(RELEASES)
    assert len({bit for bit, _, _ in MAP_FLAGS}) == len(MAP_FLAGS)
    assert all(isinstance(kind, ProgType | AttachType) for kind in SLEEPABLE)
    assert VALUE_STRUCTS
