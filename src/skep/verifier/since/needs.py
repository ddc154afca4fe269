"""All that a program needs, each thing once; and what of it a kernel does not have."""

from __future__ import annotations

from skep.abi.features import Version
from skep.model.programs import LinkedProgram, Verdict
from skep.verifier.flow import cfg
from skep.verifier.since.code import code_needs, complexity_need
from skep.verifier.since.need import Need
from skep.verifier.since.program import map_needs, program_needs


def find_needs(linked: LinkedProgram, verdict: Verdict, visited: frozenset[int] | None = None) -> tuple[Need, ...]:
    """What a kernel must have to load the program, the program's own things first, then in code order.

    Args:
        verdict: of the newest rules: says which code is dead, and what each access touches.
        visited: slots that some path executes, where the verdict has no facts; None: all.
    """
    flow = cfg.build(linked.insns, {sub.name: sub.start for sub in linked.subprograms})
    if verdict.facts is not None:
        visited = verdict.facts.reachable
    elif visited is None:
        visited = frozenset(slot for slot, insn in enumerate(flow.code) if insn is not None)
    found: dict[tuple[object, str], Need] = {}
    for need in (
        *program_needs(linked),
        *map_needs(linked),
        *code_needs(linked, flow, visited, verdict.facts),
        *complexity_need(verdict.processed_insns),
    ):
        found.setdefault((need.rule, need.what), need)
    return tuple(found.values())


def first_kernel(needs: tuple[Need, ...]) -> Version:
    """The first Linux that has all of it, as far as the tables know."""
    return max((need.since for need in needs), default=(3, 18))


def missing(needs: tuple[Need, ...], kernel: Version) -> tuple[Need, ...]:
    """What a kernel does not have, newest first."""
    return tuple(sorted((need for need in needs if need.since > kernel), key=lambda need: need.since, reverse=True))
