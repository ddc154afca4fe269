"""The just-in-time compiler: a verified program becomes LLVM IR, then machine code, linked with the vm's C."""

from skep.jit.bundle import Bundle, bundle, compile_bundle, load_bundle
from skep.jit.compile import Code, NativeProgram, compile_module, compile_program, compile_runtime, load_code
from skep.jit.library import ENTRY
from skep.jit.module import Module, build_module
from skep.jit.native import Lowering, Native, Returns
from skep.jit.unit import Rows

__all__ = [
    "ENTRY",
    "Bundle",
    "Code",
    "Lowering",
    "Module",
    "Native",
    "NativeProgram",
    "Returns",
    "Rows",
    "build_module",
    "bundle",
    "compile_bundle",
    "compile_module",
    "compile_program",
    "compile_runtime",
    "load_bundle",
    "load_code",
]
