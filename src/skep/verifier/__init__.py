"""Is a program safe to run? ``judge`` answers, ``verify`` insists."""

from skep.verifier.options import ContextEntry, MemoryEntry, Options
from skep.verifier.verify import judge, verify

__all__ = ["ContextEntry", "MemoryEntry", "Options", "judge", "verify"]
