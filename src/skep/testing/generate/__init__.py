"""Random eBPF programs, the same for the same seed: most of them safe, many of them at the border of a rule.

They are what the verifier is compared with the kernel on, and what interpreter, JIT and kernel must agree on.
"""

from skep.testing.generate.mutate import mutate, nudge
from skep.testing.generate.program import Sample, generate

__all__ = ["Sample", "generate", "mutate", "nudge"]
