"""Packet filters: an expression or a classic program, over a capture."""

from skep.tools.filter.capture import link_layer
from skep.tools.filter.filter import FilterRun, read_classic, run_filter

__all__ = ["FilterRun", "link_layer", "read_classic", "run_filter"]
