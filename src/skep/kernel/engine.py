"""The kernel engine: maps and programs of the running Linux. The kernel's verifier decides, not ours."""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from skep.abi.map_types import MapType
from skep.diagnostics import Diagnostic
from skep.engine import LinkHandle, MapHandle, ProgramHandle
from skep.errors import ClosedError, EngineError, UsageError
from skep.kernel.bpf import maps as map_calls
from skep.kernel.bpf import objects
from skep.kernel.bpf.call import BpfCallError
from skep.kernel.fd import Fd
from skep.kernel.maps import pins
from skep.kernel.maps.create import create_map, reuse_map
from skep.kernel.maps.handle import KernelMap
from skep.kernel.maps.tables import TableMap, create_table
from skep.kernel.prepare import Preparation
from skep.kernel.programs import KernelProgram, load
from skep.kernel.refusals import element_refused, errno_name
from skep.kernel.target import kernel_target, kernel_types
from skep.kernel.typeinfo import TypeStore
from skep.model.hooks import Hook
from skep.model.maps import MapSpec, Pinning
from skep.model.programs import LinkedProgram, VerifiedProgram
from skep.model.target import Target

_TOKEN_VARIABLE = "LIBBPF_BPF_TOKEN_PATH"


class Closable(Protocol):
    """What the engine keeps track of."""

    def close(self) -> None:
        """Give it back."""


T = TypeVar("T", bound=Closable)


