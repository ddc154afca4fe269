"""Mutants of the corpus' programs: our verdict and the kernel's.

python -m tests.differential.random.corpus [--seconds 60] [--seed 0] [--set NAME] [--save DIR] [--strict]
python -m tests.differential.random.corpus --only ID --seed N
"""

from __future__ import annotations

import argparse
import collections
import json
import random
import signal
import struct
import time
import traceback
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from skep.errors import SkepError
from skep.isa import opcodes as op
from skep.isa.codec import decode, encode
from skep.kernel.bpf import btf as kernel_btf
from skep.kernel.bpf import maps as kernel_maps
from skep.kernel.bpf import programs as kernel_programs
from skep.kernel.bpf.call import BpfCallError
from skep.kernel.fd import Fd
from skep.model.programs import Outcome
from skep.testing.differential import listing
from skep.testing.generate import mutate
from skep.testing.kernel_judge import Answer, KernelJudge, Verdict, rejection
from skep.verifier import judge
from tests.differential.verifier import rows as corpus

SECONDS_EACH = 5


def usable(row: dict[str, Any]) -> bool:
    """Whether the row can be loaded from its own facts: no kernel functions, no attach targets."""
    prog = row["prog"]
    attached = prog.get("attach_btf_id") or prog.get("attach_prog_fd")
    return corpus.in_scope(row) and not (prog["kfuncs"] or prog["ksyms"] or attached) and "insns" in prog


def mutant(row: dict[str, Any], seed: int) -> dict[str, Any]:
    """The row with some instructions changed; seed 0: as it is."""
    if not seed:
        return row
    changed = mutate(corpus.link(row).insns, seed)
    data = encode(replace(insn, ref=None) for insn in changed)
    return {**row, "prog": {**row["prog"], "insns": data.hex()}}


def load_in_kernel(row: dict[str, Any]) -> Answer:
    """The kernel's verdict on a row; called in a child process."""
    prog = row["prog"]
    with ExitStack() as stack:
        try:
            maps = [stack.enter_context(_map(item, stack)) for item in prog["maps"]]
            types = stack.enter_context(_types(prog["btf"])) if "btf" in prog else None
        except BpfCallError as error:
            return Answer(Verdict.REFUSED, error.number)
        refs = dict(map(tuple, prog["map_refs"]))
        insns, slot = [], 0
        for insn in decode(bytes.fromhex(prog["insns"])):
            if slot in refs and insn.opcode == op.LD_IMM64 and insn.src in (op.PSEUDO_MAP_FD, op.PSEUDO_MAP_VALUE):
                high = insn.imm >> 32 << 32 if insn.src == op.PSEUDO_MAP_VALUE else 0
                insn = replace(insn, imm=maps[refs[slot]].number | high)
            insns.append(insn)
            slot += insn.width
        request = kernel_programs.LoadRequest(
            prog["prog_type"],
            encode(insns),
            license=prog["license"],
            expected_attach_type=prog["expected_attach_type"],
            flags=prog["prog_flags"],
            kernel_version=prog.get("kern_version", 0),
            btf=types.number if types is not None else 0,
            func_info=bytes.fromhex(prog.get("func_info", "")) if types is not None else b"",
        )
        try:
            kernel_programs.load(request)[0].close()
        except BpfCallError as error:
            return rejection(error)
        return Answer(Verdict.ACCEPT)


def _types(name: str) -> Fd:
    return kernel_btf.load(corpus._blobs()[name])


def _map(item: dict[str, Any], stack: ExitStack) -> Fd:
    create = item["create"]
    inner = item.get("inner")
    types = stack.enter_context(_types(item["btf"])) if "btf" in item else None
    request = kernel_maps.MapRequest(
        create["map_type"],
        create["key_size"],
        create["value_size"],
        create["max_entries"],
        create["map_flags"],
        inner=stack.enter_context(
            _map({"create": inner, "btf": item["btf"]} if types else {"create": inner}, stack)
        ).number
        if inner
        else 0,
        btf=types.number if types is not None else 0,
        key_type=create.get("btf_key_type_id", 0) if types is not None else 0,
        value_type=create.get("btf_value_type_id", 0) if types is not None else 0,
        map_extra=create.get("map_extra", 0),
    )
    made = kernel_maps.create(request)
    content = bytes.fromhex(item["content"]) if "content" in item else None
    if "content_blob" in item:
        content = corpus._blobs()[item["content_blob"]]
    if content is not None:
        kernel_maps.update(made.number, struct.pack("<I", 0), content)
    if item.get("frozen"):
        kernel_maps.freeze(made.number)
    return made


class _TimeoutError(Exception):
    pass


def _alarm(_number: int, _frame: FrameType | None) -> None:
    raise _TimeoutError


def compare(row: dict[str, Any], kernel: KernelJudge) -> tuple[str, str]:
    """``agree``, ``unsound``, ``strict``, ``unsupported``, ``timeout``, ``crash``, ``skipped``; and why."""
    signal.signal(signal.SIGALRM, _alarm)
    signal.alarm(SECONDS_EACH)
    try:
        ours = judge(corpus.link(row))
    except _TimeoutError:
        return "timeout", ""
    except SkepError as error:
        return "skipped", str(error)
    except Exception:
        return "crash", traceback.format_exc()
    finally:
        signal.alarm(0)
    if ours.outcome is Outcome.UNSUPPORTED:
        return "unsupported", ours.diagnostics[0].what
    theirs = kernel.ask_with(load_in_kernel, row)
    if theirs.verdict not in (Verdict.ACCEPT, Verdict.REJECT):
        return "skipped", theirs.verdict.value
    accepted = ours.outcome is Outcome.ACCEPTED
    if accepted == (theirs.verdict is Verdict.ACCEPT):
        return "agree", ""
    if accepted:
        return "unsound", theirs.reason
    return "strict", f"{ours.diagnostics[0].kernel or ours.diagnostics[0].what} @{ours.diagnostics[0].insn}"


def main() -> None:
    """Compare for a while; findings are printed as they come, and saved."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", choices=corpus.SETS)
    parser.add_argument("--save", type=Path)
    parser.add_argument("--strict", action="store_true")
    parser.add_argument("--only", help="one row by its id, with --seed")
    options = parser.parse_args()
    rows = [row for row in corpus.rows(*(options.set or ())) if usable(row)]
    counts: collections.Counter[str] = collections.Counter()
    reasons: collections.Counter[str] = collections.Counter()
    with KernelJudge() as kernel:
        if options.only:
            row = mutant(next(row for row in rows if row["id"] == options.only), options.seed)
            print(listing(corpus.link(row)))
            print(*compare(row, kernel))
            return
        chance = random.Random(options.seed)
        deadline = time.monotonic() + options.seconds
        while time.monotonic() < deadline:
            base, seed = chance.choice(rows), chance.getrandbits(31) + 1
            if options.save is not None:
                options.save.mkdir(parents=True, exist_ok=True)
                (options.save / "current.txt").write_text(f"--only {base['id']} --seed {seed}")
            try:
                row = mutant(base, seed)
            except SkepError:
                continue
            kind, why = compare(row, kernel)
            counts[kind] += 1
            if kind in ("unsound", "crash", "timeout"):
                print(f"{kind}: --only {base['id']} --seed {seed}: {why}", flush=True)
            if kind in ("strict", "unsupported"):
                reasons[f"{kind}: {why}"] += 1
    print(json.dumps(counts))
    if options.strict:
        for why, count in reasons.most_common(40):
            print(f"{count:5} {why}")


if __name__ == "__main__":
    main()
