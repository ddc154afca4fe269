"""``skep verify --extends``: programs that replace a function of another program, judged without a kernel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from skep.cli.main import root
from tests.unit.objfile.build import compile_c

BASE = """
struct xdp_md { __u32 data, data_end; };
__noinline int choose(struct xdp_md *ctx, int x) { volatile int v = x; return v + 1; }
SEC("xdp") int outer(struct xdp_md *ctx) { return choose(ctx, 1); }
"""
MINE = """
struct xdp_md { __u32 data, data_end; };
SEC("freplace/choose") int fits(struct xdp_md *ctx, int x) { return x; }
SEC("freplace/choose") int wrong(struct xdp_md *ctx) { return 1; }
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    base, mine = tmp_path / "base.o", tmp_path / "mine.o"
    base.write_bytes(compile_c(BASE))
    mine.write_bytes(compile_c(MINE))
    return base, mine


def rows(*words: object) -> list[dict[str, Any]]:
    done = CliRunner().invoke(root, ["verify", *map(str, words), "--json"])
    found = json.loads(done.stdout)
    assert isinstance(found, list)
    return found


def test_replacements_are_judged_against_the_function(files: tuple[Path, Path]) -> None:
    base, mine = files
    fits, wrong = rows(mine, "--extends", f"{base}:outer")
    assert (fits["verdict"], wrong["verdict"]) == ("accepted", "rejected")
    assert wrong["diagnostics"][0]["code"] == "V0703"


def test_without_it_they_are_not_judged(files: tuple[Path, Path]) -> None:
    found = rows(files[1], "--program", "fits")
    assert found[0]["verdict"] == "unsupported"
    assert "--extends FILE:PROGRAM" in found[0]["diagnostics"][0]["help"]


@pytest.mark.parametrize("words", ["base.o", ":outer", "base.o:nothing"])
def test_which_program(files: tuple[Path, Path], words: str) -> None:
    base, mine = files
    done = CliRunner().invoke(root, ["verify", str(mine), "--extends", words.replace("base.o", str(base))])
    assert done.exit_code != 0
