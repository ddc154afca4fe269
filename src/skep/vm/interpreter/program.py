"""An interpreted program behind the engine's protocol: the vm's own loops run it, one instruction at a time."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping

from skep.abi.contexts import context_for
from skep.diagnostics import Diagnostic
from skep.errors import UsageError
from skep.isa.arithmetic import MASK64, signed
from skep.model.programs import LinkedProgram
from skep.vm.interpreter.host import VmHost, has_failed, keep_failure, raise_failure
from skep.vm.interpreter.machine import MAX_STEPS, Interpreter
from skep.vm.programs import Code, VmProgram
from skep.vm.runtime import Run, runtime

_PROGRAM = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p)
Watch = Callable[[Interpreter, int, list[int]], None]


class InterpretedEntry:
    """A program as a C function that interprets: what ``Run.program`` and prog_arrays hold.

    An exception (a Fault) cannot pass through C: the call returns 0, so does every further one in this thread, and
    ``host.raise_failure()`` raises it afterwards.
    """

    def __init__(self, program: LinkedProgram, maps: Mapping[str, int], memory_size: int | None = None) -> None:
        """``memory_size``: r1 is a buffer of that many bytes instead of a context, r2 its size."""
        self.watch: Watch | None = None
        self.max_steps = MAX_STEPS
        self.steps = 0  # of all runs so far
        self.stack_fill = 0
        self._program = program
        self._maps = maps
        self._memory_size = memory_size
        self._function = _PROGRAM(self._call)
        self.address = ctypes.cast(self._function, ctypes.c_void_p).value or 0

    def _call(self, run_address: int, context: int | None) -> int:
        if has_failed():
            return 0
        try:
            return signed(self._interpret(Run.from_address(run_address), context or 0))
        except BaseException as error:
            keep_failure(error)
            return 0

    def _interpret(self, run: Run, context: int) -> int:
        host = VmHost(self._program, self._maps, run)
        machine = Interpreter(self._program, host, steps_left=self.max_steps, stack_fill=self.stack_fill)
        watch = self.watch
        if watch is not None:
            machine.trace = lambda slot, registers: watch(machine, slot, registers)
        try:
            if self._memory_size is not None:
                host.memory.allow(context, self._memory_size, "memory")
                return machine.run(context, self._memory_size)
            machine.rules = context_for(self._program.prog_type)
            if machine.rules is not None:
                host.allow_context(machine.rules)
            return machine.run(context)
        finally:
            self.steps += self.max_steps - machine.steps_left


class InterpretedProgram(VmProgram):
    """A verified program that is interpreted, with every access checked. Same runs and hooks as native code.

    Raises from every run:
        Fault: the program did what the verifier said it never would; slot, source line and registers are in it.
    """

    def _prepare(self) -> None:
        addresses = {name: memory.address for name, memory in self._maps.items()}
        self._entry = InterpretedEntry(self.verified.linked, addresses, self.memory_size)

    def limit(self, max_steps: int) -> None:
        """Give up a run with StepLimitError after so many instructions."""
        self._entry.max_steps = max_steps

    def watch(self, watch: Watch | None) -> None:
        """Call ``watch(machine, slot, registers)`` before each instruction from now on; None: no more."""
        self._entry.watch = watch

    def code(self, *exports: str) -> Code:
        what = f"program '{self.name}' is interpreted: there is no native code"
        raise UsageError(Diagnostic("E0209", what, help="load it without interpret=True"))

    def tail_target(self) -> tuple[int, object]:
        self._check_open()
        return self._entry.address, self._entry

    def loop(self, symbol: str) -> Callable[[Run, ctypes.Structure], int]:
        self._check_open()
        function, entry = runtime().functions[symbol], self._entry

        def call(run: Run, job: ctypes.Structure) -> int:
            run.program = entry.address
            result = int(function(ctypes.addressof(run), ctypes.addressof(job)))
            raise_failure()
            return result

        return call

    def _call_entry(self, run: Run, context: int) -> int:
        self._check_open()
        result = self._entry._call(ctypes.addressof(run), context)
        raise_failure()
        return result & MASK64
