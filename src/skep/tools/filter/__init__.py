"""Packet filters: an expression or a classic program, over a capture or live packets."""

from skep.tools.filter.capture import link_layer
from skep.tools.filter.filter import FilterRun, read_classic, run_filter
from skep.tools.filter.live import kernel_filter, run_filter_live

__all__ = ["FilterRun", "kernel_filter", "link_layer", "read_classic", "run_filter", "run_filter_live"]
