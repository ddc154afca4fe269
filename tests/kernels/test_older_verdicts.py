"""``skep verify --kernel 6.1`` and ``6.12`` against what Debian's 6.1 and 6.12 said in QEMU about the same programs.

The kernels' answers are kept in verdicts/ (made by scripts.kernels.verdicts). A difference must be of a kind that
DIFFERENCES explains, by the kernel's own sentence; docs/other-kernels.md says the same to people. Every twentieth row;
SKEP_ALL_VERDICTS=1 takes all 1,216.

python -m tests.kernels.test_older_verdicts    prints the differences
"""

from __future__ import annotations

import gzip
import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from skep.errors import SkepError
from skep.linker import link as link_object
from skep.model.programs import LinkedProgram, Outcome
from skep.objfile import read_object
from skep.verifier.verify import judge_rules, older_verdict
from tests.differential.kernel.test_objects import _small, _typed
from tests.differential.verifier import rows as corpus
from tests.differential.verifier.test_verdicts import SHARPER, STRICTER

MEASURED = Path(__file__).with_name("verdicts")
OBJECTS = corpus.SHARED / "corpus" / "objects"
VERSIONS = {"6.1": (6, 1, 0), "6.12": (6, 12, 0)}

#: Sentence of a kernel that rejects what we say it takes -> why.
DIFFERENCES = {
    r"cannot access ptr member|access beyond struct|attach_btf_id 0|^ENOTSUPP": "row relocated for 6.18's types",
    r"has no 'bpf_xdp_ct_lookup'|has no 'bpf_skb_ct_lookup'": "a module that the guest has not loaded",
    r"arena's user address": "the loader of the rows does not map arenas",
    r"!read_ok|invalid mem access|div by zero|zero-sized read|min value is outside|frame pointer is read only|"
    r"value_size=|invalid access to map value": "the older verifier deduces less about numbers",
    r"invalid size of register fill|tail_call abusing": "the older verifier follows the stack less closely",
    r"use static function instead": "calls of global functions in critical sections: not told by version",
    r"Caller passes invalid args": "kernel objects as plain memory: not told by version",
    r"within callback": "legacy loads in functions that callbacks call: not told by version",
    r"bpf_spin_unlock is missing|function calls are not allowed": "calls while a lock is held: not told by version",
    r"'bpf_fs_kfuncs|bpf_iter_dmabuf": "kernel functions of newer kernels",
}
#: What we reject there and the older kernel takes, beyond what we reject on 6.18 as well.
TOO_CAREFUL = {
    "vp/7.3-v3-zig22/verifier_global_ptr_args/trusted_to_untrusted_mem": "6.1 does not read tags on arguments",
    "vp/7.3-v3-zig22/verifier_iterating_callbacks/bpf_loop_iter_limit_overflow": "6.1 did not iterate callbacks: a bug",
    "vp/7.3-v3-zig22/dynptr_fail/dynptr_invalidate_slice_failure": "6.1 let slices outlive their dynptr: a bug",
    "vp/7.3-v4-zig22/dynptr_fail/dynptr_invalidate_slice_failure": "6.1 let slices outlive their dynptr: a bug",
    "vp/7.3-v3-zig22/dynptr_fail/dynptr_pruning_overwrite": "6.1 pruned dynptrs wrongly: a bug",
    "vp/7.3-v3-zig22/iters/stack_misc_vs_scalar_in_a_loop": "6.12 compared stack bytes wrongly: a bug",
    "tv/7.3/map_kptr/508": "6.1 had no RCU check of kptr_xchg",
    "mu/20251122/143": "the member lies elsewhere in 6.12's structure",
    "linux/test_probe_write_user_kern.o:kprobe/sys_connect": "this machine is locked down, the guests are not",
}


@dataclass(frozen=True, slots=True)
class Difference:
    """One program that one kernel and we see differently."""

    release: str
    id: str
    ours: Outcome
    theirs: str
    said: str

    @property
    def reason(self) -> str:
        """Why; "" if it is not known."""
        if self.theirs == "accepted":
            return TOO_CAREFUL.get(self.id, STRICTER.get(self.id, ""))
        if self.id in SHARPER:
            return "we follow numbers more sharply"
        return next((why for pattern, why in DIFFERENCES.items() if re.search(pattern, self.said)), "")


def programs(every: int) -> Iterator[tuple[str, LinkedProgram]]:
    """The programs that the guests were asked about."""
    asked = _measured("6.1")
    for index, row in enumerate(row for row in corpus.rows() if row["id"] in asked):
        if index % every == 0:
            yield row["id"], corpus.link(row)
    name, spec = "", None
    for index, row in enumerate(json.loads((OBJECTS / "manifest.json").read_text())):
        identity = f"{row['object']}:{row['function']}"
        if identity not in asked or index % every:
            continue
        if row["object"] != name:
            name = row["object"]
            spec = _small(read_object((OBJECTS / name).read_bytes(), name))
        assert spec is not None
        try:
            yield identity, link_object(_typed(spec, row), row["function"], corpus.target())
        except SkepError:
            continue


def _measured(release: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = json.loads(gzip.decompress((MEASURED / f"verdicts-{release}.json.gz").read_bytes()))
    return found


def differences(every: int) -> tuple[list[Difference], Counter[str]]:
    """What differs; and how many of each answer."""
    measured = {release: _measured(release) for release in VERSIONS}
    found, counts = [], Counter[str]()
    for identity, linked in programs(every):
        newest = judge_rules(linked)
        for release, version in VERSIONS.items():
            theirs, why, what = measured[release][identity]
            target = replace(linked.target, kernel_version=version, name=f"Linux {release}")
            ours = older_verdict(replace(linked, target=target), newest).outcome
            if ours is Outcome.UNSUPPORTED:
                counts["unsupported"] += 1
            elif (ours is Outcome.ACCEPTED) == (theirs == "accepted"):
                counts["agree"] += 1
            else:
                counts["differ"] += 1
                found.append(Difference(release, identity, ours, theirs, f"{why} {what}".strip()))
    return found, counts


@pytest.mark.skipif(not corpus.CORPUS.is_dir(), reason=f"no corpus at {corpus.CORPUS}")
def test_differences_have_reasons() -> None:
    found, counts = differences(1 if os.environ.get("SKEP_ALL_VERDICTS") else 20)
    # What we reject on 6.18 too is the business of tests/differential/verifier.
    unknown = [each for each in found if not each.reason and not (each.theirs == "accepted" and _strict(each.id))]
    assert unknown == []
    assert counts["differ"] < 0.05 * counts.total()


def _strict(identity: str) -> bool:
    """Whether the newest rules already reject what 6.18 accepts."""
    row = next((row for row in corpus.rows() if row["id"] == identity), None)
    return row is not None and judge_rules(corpus.link(row)).outcome is Outcome.REJECTED


if __name__ == "__main__":
    listed, total = differences(1)
    for each in listed:
        print(f"{each.release} {each.id}: ours {each.ours.value}, theirs {each.theirs} [{each.said}]: {each.reason}")
    print(dict(total), dict(Counter((each.release, each.reason) for each in listed)))
