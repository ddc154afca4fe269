"""Filters: pcap-filter(7) expressions and classic BPF programs, and their translation to eBPF."""

from skep.frontend.pcap.compile import SNAPLEN, ClassicProgram, compile_expression
from skep.frontend.pcap.links import LINK_NAMES, LINK_NUMBERS, LinkLayer
from skep.frontend.pcap.translate import translate

__all__ = ["LINK_NAMES", "LINK_NUMBERS", "SNAPLEN", "ClassicProgram", "LinkLayer", "compile_expression", "translate"]
