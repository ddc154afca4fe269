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

    def check(self, arg: Arg, address: int, why: str) -> None:
        """Fault unless a helper may be given this address for a dynptr that it makes, or that is there."""
        if arg.use is MemoryUse.WRITE:
            self._memory.check(address, _SIZE, write=True, why=why)
            return
        self._memory.check(address, _SIZE, write=False, why=why)
        if self._made.get(address) != ctypes.string_at(address, _SIZE):
            raise Fault(f"{why}: there is no dynptr at {address:#x}, or something wrote over it")

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
