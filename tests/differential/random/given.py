"""Programs of the corpus that long runs make mutants of: those that the kernel and the vm accept as they are."""

from __future__ import annotations

from collections.abc import Iterator

from skep.model.programs import LinkedProgram, Outcome
from skep.testing.generate import Sample
from skep.testing.long_run.sources import Given
from skep.testing.samples import link_sample
from skep.verifier import judge
from skep.vm.maps.rules import RULES
from skep.vm.programs import PACKET_TYPES
from tests.differential.random.corpus import usable
from tests.differential.verifier import rows as corpus


def given() -> tuple[Given, ...]:
    """All of them; none if the corpus is not there."""
    return tuple(_given()) if corpus.CORPUS.exists() else ()


def _given() -> Iterator[Given]:
    for row in corpus.rows():
        if row["kernel"]["verdict"] != "ACCEPT" or not usable(row):
            continue
        linked = corpus.link(row)
        if not _is_plain(linked):
            continue
        sample = Sample(0, linked.prog_type, linked.insns, tuple(linked.maps.values()))
        if judge(link_sample(sample)).outcome is Outcome.ACCEPTED:
            yield Given(row["id"], linked.prog_type, linked.insns, tuple(linked.maps.values()))


def _is_plain(linked: LinkedProgram) -> bool:
    """Whether it runs on packets, and needs nothing but instructions and maps."""
    if linked.prog_type not in PACKET_TYPES or any(sub.is_global for sub in linked.subprograms):
        return False
    return all(spec.type in RULES and spec.inner is None and spec.btf is None for spec in linked.maps.values())