class KernelEngine:
    """Runs programs in the running Linux. Closing it closes what it made and what is still open."""

    def __init__(
        self,
        target: Target | None = None,
        *,
        pin_root: str | os.PathLike[str] = pins.BPFFS,
        mount_bpffs: bool = False,
        log_level: int = 0,
    ) -> None:
        """Nothing is asked of the kernel yet.

        Args:
            target: what to tell the linker instead of everything that the running kernel tells (other types: --btf).
            pin_root: the bpffs folder for maps that are pinned by name.
            mount_bpffs: mount one there if there is none.
            log_level: ask for the verifier's log of accepted programs, too (1 branches, 2 all, 4 statistics).
        """
        self._given_target = target
        self._pin_root = Path(pin_root)
        self._mount = mount_bpffs
        self._log_level = log_level
        self.types = kernel_types()
        self._store = TypeStore(lambda: self._token.number if self._token is not None else 0)
        self._open: weakref.WeakSet[Closable] = weakref.WeakSet()
        self._closed = False
        self._lock = threading.Lock()

    @cached_property
    def target(self) -> Target:
        """Facts about the running kernel."""
        return self._given_target or kernel_target(self.types)

    @property
    def notes(self) -> list[str]:
        """What the user should know, e.g. that the kernel refused the object's types."""
        return self._store.notes

    def create_map(self, spec: MapSpec) -> KernelMap:
        """Make a map; one that is pinned by name is opened if the pin exists (pin_by_name() makes the pin).

        Raises:
            MapError: M0121 sizes or flags, M0122 too large, M0130 the pin is another kind of map.
            UnsupportedError: E0223 the kernel is too old for it.
            EngineError: E022x not permitted.
        """
        self._check_open()
        if spec.type is MapType.STRUCT_OPS:
            return self._keep(create_table(spec, self.types, self._store, self._token_number()))
        if spec.pinning is Pinning.BY_NAME:
            path = self._pin_path(spec)
            if path.exists():
                return self._keep(reuse_map(spec, pins.open_pin(path, f"map {spec.name}"), str(path)))
        return self._keep(create_map(spec, self._store, self._token_number()))

    def pin_by_name(self, handle: MapHandle) -> None:
        """Give a map that wants it its pin, if it was not opened from there.

        Raises:
            EngineError: E0230 there is no bpffs, E0231 somebody else was faster.
        """
        own = _own_map(handle)
        if own.spec.pinning is not Pinning.BY_NAME or not own.is_new:
            return
        if self._mount:
            pins.mount_bpffs(self._pin_root)
        own.pin(self._pin_path(own.spec))

    def undo_pin(self, handle: MapHandle) -> None:
        """Take the pins away that pin_by_name() made."""
        _own_map(handle).unpin()

    def _pin_path(self, spec: MapSpec) -> Path:
        return self._pin_root / spec.name.replace(".", "_")

    def load_program(self, program: VerifiedProgram, maps: Mapping[str, MapHandle]) -> KernelProgram:
        """Load a program; the kernel verifies it again."""
        return self.load_linked(program.linked, maps)

    def load_linked(
        self, program: LinkedProgram, maps: Mapping[str, MapHandle], extends: ProgramHandle | None = None
    ) -> KernelProgram:
        """Load a program that only the kernel's verifier judges.

        Args:
            maps: every map that the program names.
            extends: for SEC("freplace/..."): the program whose function it replaces.

        Raises:
            RejectedError: V0900 the kernel's verifier said no; ``log`` is what it wrote.
            EngineError, UnsupportedError: E022x.
        """
        self._check_open()
        used = {name: _own_map(maps[name]) for name in program.maps}
        preparation = Preparation(program, used, self.types)
        try:
            base = _own_program(extends).fd if extends is not None else None
            request = preparation.request(self._store, self._token_number(), base)
            loaded = self._keep(load(program, request, self._log_level))
        finally:
            preparation.close()
        self._store.notes.extend(f"program '{program.name}': {note}" for note in loaded.notes)
        return loaded

    def attach(self, program: ProgramHandle, hook: Hook) -> LinkHandle:
        """Put a program on a hook.

        Raises:
            EngineError, UnsupportedError, UsageError: H03xx, see skep.kernel.links.
        """
        from skep.kernel.links.attach import attach  # late: programs that are only run do not need it

        return self._keep(attach(self, _own_program(program), hook))

    def adopt(self, link: LinkHandle) -> None:
        """Own a link from now on: it runs a program of this engine."""
        self._keep(link)

    def release(self, link: LinkHandle) -> None:
        """Own a link no more: another engine has adopted it."""
        with self._lock:
            self._open.discard(link)

    def set_inner(self, outer: MapHandle, key: bytes, inner: MapHandle) -> None:
        """Put a map into an array_of_maps or hash_of_maps, which keeps it."""
        self._put(_own_map(outer), key, _own_map(inner).fd)

    def fill_table(self, table: MapHandle, programs: Mapping[str, ProgramHandle]) -> None:
        """Say which programs stand in for the members of a table (struct_ops), by their names in C."""
        own = _own_map(table)
        if not isinstance(own, TableMap):
            raise UsageError(Diagnostic("E0234", f"map '{own.spec.name}' is no table of functions"))
        own.fill({name: _own_program(program) for name, program in programs.items()})

    def set_program(self, array: MapHandle, index: int, program: ProgramHandle) -> None:
        """Put a program into a prog_array, which keeps it."""
        self._put(_own_map(array), index.to_bytes(4, self.byte_order), _own_program(program).fd)

    def _put(self, outer: KernelMap, key: bytes, member: Fd) -> None:
        try:
            map_calls.update(outer.fd.number, key, member.number.to_bytes(4, self.byte_order))
        except BpfCallError as error:
            raise element_refused(error, outer.spec) from None

    @property
    def byte_order(self) -> Literal["little", "big"]:
        """Of this machine."""
        return sys.byteorder

    # ---- tokens ----

    @cached_property
    def _token(self) -> Fd | None:
        """A BPF token (6.9), where LIBBPF_BPF_TOKEN_PATH names a bpffs that delegates rights."""
        path = os.environ.get(_TOKEN_VARIABLE)
        if not path:
            return None
        try:
            folder = os.open(path, os.O_DIRECTORY | os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            what = f"{_TOKEN_VARIABLE}={path} cannot be opened: {error.strerror}"
            raise EngineError(Diagnostic("E0233", what, help="name the root of a bpffs")) from None
        try:
            return objects.create_token(folder)
        except BpfCallError as error:
            what = f"{_TOKEN_VARIABLE}={path} gives no BPF token"
            why = "a token needs Linux 6.9, a user namespace, and a bpffs mounted with delegate_cmds=... for it"
            raise EngineError(
                Diagnostic(
                    "E0233", what, why=(why,), help="unset the variable to go without", kernel=errno_name(error.number)
                )
            ) from None
        finally:
            os.close(folder)

    def _token_number(self) -> int:
        return self._token.number if self._token is not None else 0

    # ---- lifetime ----

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError(Diagnostic("E0211", "the engine is closed", help="make a new KernelEngine()"))

    def _keep(self, made: T) -> T:
        with self._lock:
            if self._closed:
                made.close()
                self._check_open()
            self._open.add(made)
        return made

    def close(self) -> None:
        """Close everything it made; a second call does nothing."""
        with self._lock:
            self._closed = True
            left = list(self._open)
            self._open.clear()
        # Links before their programs, programs before their maps.
        for thing in sorted(left, key=lambda made: (isinstance(made, KernelMap), isinstance(made, KernelProgram))):
            thing.close()
        self._store.close()
        token = self.__dict__.pop("_token", None)
        if token is not None:
            token.close()


def _own_map(handle: MapHandle) -> KernelMap:
    if not isinstance(handle, KernelMap):
        raise UsageError(Diagnostic("E0212", f"map '{handle.spec.name}' belongs to another engine"))
    return handle


def _own_program(handle: ProgramHandle) -> KernelProgram:
    if not isinstance(handle, KernelProgram):
        raise UsageError(Diagnostic("E0213", "the program belongs to another engine"))
    return handle
