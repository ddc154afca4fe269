"""Source to object: C through clang (`compile_c`), later Python and pcap filters."""

from skep.frontend.compile import Compiled, compile_c, compile_source

__all__ = ["Compiled", "compile_c", "compile_source"]
