"""What calls of kernel functions need."""

from __future__ import annotations

from dataclasses import dataclass

from skep.verifier.requirements.kinds import Requirement


@dataclass(frozen=True, slots=True)
class KfuncAvailable(Requirement):
    """The kernel has the function, and this program may call it here."""

    name: str


@dataclass(frozen=True, slots=True)
class KfuncArguments(Requirement):
    """Every argument is what the prototype says (kernel: check_kfunc_args)."""

    name: str


@dataclass(frozen=True, slots=True)
class KfuncPlace(Requirement):
    """Critical sections match, and allow the call."""

    name: str


@dataclass(frozen=True, slots=True)
class Throws(Requirement):
    """An exception may leave here: nothing is open, and what it returns fits the program."""


@dataclass(frozen=True, slots=True)
class KernelVariable(Requirement):
    """The kernel has a variable or function of this name, whose address is taken."""

    name: str
