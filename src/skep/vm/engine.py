"""The vm engine: maps in shared memory, programs as native code of this process, captures as hooks. Any OS user may."""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from skep.abi.map_types import MapType
from skep.diagnostics import Diagnostic
from skep.engine import LinkHandle, MapHandle, ProgramHandle
from skep.errors import ClosedError, UnsupportedError, UsageError
from skep.model.hooks import Hook, PacketSocket, Pcap, Tap, Xsk
from skep.model.maps import MapSpec
from skep.model.programs import VerifiedProgram
from skep.model.target import Target
from skep.vm.kernel_only import refuse_kernel_only
from skep.vm.maps import VmMap, create_map
from skep.vm.maps.references import ReferenceMap
from skep.vm.programs import MapMemory, VmProgram
from skep.vm.target import vm_target


class Closable(Protocol):
    """What the engine keeps track of."""

    def close(self) -> None:
        """Give it back."""


#: Attaches an XDP program that sends a queue to an AF_XDP socket: (ifindex, queue, descriptor, generic mode).
Redirector = Callable[[int, int, int, bool], Closable]


T = TypeVar("T", bound=Closable)


class VmEngine:
    """Runs programs in this process. Closing it closes what it made and what is still open."""

    def __init__(
        self, target: Target | None = None, *, interpret: bool = False, redirector: Redirector | None = None
    ) -> None:
        """
        Args:
            target: what to tell linker and verifier instead of :func:`vm_target`, e.g. with a kernel's types.
            interpret: run programs in the interpreter, every access checked, instead of as native code.
            redirector: attaches the kernel's XDP program that :class:`skep.hooks.Xsk` needs; None: there is no Xsk.
        """
        self._redirector = redirector
        self._target = target or vm_target()
        self._interpret = interpret
        self._open: weakref.WeakSet[Closable] = weakref.WeakSet()
        self._closed = False
        self._lock = threading.Lock()

    @property
    def target(self) -> Target:
        """Facts about the vm."""
        return self._target

    def create_map(self, spec: MapSpec) -> VmMap:
        """Make a map.

        Raises:
            MapError, UnsupportedError: the vm has no such map, or not with these sizes.
        """
        return self._keep(create_map(spec))

    def load_program(
        self, program: VerifiedProgram, maps: Mapping[str, MapHandle], memory_size: int | None = None
    ) -> VmProgram:
        """Make a program ready to run.

        Args:
            maps: every map that the program names.
            memory_size: the program was verified with ``MemoryEntry(memory_size)``.

        Raises:
            UnsupportedError: it uses something that only a kernel has.
        """
        refuse_kernel_only(program)
        used = {name: _own_map(maps[name]) for name in program.linked.maps}
        for handle in used.values():
            if isinstance(handle, ReferenceMap) and handle.spec.type is MapType.PROG_ARRAY:
                handle.claim(program.linked.prog_type)
        memory = {name: MapMemory(handle.address, handle.size) for name, handle in used.items()}
        kept = tuple(handle.block for handle in used.values())
        kind: type[VmProgram] = VmProgram
        if self._interpret:
            from skep.vm.interpreter import InterpretedProgram  # late: most engines never interpret

            kind = InterpretedProgram
        return self._keep(kind(program, memory, keep=kept, memory_size=memory_size))

    def attach(self, program: ProgramHandle, hook: Hook) -> LinkHandle:
        """Put a program on a capture file, or on live packets.

        Raises:
            UnsupportedError: programs of this type see no packets.
            CaptureError, UsageError: the file cannot be read.
        """
        # The hooks are imported late: programs that are only run do not need them.
        if isinstance(hook, Pcap):
            from skep.vm.hooks.pcap import PcapLink

            return self._keep(PcapLink(_own_program(program), hook))
        if isinstance(hook, PacketSocket | Tap | Xsk) and sys.platform != "linux":
            what = f"there are no live packets on {sys.platform}"
            raise UnsupportedError(Diagnostic("H0613", what, help="attach it to skep.hooks.Pcap(path)"))
        if isinstance(hook, PacketSocket):
            from skep.vm.hooks.packet_socket import attach_packet_socket

            return self._keep(attach_packet_socket(_own_program(program), hook))
        if isinstance(hook, Tap):
            from skep.vm.hooks.tap import attach_tap

            return self._keep(attach_tap(_own_program(program), hook))
        if isinstance(hook, Xsk):
            from skep.vm.hooks.xsk import attach_xsk

            return self._keep(attach_xsk(_own_program(program), hook, self._redirector))
        what = f"the vm engine has no hook {type(hook).__name__}"
        raise UsageError(Diagnostic("E0210", what, help="attach it to skep.hooks.Pcap(path)"))

    def set_inner(self, outer: MapHandle, key: bytes, inner: MapHandle) -> None:
        """Put a map into an array_of_maps or hash_of_maps; its memory lives on in there until it is replaced."""
        _own_map(outer).set_inner(key, _own_map(inner))

    def set_program(self, array: MapHandle, index: int, program: ProgramHandle) -> None:
        """Put a program into a prog_array; its code lives on in there until it is replaced."""
        _own_map(array).set_program(index, _own_program(program))

    def _keep(self, made: T) -> T:
        with self._lock:
            if self._closed:
                made.close()
                raise ClosedError(Diagnostic("E0211", "the engine is closed", help="make a new VmEngine()"))
            self._open.add(made)
        return made

    def close(self) -> None:
        """Close everything it made; a second call does nothing."""
        with self._lock:
            self._closed = True
            left = list(self._open)
            self._open.clear()
        # Links before their programs, programs before their maps.
        for thing in sorted(left, key=lambda made: (isinstance(made, VmMap), isinstance(made, VmProgram))):
            thing.close()


def _own_map(handle: MapHandle) -> VmMap:
    if not isinstance(handle, VmMap):
        raise UsageError(Diagnostic("E0212", f"map '{handle.spec.name}' belongs to another engine"))
    return handle


def _own_program(handle: ProgramHandle) -> VmProgram:
    if not isinstance(handle, VmProgram):
        raise UsageError(Diagnostic("E0213", "the program belongs to another engine"))
    return handle
