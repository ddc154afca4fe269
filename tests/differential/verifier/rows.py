"""The corpus of programs with the real kernel's verdicts (shared/corpus/verifier), as linked programs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from skep.btf.reader import parse_btf
from skep.model.programs import LinkedProgram
from skep.model.target import Target
from skep.testing.corpus import Corpus

SHARED = Path(os.environ.get("SKEP_SHARED", Path(__file__).parents[4] / "shared"))
CORPUS = SHARED / "corpus" / "verifier"
# Two helpers that this kernel does not offer: it was built without error injection, and is locked down.
TARGET = Target("linux", (6, 18, 44), refused_helpers={36: "locked down", 58: "CONFIG_BPF_KPROBE_OVERRIDE is not set"})
SETS = ("test_verifier", "verifier_progs", "selftests_other", "mutants")


@cache
def target() -> Target:
    """The target with the running kernel's types, where it shows them."""
    types = Path("/sys/kernel/btf/vmlinux")
    return replace(TARGET, btf=parse_btf(types.read_bytes())) if types.exists() else TARGET


@cache
def corpus() -> Corpus:
    """The folder of rows."""
    return Corpus(CORPUS, target())


def rows(*sets: str) -> Iterator[dict[str, Any]]:
    """All rows of some sets (default: all)."""
    return corpus().rows(*(sets or SETS))


def in_scope(row: dict[str, Any]) -> bool:
    """Whether the row asks for something that a linked program can say."""
    return corpus().in_scope(row)


def link(row: dict[str, Any]) -> LinkedProgram:
    """The row as a linked program; SkepError: its bytes are no instructions."""
    return corpus().link(row)
