"""What a verdict is called, and which verdicts let a packet pass, by program type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from skep.abi.prog_types import AttachType, ProgType
from skep.abi.verdicts import verdict_name
from skep.vm.hooks.layout import Job

_MINUS_ONE = 16  # index of -1 in Job.verdicts
_PREFIXES = ("XDP_", "TC_ACT_", "TCX_", "NETKIT_", "BPF_")


@dataclass(frozen=True, slots=True)
class Rule:
    """Verdicts 0..15 and -1 that pass, and whether unknown numbers do."""

    passing: frozenset[int]
    others: bool

    @property
    def mask(self) -> int:
        """For the packet loop: bit v, and bit 16 for -1."""
        return sum(1 << (_MINUS_ONE if v == -1 else v) for v in self.passing)


# Unknown numbers: XDP drops the packet (bpf_warn_invalid_xdp_action()), a classifier goes on (cls_bpf_exec_opcode()).
_TC = Rule(frozenset({-1, 0, 1, 3, *range(9, 16)}), others=True)
_LWT = Rule(frozenset({0}), others=False)
RULES: Mapping[ProgType, Rule] = {
    ProgType.XDP: Rule(frozenset({2}), others=False),
    ProgType.SCHED_CLS: _TC,
    ProgType.SCHED_ACT: _TC,
    ProgType.SOCKET_FILTER: Rule(frozenset({1}), others=True),  # the loop counts a kept packet as 1
    ProgType.CGROUP_SKB: Rule(frozenset({1, 3}), others=False),  # 2 and 3: the same with congestion notification
    ProgType.LWT_IN: _LWT,
    ProgType.LWT_OUT: _LWT,
    ProgType.LWT_XMIT: _LWT,
    ProgType.LWT_SEG6LOCAL: _LWT,
}
_SOCKET_FILTER = {0: "DROP", 1: "PASS"}


def _name(prog_type: ProgType, attach_type: AttachType | None, value: int) -> str:
    if prog_type is ProgType.SOCKET_FILTER:
        return _SOCKET_FILTER[value]
    name = verdict_name(prog_type, value, attach_type)
    for prefix in _PREFIXES:
        if name.startswith(prefix):
            return name[len(prefix) :]
    return name


def counts(job: Job, prog_type: ProgType, attach_type: AttachType | None) -> dict[str, int]:
    """How often each verdict was returned, by name, the smallest number first."""
    found = {value: int(n) for value, n in enumerate(job.verdicts[:_MINUS_ONE]) if n}
    if job.verdicts[_MINUS_ONE]:
        found[-1] = int(job.verdicts[_MINUS_ONE])
    found |= {int(other.verdict): int(other.count) for other in job.others if other.count}
    named = {_name(prog_type, attach_type, value): found[value] for value in sorted(found)}
    if job.more:
        named["other"] = int(job.more)
    return named
