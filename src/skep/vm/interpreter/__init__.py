"""A plain interpreter over the vm's maps and helpers, with every access checked: for debugging, and the JIT's oracle.

It knows nothing of what the verifier proved. Where a program touches memory that is not its own, it stops with a
Fault: for a proved program that is a bug of the verifier's.
"""

from skep.vm.interpreter.machine import Host, Interpreter, StepLimitError
from skep.vm.interpreter.memory import Fault, Memory

__all__ = ["Fault", "Host", "Interpreter", "Memory", "StepLimitError"]
