"""What another kernel says about the corpus: run in a guest (or here) it writes one JSON line for each program.

python -m scripts.kernels.verdicts OUT [--every N]     here
python -m scripts.kernels.verdicts --boot 6.1 [--every N]      in QEMU; writes runs/RELEASE-verdicts/verdicts.jsonl

``skep.testing.older`` compares these lines with what ``skep verify --kernel`` answers.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from scripts.kernels import availability, packages, suite
from scripts.kernels.guest import Boot, run_guest
from skep.errors import SkepError
from skep.kernel.engine import KernelEngine
from skep.kernel.host import kernel_version
from skep.kernel.target import kernel_target
from skep.linker import link as link_object
from skep.objfile import read_object
from tests.differential.kernel.test_objects import _small, _typed
from tests.differential.verifier import rows as corpus

OBJECTS = corpus.SHARED / "corpus" / "objects"


def object_rows() -> Iterator[dict[str, Any]]:
    """Programs of the real objects that 6.18 judged: verdict of this kernel, and its sentence."""
    target = kernel_target()
    name, spec = "", None
    for row in json.loads((OBJECTS / "manifest.json").read_text()):
        if row["verdict"] not in ("accepted", "rejected"):
            continue
        if row["object"] != name:
            name = row["object"]
            spec = _small(read_object((OBJECTS / name).read_bytes(), name))
        assert spec is not None
        identity = {"id": f"{name}:{row['function']}", "newest": row["verdict"]}
        try:
            linked = link_object(_typed(spec, row), row["function"], target)
        except SkepError as error:
            yield identity | {"verdict": "unlinked", "why": str(error.diagnostic.what)}
            continue
        yield identity | ask(linked)


def corpus_rows(every: int) -> Iterator[dict[str, Any]]:
    """Every N-th row of the verifier corpus."""
    version = kernel_version()
    for index, row in enumerate(corpus.rows()):
        if index % every or not corpus.in_scope(row):
            continue
        newest = {"ACCEPT": "accepted", "REJECT": "rejected"}[row["kernel"]["verdict"]]
        identity = {"id": row["id"], "newest": newest}
        try:
            linked = corpus.link(row)
        except SkepError as error:
            yield identity | {"verdict": "unlinked", "why": str(error.diagnostic.what)}
            continue
        yield identity | ask(replace(linked, target=replace(linked.target, kernel_version=version)))


def ask(linked: Any) -> dict[str, Any]:
    """This kernel's verdict: ``accepted``, ``rejected`` (its verifier), ``refused`` (it did not get that far)."""
    engine = KernelEngine(linked.target)
    try:
        with ExitStack() as stack:
            stack.callback(engine.close)
            maps = {name: engine.create_map(spec) for name, spec in linked.maps.items()}
            engine.load_linked(linked, maps).close()
    except SkepError as error:
        log = getattr(error, "log", "") or ""
        said = [line for line in log.splitlines() if line and not line.startswith(("processed ", "peak_states"))]
        what = error.diagnostic
        return {
            "verdict": "rejected" if log else "refused",
            "why": said[-1] if said else str(what.kernel or what.what),
            "code": what.code,
            "what": what.what,
        }
    return {"verdict": "accepted"}


def collect(out: Path, every: int) -> None:
    """All of it, line by line, so that a kernel that dies leaves what it said before."""
    availability.collect(out.with_name("availability.json"))
    with out.open("w") as file:
        for kind, answers in (("object", object_rows()), ("row", corpus_rows(every))):
            for answer in answers:
                file.write(json.dumps({"kind": kind} | answer) + "\n")
                file.flush()


def boot(release: str, every: int, minutes: float) -> int:
    """The same in a guest."""
    cache = packages.cache_folder()
    packages.ensure_programs(cache)
    virtme = packages.ensure_virtme(cache)
    kernel = packages.get_kernel(release, cache)
    work = cache / "runs" / f"{release}-verdicts"
    work.mkdir(parents=True, exist_ok=True)
    out = work / "verdicts.jsonl"
    out.unlink(missing_ok=True)
    out.touch()
    own = {
        "PYTHONPATH": f"{suite.ROOT}:{suite.ROOT / 'src'}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "SKEP_SHARED": str(corpus.SHARED),
    }
    ended = run_guest(
        Boot(
            kernel=kernel,
            virtme=virtme,
            work=work,
            folder=suite.ROOT,
            command=(sys.executable, "-m", "scripts.kernels.verdicts", str(out), "--every", str(every)),
            environment=own,
            cached=suite._cached_folders(work),
            quiet_seconds=360,
            limit_seconds=minutes * 60,
        ),
        sign_of_life=suite._size_of(out, work / "output.log"),
    )
    print(f"Linux {release}: {ended.seconds:.0f} s, {ended.why or 'done'}, {len(out.read_text().splitlines())} answers")
    return 0 if not ended.why and ended.status == 0 else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--boot", action="append", default=[], choices=("6.1", "6.12"))
    parser.add_argument("--every", type=int, default=6)
    parser.add_argument("--minutes", type=float, default=40)
    options = parser.parse_args()
    if options.out is not None:
        collect(options.out, options.every)
    return max((boot(release, options.every, options.minutes) for release in options.boot), default=0)


if __name__ == "__main__":
    os.chdir(suite.ROOT)
    sys.exit(main())
