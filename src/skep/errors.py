"""The errors of skep. Two roots: what the user can mend, and what we must mend.

::

    SkepError                 the user's side: carries one or more Diagnostics
    +-- UsageError            wrong use: a program, map or variable that is not there, a wrong value     (exit code 2)
    +-- InputError            input that is not what it claims to be                                     (exit code 2)
    |   +-- ElfError          a truncated or hostile object file
    |   +-- BtfError          broken type information
    |   +-- CaptureError      a broken pcap or pcapng
    +-- CompileError          C that does not compile, or no compiler                                    (exit code 1)
    +-- AssemblerError        text that is not eBPF assembly
    +-- LinkError             an unresolved symbol, a CO-RE relocation the target cannot satisfy         (exit code 1)
    +-- UnsupportedError      something that skep does not do (yet), by name, and what to do instead      (exit code 1)
    +-- RejectedError         the verifier (ours or the kernel's) said no                                (exit code 1)
    +-- EngineError           an engine could not create, load, attach or run                            (exit code 1)
    |   +-- MapError          a map operation failed: full, no such key, wrong size
    +-- ClosedError           a map, program or link was used after close()
    InternalError             a bug in skep: please report it                                            (exit code 70)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from skep.diagnostics import Diagnostic, render


class SkepError(Exception):
    """An error the user can act on. ``diagnostics`` is never empty; str() is their plain text."""

    exit_code: ClassVar[int] = 1

    def __init__(self, diagnostics: Diagnostic | Sequence[Diagnostic]) -> None:
        self.diagnostics: tuple[Diagnostic, ...] = (
            (diagnostics,) if isinstance(diagnostics, Diagnostic) else tuple(diagnostics)
        )
        if not self.diagnostics:
            raise InternalError(f"{type(self).__name__} raised without a diagnostic")
        super().__init__("\n".join(render(d) for d in self.diagnostics))

    @property
    def diagnostic(self) -> Diagnostic:
        """The first diagnostic: the one that matters most."""
        return self.diagnostics[0]


class UsageError(SkepError):
    """A name, value or option that does not fit."""

    exit_code = 2


class InputError(SkepError):
    """Input that is not what it claims to be."""

    exit_code = 2


class ElfError(InputError):
    """A broken, truncated or hostile object file."""


class BtfError(InputError):
    """Broken type information."""


class CaptureError(InputError):
    """A broken pcap or pcapng file."""


class CompileError(SkepError):
    """C that does not compile, or no compiler to be found."""


class AssemblerError(SkepError):
    """Text that is not eBPF assembly."""


class LinkError(SkepError):
    """A symbol or relocation that cannot be resolved for this Target."""


class UnsupportedError(SkepError):
    """Something that skep does not do (yet)."""


class RejectedError(SkepError):
    """A verifier said no. ``log`` is what the kernel's verifier wrote, whole; "" when ours decided."""

    def __init__(self, diagnostics: Diagnostic | Sequence[Diagnostic], log: str = "") -> None:
        super().__init__(diagnostics)
        self.log = log


class EngineError(SkepError):
    """An engine could not create, load, attach or run something."""


class MapError(EngineError):
    """A map operation failed. ``errno`` is the kernel's number for the reason, on both engines."""

    def __init__(self, diagnostics: Diagnostic | Sequence[Diagnostic], errno: int = 0) -> None:
        super().__init__(diagnostics)
        self.errno = errno


class ClosedError(SkepError):
    """A map, program or link was used after it was closed."""

    exit_code = 2


class InternalError(Exception):
    """A bug in skep: an invariant of ours does not hold."""

    exit_code: ClassVar[int] = 70
