"""Dynptrs of an interpreted program: where they lie, and that nobody but the helpers has touched them."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

from skep.abi.signatures import Arg, ArgKind, MemoryUse, ReturnKind, Signature
from skep.vm.interpreter.memory import Fault, Memory

_SIZE = 16  # struct bpf_dynptr


class Dynptrs:
    """The dynptrs that helpers made, by address, as they left them."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._made: dict[int, bytes] = {}
        self._lent: set[int] = set()  # those of C functions that call back: the program may not look into them

    def check(self, arg: Arg, address: int, why: str) -> None:
        """Fault unless a helper may be given this address for a dynptr that it makes, or that is there."""
        if address in self._lent:
            if arg.use is MemoryUse.WRITE:
                raise Fault(f"{why}: the dynptr at {address:#x} is not the program's to make")
            return
        if arg.use is MemoryUse.WRITE:
            self._memory.check(address, _SIZE, write=True, why=why)
            return
        self._memory.check(address, _SIZE, write=False, why=why)
        if self._made.get(address) != ctypes.string_at(address, _SIZE):
            raise Fault(f"{why}: there is no dynptr at {address:#x}, or something wrote over it")

    def lend(self, address: int) -> None:
        """A callback gets one for the time that it runs."""
        self._lent.add(address)
        self._made[address] = ctypes.string_at(address, _SIZE)

    def take_back(self, address: int) -> None:
        """The callback has ended: what it took out of the dynptr is not its any more."""
        self._lent.discard(address)
        self._memory.forget(_memory_of(self._made.pop(address)))

    def follow(self, signature: Signature, args: Sequence[int], result: int) -> None:
        """Remember what a helper did."""
        if signature.returns is ReturnKind.DYNPTR_MEMORY_OR_NULL and result:
            self._memory.allow(result, args[2], _memory_of(self._made[args[0]]))
        for value, arg in zip(args, signature.args or (), strict=False):
            if arg.kind is not ArgKind.DYNPTR:
                continue
            if arg.use is MemoryUse.WRITE:
                self._made[value] = ctypes.string_at(value, _SIZE)
            elif signature.releases is not None:
                self._memory.forget(_memory_of(self._made.pop(value)))


def _memory_of(dynptr: bytes) -> str:
    """The name of its memory's ranges: by the address, which stands first."""
    return f"memory of the dynptr of {int.from_bytes(dynptr[:8], 'little'):#x}"
