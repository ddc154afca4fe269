"""What a program may return, by its type (kernel: check_return_code)."""

from __future__ import annotations

from skep.abi.return_ranges import return_range
from skep.model.programs import LinkedProgram


def range_at_exit(linked: LinkedProgram) -> tuple[int, int] | None:
    """The lowest and highest allowed return value; None: any."""
    known = return_range(linked.prog_type, linked.attach_type)
    return None if known is None else (known.low, known.high)
