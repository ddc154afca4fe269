"""``skep capture``: packets that an expression or an eBPF program chooses, live or from a capture, to pcapng files."""

from skep.tools.capture.capture import (
    CaptureResult,
    accept_all,
    capture,
    expression_spec,
    interface_layer,
    statistics_of,
)
from skep.tools.capture.files import CaptureFiles, Rotation
from skep.tools.capture.lines import PacketLines

__all__ = [
    "CaptureFiles",
    "CaptureResult",
    "PacketLines",
    "Rotation",
    "accept_all",
    "capture",
    "expression_spec",
    "interface_layer",
    "statistics_of",
]
