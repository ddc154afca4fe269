"""Attached programs: a bpf_link, several of them as one, or a place that knows no links."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Protocol

from skep.diagnostics import Diagnostic
from skep.engine import ProgramHandle
from skep.errors import ClosedError, EngineError, UnsupportedError, UsageError
from skep.kernel.bpf import links, objects
from skep.kernel.bpf.attr import ProgInfo
from skep.kernel.fd import Fd
from skep.kernel.links.info import read_link
from skep.kernel.links.places import Attachable
from skep.kernel.links.refusals import explained
from skep.model.hooks import Hook

Path_ = str | os.PathLike[str]
Make = Callable[[Attachable], Fd]


class Attached(Protocol):
    """What every attached program can do (engine.LinkHandle, Pinnable, Described)."""

    def update(self, program: ProgramHandle) -> None:
        """Replace the program: no event is seen by neither."""

    def detach(self) -> None:
        """End the attachment, pinned or not."""

    def pin(self, path: Path_) -> None:
        """Let it live on under a name in a bpffs."""

    def unpin(self, path: Path_ | None = None) -> None:
        """Remove a name, or (None) all."""

    def info(self) -> Mapping[str, Any]:
        """What the kernel says about it."""

    def close(self) -> None:
        """Give it back; detaches unless it is pinned."""


def own(program: ProgramHandle | Attachable) -> Attachable:
    """A program of this engine.

    Raises:
        UsageError: E0213, it belongs to another one.
    """
    if not isinstance(getattr(program, "fd", None), Fd):
        raise UsageError(
            Diagnostic("E0213", "the program belongs to another engine", help='load it with engine="kernel"')
        )
    return program  # type: ignore[return-value]


def prog_id(program: int) -> int:
    """The kernel's number of a loaded program."""
    return int(objects.read_info(program, ProgInfo()).id)


def name_of_program(program: Attachable) -> str:
    """Its name in C."""
    return program.linked.name


class KernelLink:
    """A bpf_link.

    ``make`` is for kinds whose program the kernel cannot replace in a link: update() then makes a second link and only
    then gives up the first, so that an event in between is seen by both and none by neither.
    """

    def __init__(self, fd: Fd, hook: Hook, make: Make | None = None) -> None:
        self.fd = fd
        self.hook = hook
        self._make = make
        self._pins: list[Path] = []

    @property
    def pins(self) -> tuple[Path, ...]:
        """Where it is pinned by us."""
        return tuple(self._pins)

    def update(self, program: ProgramHandle) -> None:
        """Replace the program atomically.

        Raises:
            EngineError: H0314, the place is gone; H0313, the program does not fit.
        """
        new = own(program)
        with explained(self.hook, name_of_program(new)):
            if self._make is None:
                links.update(self.fd.number, new.fd.number)
                return
            if read_link(self.fd.number)["prog_id"] == prog_id(new.fd.number):
                return  # it is there already; many hooks refuse the same program twice
            made = self._make(new)
            try:
                for path in self._pins:
                    _repin(made, path)
            except OSError:
                made.close()
                raise
        old, self.fd = self.fd, made
        old.close()

    def detach(self) -> None:
        """End it now, even if it is pinned or another process holds it. Kinds that cannot are unpinned and closed."""
        try:
            links.detach(self.fd.number)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOLINK):
                raise EngineError(Diagnostic("H0317", f"cannot detach {self.hook}: {error.strerror}")) from None
        self.unpin()
        self.close()

    def pin(self, path: Path_) -> None:
        """Let it live on under a path in a bpffs, beyond this process.

        Raises:
            EngineError: H0318, the path is taken, or not in a bpffs.
        """
        try:
            objects.pin(self.fd.number, path)
        except OSError as error:
            help = "mount one: mount -t bpf bpf /sys/fs/bpf" if error.errno in (errno.EPERM, errno.EINVAL) else None
            raise EngineError(
                Diagnostic("H0318", f"cannot pin the link at '{os.fspath(path)}': {os.strerror(error.errno or 0)}",
                           why=("pins live in a file system of type bpf",), help=help)
            ) from None  # fmt: skip
        self._pins.append(Path(path))

    def unpin(self, path: Path_ | None = None) -> None:
        """Remove a name, or (None) all that pin() made."""
        for pinned in [Path(path)] if path is not None else list(self._pins):
            pinned.unlink(missing_ok=True)
            if pinned in self._pins:
                self._pins.remove(pinned)

    def info(self) -> Mapping[str, Any]:
        """What the kernel says: id, type, prog_id, and what belongs to the kind (names as bpftool's JSON)."""
        return read_link(self.fd.number)

    def fileno(self) -> int:
        """The link's descriptor."""
        return self.fd.number

    def close(self) -> None:
        """Give it back: detaches, unless it is pinned. A second call does nothing."""
        self.fd.close()


