"""The verifier beside the kernel's, in one run: real programs that Linux accepts, and a sample of the verifier corpus.

The kernel is asked through skep's kernel engine; it says itself how long it verified (BPF_LOG_STATS), and the time of
the whole load (with its JIT and our encoding) is given beside it.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import resource
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from skep.abi.prog_types import ProgType
from skep.engine import MapHandle
from skep.errors import SkepError
from skep.kernel.engine import KernelEngine
from skep.linker import link, set_type
from skep.model.maps import MapSpec
from skep.model.objects import ObjectSpec
from skep.model.programs import LinkedProgram, Outcome
from skep.objfile import read_object
from skep.verifier import judge

SHARED = Path(os.environ.get("SKEP_SHARED", Path(__file__).parent.parent.parent / "shared"))
OBJECTS = SHARED / "corpus" / "objects"
_MOST_ENTRIES = 4096
_NUMA_NODE = 1 << 2
_STATISTICS = 4  # BPF_LOG_STATS
_EVERY_ROW = 10  # of the verifier corpus
_SIZES = (0, 100, 1_000, 10_000, 50_000, 1 << 62)


@dataclass(slots=True)
class Measured:
    """One program; the kernel's numbers are 0 where it was not asked or did not load it."""

    name: str
    length: int
    insns: int
    seconds: float
    accepted: bool
    kernel_insns: int = 0
    kernel_seconds: float = 0
    load_seconds: float = 0


def main(console: Console) -> None:
    if not OBJECTS.exists():
        console.print(f"no corpus at {SHARED} (set SKEP_SHARED)")
        return
    before = _peak()
    found = [_measure(name, linked) for name, linked in _programs()]
    peak = _peak()
    _ask_kernel(found)
    _totals(console, found, before, peak)
    _growth(console, found)
    _slowest(console, found)
    _corpus_sample(console)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _programs() -> Iterator[tuple[str, LinkedProgram]]:
    """The programs that the manifest says Linux accepts."""
    target = KernelEngine().target
    specs: dict[str, ObjectSpec] = {}
    for row in json.loads((OBJECTS / "manifest.json").read_text()):
        if row["verdict"] == "accepted":
            name = row["object"]
            if name not in specs:
                specs = {name: read_object((OBJECTS / name).read_bytes(), name)}
            yield f"{name}:{row['section']}:{row['function']}", _linked(specs[name], row, target)


def _linked(spec: ObjectSpec, row: Mapping[str, Any], target: Any) -> LinkedProgram:
    program = spec.programs[row["function"]]
    word = row["prog_type"].removesuffix("(guess)").upper()
    wanted = ProgType[{"SOCKET": "SOCKET_FILTER", "RAW_TP": "RAW_TRACEPOINT"}.get(word, word)]
    if program.prog_type is not wanted:
        spec = set_type(spec, program.name, wanted)
    return link(replace(spec, license="GPL"), program.name, target)


_linked_programs: dict[str, LinkedProgram] = {}


def _measure(name: str, linked: LinkedProgram) -> Measured:
    _linked_programs[name] = linked
    started = time.process_time()
    verdict = judge(linked)
    took = time.process_time() - started
    return Measured(name, len(linked.insns), verdict.processed_insns, took, verdict.outcome is Outcome.ACCEPTED)


def _ask_kernel(found: list[Measured]) -> None:
    """Load each program, with its maps made small, and give it back at once."""
    for one in found:
        linked = _linked_programs.pop(one.name)
        with_maps = KernelEngine(log_level=_STATISTICS)
        try:
            maps: dict[str, MapHandle] = {
                name: with_maps.create_map(_small(spec)) for name, spec in linked.maps.items()
            }
            started = time.perf_counter()
            program = with_maps.load_linked(linked, maps)
            one.load_seconds = time.perf_counter() - started
            one.kernel_seconds = _number(r"verification time (\d+) usec", program.log) / 1e6
            one.kernel_insns = _number(r"processed (\d+) insns", program.log)
        except SkepError:
            pass  # not permitted here, or not on this kernel: the columns say how many it was
        finally:
            with_maps.close()


