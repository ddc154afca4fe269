"""The corpus runner on a folder of three rows: kinds, tables, JSON, exit codes, and words made alike."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from skep.isa.assembler import assemble
from skep.isa.codec import encode
from skep.model.target import Target
from skep.testing.corpus import Corpus, Kind, normalise, run_corpus
from skep.testing.corpus.__main__ import main


def row(name: str, text: str, verdict: str, error: str | None = None) -> dict[str, Any]:
    return {
        "id": f"t/{name}",
        "name": name,
        "section": "xdp",
        "features": ["prog_type:XDP", f"f:{name}"],
        "prog": {
            "prog_type": 6,
            "expected_attach_type": 0,
            "prog_flags": 0,
            "license": "GPL",
            "insns": encode(assemble(text)).hex(),
            "maps": [],
            "map_refs": [],
            "kfuncs": [],
            "ksyms": [],
        },
        "kernel": {"verdict": verdict, "error": error, "fail_insn": 0, "processed": 2},
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [
        row("good", "r0 = 2\nexit", "ACCEPT"),
        row("bad", "r0 = r3\nexit", "REJECT", "R3 !read_ok"),
        row("odd", "r0 = 2\nexit", "REJECT", "R0 leaks 17 things"),
        row("lax", "r0 = r4\nexit", "ACCEPT"),
    ]
    with gzip.open(tmp_path / "few.jsonl.gz", "wt") as out:
        out.writelines(json.dumps(each) + "\n" for each in rows)
    return tmp_path


def test_kinds_and_tables(folder: Path) -> None:
    told = []
    corpus = Corpus(folder, Target("test", (6, 18, 0)))
    report = run_corpus(corpus, told=lambda count, found: told.append((count, found.kind)))
    assert told == [(1, Kind.AGREE), (2, Kind.AGREE), (3, Kind.UNSOUND), (4, Kind.STRICT)]
    assert report.agreement == 0.5
    assert report.by_reason["R? leaks N things"] == {"unsound": 1}
    assert report.by_reason["R? !read_ok"] == {"agree": 1}
    assert report.by_feature["prog_type:XDP"].total() == 4
    found = report.to_json()
    assert {each["id"]: each["kind"] for each in found["differences"]} == {"t/odd": "unsound", "t/lax": "strict"}
    assert next(each["code"] for each in found["differences"] if each["id"] == "t/lax") == "V0201"
    text = report.text(["reason", "feature"], 10)
    assert "50.00 % agree" in text
    assert text.index("R? leaks N things") < text.index("R? !read_ok")


def test_command_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(folder), "--only", "good", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"] == {"agree (accept)": 1}
    assert main([str(folder), "--show", "unsound"]) == 1
    assert "unsound: t/odd [R0 leaks 17 things]" in capsys.readouterr().out
    assert main([str(folder / "nothing")]) == 2


@pytest.mark.parametrize(
    ("sentence", "normal"),
    [
        ("R6 invalid mem access 'map_value_or_null'", "R? invalid mem access 'map_value_or_null'"),
        ("invalid access to packet, off=12 size=1, R1(id=0)", "invalid access to packet, off=N size=N, R?(id=N)"),
        ("cannot pass map_type 27 into func bpf_map_lookup_elem#1", "cannot pass map_type N into func FUNC"),
        ("back-edge from insn 10 to 11", "back-edge from insn N to N"),
    ],
)
def test_normalise(sentence: str, normal: str) -> None:
    assert normalise(sentence) == normal
