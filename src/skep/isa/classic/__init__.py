"""Classic BPF (McCanne and Jacobson 1993; Linux Documentation/networking/filter.rst): what `tcpdump -d` prints."""

from skep.isa.classic.instruction import ClassicInstruction

__all__ = ["ClassicInstruction"]