def _small(spec: MapSpec) -> MapSpec:
    """0 entries means that the loader decides."""
    return spec.replace(max_entries=min(spec.max_entries, _MOST_ENTRIES) or 1, flags=spec.flags & ~_NUMA_NODE)


def _number(pattern: str, log: str) -> int:
    match = re.search(pattern, log)
    return int(match[1]) if match else 0


def _totals(console: Console, found: list[Measured], before: float, peak: float) -> None:
    asked = [one for one in found if one.kernel_insns]
    table = Table("", "skep", "kernel", "bar", title=f"{len(found)} programs that Linux accepts")
    seconds, slowest = sum(one.seconds for one in found), max(found, key=lambda one: one.seconds)
    insns, theirs = sum(one.insns for one in found), sum(one.kernel_insns for one in asked)
    table.add_row("accepted", str(sum(one.accepted for one in found)), str(len(asked)), str(len(found)))
    verified = sum(one.kernel_seconds for one in asked)
    loaded = sum(one.load_seconds for one in asked)
    table.add_row(
        "CPU seconds in all",
        f"{seconds:.1f}",
        f"{verified:.2f} (loads: {loaded:.1f})",
        "30",
    )
    slowest_kernel = max((one.kernel_seconds for one in asked), default=0)
    table.add_row("slowest program, s", f"{slowest.seconds:.2f}", f"{slowest_kernel:.3f}", "4")
    table.add_row("peak memory, MB", f"{peak:.0f} (before: {before:.0f})", "", "256")
    table.add_row("insns processed", f"{insns:,}", f"{theirs:,}", "")
    cost, kernel_cost = 1e6 * seconds / max(insns, 1), 1e6 * verified / max(theirs, 1)
    table.add_row("microseconds per processed insn", f"{cost:.1f}", f"{kernel_cost:.2f}", "")
    console.print(table)


def _growth(console: Console, found: list[Measured]) -> None:
    table = Table("insns processed", "programs", "skep µs/insn", "kernel µs/insn", title="how the cost grows")
    for low, high in itertools.pairwise(_SIZES):
        group = [one for one in found if low < one.insns <= high]
        asked = [one for one in group if one.kernel_insns]
        if group:
            ours = 1e6 * sum(one.seconds for one in group) / sum(one.insns for one in group)
            theirs = 1e6 * sum(o.kernel_seconds for o in asked) / max(sum(o.kernel_insns for o in asked), 1)
            name = f"{low:,} to {high:,}" if high < 1 << 62 else f"more than {low:,}"
            table.add_row(name, str(len(group)), f"{ours:.1f}", f"{theirs:.2f}")
    console.print(table)


def _slowest(console: Console, found: list[Measured]) -> None:
    table = Table("slowest", "length", "insns", "kernel", "s", "kernel s")
    for one in sorted(found, key=lambda one: -one.seconds)[:8]:
        table.add_row(
            one.name,
            f"{one.length:,}",
            f"{one.insns:,}",
            f"{one.kernel_insns:,}",
            f"{one.seconds:.2f}",
            f"{one.kernel_seconds:.3f}",
        )
    console.print(table)


def _corpus_sample(console: Console) -> None:
    """Each tenth row of the verifier corpus; the kernel's verdicts and counts are those in the corpus."""
    from tests.differential.verifier.rows import in_scope, link, rows

    seconds, insns, theirs, agree, total = 0.0, 0, 0, 0, 0
    for number, row in enumerate(rows()):
        if number % _EVERY_ROW or not in_scope(row):
            continue
        total += 1
        try:
            linked = link(row)
        except SkepError:
            agree += row["kernel"]["verdict"] != "ACCEPT"
            continue
        started = time.process_time()
        verdict = judge(linked)
        seconds += time.process_time() - started
        insns += verdict.processed_insns
        theirs += row["kernel"]["processed"] or 0
        agree += (verdict.outcome is Outcome.ACCEPTED) == (row["kernel"]["verdict"] == "ACCEPT")
    console.print(
        f"verifier corpus, each {_EVERY_ROW}th row: {total} programs, {agree} verdicts as the kernel's, "
        f"{seconds:.1f} s, {insns:,} insns (kernel {theirs:,}), {1e6 * seconds / max(insns, 1):.1f} µs each with set-up"
    )
