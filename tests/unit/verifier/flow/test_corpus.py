"""Programs that Linux accepts have no fault in their text (the kernel's own verifier tests)."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from skep.errors import SkepError
from skep.isa.codec import decode
from skep.verifier.flow import structure
from skep.verifier.flow.structure import Flaw

CASES = Path(os.environ.get("SKEP_SHARED", Path(__file__).parents[5] / "shared")) / "corpus" / "verifier"

# What the kernel says -> what we must say, where it is the first thing that it says.
SENTENCES = {
    "jump out of range": Flaw.JUMP_RANGE,
    "jump into the middle": Flaw.JUMP_MIDDLE,
    "last insn is not": Flaw.LAST_INSN,
    "unknown opcode": Flaw.OPCODE,
    "unreachable insn": Flaw.UNREACHABLE,
    "call to invalid destination": Flaw.CALL_TARGET,
}


@pytest.mark.skipif(not CASES.exists(), reason=f"the corpus is not at {CASES} (SKEP_SHARED)")
@pytest.mark.parametrize("name", ["test_verifier", "verifier_progs"])
def test_same_verdict_on_text(name: str) -> None:
    checked = 0
    for line in gzip.decompress((CASES / f"{name}.jsonl.gz").read_bytes()).splitlines():
        row = json.loads(line)
        prog, kernel = row["prog"], row["kernel"]
        if "insns" not in prog or "exception" in row["id"]:  # exception callbacks are entered by no instruction
            continue
        try:
            found = structure.check(decode(bytes.fromhex(prog["insns"])))
        except SkepError:
            assert kernel["verdict"] == "REJECT", row["id"]
            continue
        checked += 1
        if kernel["verdict"] == "ACCEPT":
            assert found == (), row["id"]
            continue
        for words, rule in SENTENCES.items():
            if (kernel["error"] or "").startswith(words):
                assert found, row["id"]
                assert found[0].rule is rule or name == "test_verifier", row["id"]
    assert checked > 300
