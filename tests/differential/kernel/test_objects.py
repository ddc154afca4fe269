"""Objects of real projects through skep's own engine, maps, types and lines included: the manifest's verdicts.

The loading happens in a child process (this file run as a program), in bounded time. Nothing is attached or pinned.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from skep.abi.map_facts import FACTS
from skep.abi.prog_types import ProgType
from skep.collection.load import load_object
from skep.errors import RejectedError, SkepError
from skep.kernel.engine import KernelEngine
from skep.kernel.host import kernel_version
from skep.kernel.target import kernel_target
from skep.linker import set_type
from skep.model.maps import MapSpec, Pinning
from skep.model.objects import ObjectSpec
from skep.objfile import read_object

ROOT = Path(__file__).parent.parent.parent.parent
MEASURED_ON = (6, 18)
MOST_ENTRIES = 4096
TYPE_NAMES = {"SOCKET": "SOCKET_FILTER", "RAW_TP": "RAW_TRACEPOINT"}


@pytest.mark.kernel
def test_the_verdicts_of_the_manifest(corpus: Path, kernel: None) -> None:
    if kernel_version()[:2] < MEASURED_ON:
        pytest.skip("the manifest has the verdicts of Linux 6.18: an older verifier accepts less")
    command = [sys.executable, "-m", "tests.differential.kernel.test_objects", str(corpus / "objects")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    wrong = [row for row in answer["rows"] if (row["wanted"] == "accepted") != (row["verdict"] == "accepted")]
    assert wrong == []
    assert Counter(row["wanted"] for row in answer["rows"]) == {"accepted": 316, "rejected": 16}
    # Every refusal of the verifier names its reason; where the object has lines, the place, too.
    for row in answer["rows"]:
        if row["verdict"] == "rejected":
            assert row["kernel"], row
            assert row["log"], row
    assert answer["leaked"] == []
    assert answer["notes"] == []


def load_all(folder: Path) -> dict[str, Any]:
    """Verdicts for each row that the manifest calls accepted or rejected."""
    rows = []
    notes: set[str] = set()
    target = kernel_target()
    before = _objects()
    specs: dict[str, ObjectSpec] = {}
    for row in json.loads((folder / "manifest.json").read_text()):
        if row["verdict"] not in ("accepted", "rejected"):
            continue
        name = row["object"]
        if name not in specs:
            specs = {name: _small(read_object((folder / name).read_bytes(), name))}
        engine = KernelEngine(target)
        result = {"object": name, "function": row["function"], "wanted": row["verdict"], "verdict": "accepted"}
        try:
            load_object(_typed(specs[name], row), engine, programs=[row["function"]]).close()
        except SkepError as error:
            verdict = "rejected" if isinstance(error, RejectedError) else "refused"
            result |= {"verdict": verdict, "why": str(error), "kernel": error.diagnostic.kernel}
            result["log"] = bool(getattr(error, "log", ""))
        notes.update(f"{name}: {note}" for note in engine.notes)
        engine.close()
        rows.append(result)
    return {"rows": rows, "leaked": sorted(_objects() - before), "notes": sorted(notes)}


def _objects() -> set[str]:
    links = (f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd"))
    return {os.readlink(link) for link in links if os.path.lexists(link)}


def _typed(spec: ObjectSpec, row: dict[str, Any]) -> ObjectSpec:
    guess = row["prog_type"].removesuffix("(guess)").upper()
    wanted = ProgType[TYPE_NAMES.get(guess, guess)]
    if spec.programs[row["function"]].prog_type is not wanted:
        spec = set_type(spec, row["function"], wanted)
    return replace(spec, license="GPL")


def _small(spec: ObjectSpec) -> ObjectSpec:
    """Maps as the manifest's loader made them: small, on any NUMA node, and never pinned."""

    def small(found: MapSpec) -> MapSpec:
        entries = min(found.max_entries, MOST_ENTRIES)
        if not FACTS[found.type].no_entries:
            entries = entries or 1  # 0: the project's own loader decides (Falco)
        return found.replace(
            max_entries=entries, flags=found.flags & ~4, numa_node=None, slots=(), pinning=Pinning.NONE,
            inner=small(found.inner) if found.inner is not None else None,
        )  # fmt: skip

    return replace(spec, maps={name: small(found) for name, found in spec.maps.items()})


if __name__ == "__main__":
    print(json.dumps(load_all(Path(sys.argv[1]))))