class IteratorLink(KernelLink):
    """A link of an iterator: reading it runs the program."""

    def read(self) -> bytes:
        """Run over everything once, and return what the program wrote."""
        with explained(self.hook, "iterator"), links.create_iterator(self.fd.number) as run:
            pieces: list[bytes] = []
            while True:
                try:
                    piece = os.read(run.number, 1 << 16)
                except OSError as error:
                    if error.errno == errno.EAGAIN:  # the kernel asks to come back (after a million silent objects)
                        continue
                    raise
                if not piece:
                    return b"".join(pieces)
                pieces.append(piece)


class LinkGroup:
    """Several links that are one to the user: a sampled event on each CPU, a static probe at several places."""

    def __init__(self, members: Sequence[Attached], hook: Hook, release: Callable[[], None] | None = None) -> None:
        self.members = list(members)
        self.hook = hook
        self._release = release

    def update(self, program: ProgramHandle) -> None:
        """Replace the program in one after the other; each replacement loses nothing."""
        for member in self.members:
            member.update(program)

    def detach(self) -> None:
        """End all of them."""
        self._for_all("detach")

    def pin(self, path: Path_) -> None:
        """Pin them as PATH, PATH.1, PATH.2, ..."""
        with ExitStack() as undo:
            for number, member in enumerate(self.members):
                member.pin(f"{os.fspath(path)}.{number}" if number else path)
                undo.callback(member.unpin)
            undo.pop_all()

    def unpin(self, path: Path_ | None = None) -> None:
        """Remove the names."""
        for number, member in enumerate(self.members):
            member.unpin(f"{os.fspath(path)}.{number}" if path is not None and number else path)

    def info(self) -> Mapping[str, Any]:
        """Of the first; ``members`` has all."""
        infos = [member.info() for member in self.members]
        return {**(infos[0] if infos else {}), "members": infos}

    def close(self) -> None:
        """Give all back."""
        self._for_all("close")

    def _for_all(self, verb: str) -> None:
        members, self.members = self.members, []
        release, self._release = self._release, None
        with ExitStack() as stack:
            if release is not None:
                stack.callback(release)
            for member in members:
                stack.callback(getattr(member, verb))


class PlainAttachment:
    """A program at a place that knows no links (old kernels, sockets). It cannot be pinned.

    Args:
        replace: put another program (by descriptor) there instead of this one, atomically.
        remove: take this program (by descriptor) away; OSErrors for a place that is gone are ignored.
    """

    def __init__(
        self,
        program: Attachable,
        hook: Hook,
        replace: Callable[[int, int], None],
        remove: Callable[[int], None],
        release: Callable[[], None] = lambda: None,
    ) -> None:
        # A descriptor of our own: the program may be closed before the link, and removing names it.
        self._program: Fd | None = _copy(program)
        self.hook = hook
        self._replace = replace
        self._remove = remove
        self._release = release

    def update(self, program: ProgramHandle) -> None:
        """Replace the program atomically."""
        new = own(program)
        current = self._current()
        with explained(self.hook, name_of_program(new)):
            copy = _copy(new)
            try:
                self._replace(current.number, copy.number)
            except BaseException:
                copy.close()
                raise
        self._program = copy
        current.close()

    def detach(self) -> None:
        """The same as close()."""
        self.close()

    def pin(self, path: Path_) -> None:
        """Not possible: UnsupportedError H0316."""
        raise UnsupportedError(
            Diagnostic(
                "H0316",
                f"{self.hook} cannot be pinned on this kernel",
                why=("it is attached without a bpf_link",),
                help="keep the process running; see the hook's documentation for the kernel that has links for it",
            )
        )

    def unpin(self, path: Path_ | None = None) -> None:
        """Nothing is pinned."""

    def info(self) -> Mapping[str, Any]:
        """The program's id; there is no link to ask."""
        return {"id": 0, "type": "none", "prog_id": prog_id(self._current().number)}

    def close(self) -> None:
        """Take the program away; a second call does nothing."""
        program, self._program = self._program, None
        if program is None:
            return
        try:
            with suppress(OSError):  # the place is gone, or someone else put another program there
                self._remove(program.number)
        finally:
            program.close()
            self._release()

    def _current(self) -> Fd:
        if self._program is None:
            raise ClosedError(Diagnostic("E0001", f"the link to {self.hook} is closed", help="attach it again"))
        return self._program


def _copy(program: Attachable) -> Fd:
    return Fd(os.dup(program.fd.number), f"program {name_of_program(program)}")


def _repin(fd: Fd, path: Path) -> None:
    """Give a pinned name to another object without a moment in which there is none."""
    beside = path.with_name(f"{path.name}~{os.getpid()}")
    objects.pin(fd.number, beside)
    os.rename(beside, path)
