"""An interpreted program behind the engine's protocol: the vm's own loops run it, one instruction at a time."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping

from skep.isa.arithmetic import signed
from skep.model.programs import LinkedProgram
from skep.vm.interpreter.host import VmHost, find_loaded_program
from skep.vm.interpreter.machine import Interpreter
from skep.vm.runtime import Run

_PROGRAM = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p)
Trace = Callable[[int, list[int]], None]


class InterpretedEntry:
    """A program as a C function that interprets: put ``address`` into ``Run.program``.

    An exception (a Fault) cannot pass through C: the call returns 0 and :meth:`raise_failure` raises it afterwards.
    """

    def __init__(self, program: LinkedProgram, maps: Mapping[str, int], trace: Trace | None = None) -> None:
        self._program = program
        self._maps = maps
        self._trace = trace
        self._failure: BaseException | None = None
        self._function = _PROGRAM(self._call)
        self.address = ctypes.cast(self._function, ctypes.c_void_p).value or 0

    def _call(self, run_address: int, context: int | None) -> int:
        if self._failure is not None:
            return 0
        try:
            run = Run.from_address(run_address)
            host = VmHost(self._program, self._maps, run, find_loaded_program)
            return signed(Interpreter(self._program, host, trace=self._trace).run(context or 0))
        except BaseException as error:
            self._failure = error
            return 0

    def raise_failure(self) -> None:
        """Raise what went wrong inside, if anything did."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
