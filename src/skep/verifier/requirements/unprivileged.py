"""Obligations that only programs without CAP_PERFMON have: addresses stay secret, under speculation too."""

from __future__ import annotations

from dataclasses import dataclass

from skep.verifier.requirements.kinds import Requirement, ValidArithmetic


@dataclass(frozen=True, slots=True)
class NoAddress(Requirement):
    """The register holds a number, not an address that others could read (kernel: is_pointer_value)."""

    reg: int
    where: str


@dataclass(frozen=True, slots=True)
class MaskableArithmetic(Requirement):
    """A pointer stays inside its object, and every path moves it in the same way (kernel: sanitize_ptr_alu)."""

    math: ValidArithmetic
    slot: int


@dataclass(frozen=True, slots=True)
class SameMap(Requirement):
    """The register holds the same map on every path; looked at when all are walked (kernel: bpf_map_ptr_poisoned)."""

    reg: int
