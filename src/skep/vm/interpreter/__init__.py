"""A plain interpreter over the vm's maps and helpers, with every access checked: for debugging, and the JIT's oracle.

It knows nothing of what the verifier proved. Where a program touches memory that is not its own, reads a register that
nothing was written to, or gives a helper what is not its to give, it stops with a Fault: for a proved program that is a
bug of the verifier's.
"""

from skep.vm.interpreter.machine import Host, Interpreter, StepLimitError
from skep.vm.interpreter.memory import Fault, Memory
from skep.vm.interpreter.program import InterpretedProgram

__all__ = ["Fault", "Host", "InterpretedProgram", "Interpreter", "Memory", "StepLimitError"]
