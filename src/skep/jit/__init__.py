"""The just-in-time compiler: a verified program becomes LLVM IR, then machine code, linked with the vm's C."""

from skep.jit.compile import Code, NativeProgram, compile_program, load_code
from skep.jit.native import Lowering, Native, Returns
from skep.jit.unit import Rows

__all__ = ["Code", "Lowering", "Native", "NativeProgram", "Returns", "Rows", "compile_program", "load_code"]
