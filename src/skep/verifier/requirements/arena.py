"""What arenas need: memory that programs share with user space, with pointers in it."""

from __future__ import annotations

from dataclasses import dataclass

from skep.verifier.requirements.kinds import Requirement


@dataclass(frozen=True, slots=True)
class ValidCast(Requirement):
    """A cast between the address spaces of kernel (0) and arena (1): the program has an arena (check_alu_op).

    ``spaces`` is the instruction's imm: the target space in the high half, the source space in the low one.
    """

    spaces: int
