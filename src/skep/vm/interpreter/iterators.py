"""Iterators of an interpreted program: where they lie, and that nobody but their functions has touched them."""

from __future__ import annotations

import ctypes

from skep.vm.interpreter.memory import Fault, Memory

_SIZE = 8  # struct bpf_iter_num


class Iterators:
    """The iterators that were made and not destroyed, by address, as they were left."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._made: dict[int, bytes] = {}

    def check(self, function: str, address: int) -> None:
        """Fault unless the function may be given this address."""
        self._memory.check(address, _SIZE, write=True, why=function)
        if not function.endswith("_new") and self._made.get(address) != ctypes.string_at(address, _SIZE):
            raise Fault(f"{function}: there is no iterator at {address:#x}, or something wrote over it")

    def follow(self, function: str, address: int) -> None:
        """Remember what the function did."""
        if function.endswith("_destroy"):
            del self._made[address]
        else:
            self._made[address] = ctypes.string_at(address, _SIZE)
