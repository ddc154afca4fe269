"""What a program may return, by its type (kernel: check_return_code)."""

from __future__ import annotations

from skep.abi.prog_types import AttachType, ProgType
from skep.model.programs import LinkedProgram

_SESSIONS = frozenset({AttachType.TRACE_KPROBE_SESSION, AttachType.TRACE_UPROBE_SESSION})


def range_at_exit(linked: LinkedProgram) -> tuple[int, int] | None:
    """The lowest and highest allowed return value; None: any."""
    attach = linked.attach_type
    if linked.prog_type is ProgType.CGROUP_SKB:
        return (0, 3) if attach is AttachType.CGROUP_INET_EGRESS else (0, 1)
    if linked.prog_type is ProgType.KPROBE and attach in _SESSIONS:
        return (0, 1)
    return None
