"""Live programs and the links that attach them to hooks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Protocol

from skep.diagnostics import Diagnostic
from skep.engine import (
    Described,
    Engine,
    LinkHandle,
    LinkOwner,
    LiveSource,
    PacketRun,
    PacketSource,
    Pinnable,
    ProgramHandle,
    RunResult,
    TextSource,
)
from skep.errors import ClosedError, UsageError
from skep.model.auto_attach import hook_for
from skep.model.hooks import Hook
from skep.model.programs import LinkedProgram, VerifiedProgram

Progress = Callable[[int, int], None]


class Attached(Protocol):
    """What a link belongs to: a program, or a table of them."""

    links: list[Link]

    @property
    def handle(self) -> Any:
        """The engine's side."""

    @property
    def engine(self) -> Engine | None:
        """Where it lives."""


class Link:
    """A program on a hook. Closing it detaches the program."""

    def __init__(self, handle: LinkHandle, hook: Hook, owner: Attached | None = None) -> None:
        self.hook = hook
        self._owner = owner
        self._handle: LinkHandle | None = handle

    @property
    def handle(self) -> LinkHandle:
        """The engine's link; ClosedError after close()."""
        if self._handle is None:
            raise ClosedError(
                Diagnostic("E0001", f"the link to {self.hook} is closed", help="attach the program again")
            )
        return self._handle

    def run(
        self,
        progress: Progress | None = None,
        *,
        duration: float | None = None,
        packets: int | None = None,
        passed: int | None = None,
    ) -> PacketRun:
        """Drive a hook that waits to be driven: a capture file to its end, a live hook to one of the limits or stop().

        A further run of a live hook goes on with the next packet.

        Args:
            progress: told (bytes done, bytes in all; 0 if not known) now and then; (packets, 0) for live hooks.
            duration: seconds (live hooks).
            packets: that the program sees (live hooks).
            passed: packets that pass.

        Raises:
            CaptureError: the capture is broken; no output file is left.
            UsageError: the hook has events of its own.
        """
        handle = self.handle
        if isinstance(handle, LiveSource):
            return handle.run_live(progress, duration=duration, packets=packets, passed=passed)
        if not isinstance(handle, PacketSource):
            raise UsageError(Diagnostic("U0212", f"{self.hook} runs by itself", help="only captures are run"))
        if duration is not None or packets is not None:
            raise UsageError(Diagnostic("U0208", "a capture has no such limit", help="limit the packets that pass"))
        return handle.run(progress) if passed is None else handle.run(progress, passed)

    def stop(self) -> None:
        """End the run of a live hook, from another thread or a signal handler; run() then returns as usual."""
        self._live().stop()

    def status(self) -> PacketRun:
        """How far the run of a live hook is."""
        return self._live().status()

    def _live(self) -> LiveSource:
        handle = self.handle
        if not isinstance(handle, LiveSource):
            raise UsageError(Diagnostic("U0209", f"{self.hook} is not live", help="only PacketSocket, Tap and Xsk are"))
        return handle

    def update(self, program: Attached) -> None:
        """Replace the program or table; no event is seen by neither. The link then belongs to the new one's object."""
        self.handle.update(program.handle)
        if self._owner is not None:
            before, after = self._owner.engine, program.engine
            if before is not after and isinstance(before, LinkOwner) and isinstance(after, LinkOwner):
                after.adopt(self.handle)
                before.release(self.handle)
            self._owner.links.remove(self)
        self._owner = program
        program.links.append(self)

    def info(self) -> Mapping[str, Any]:
        """What the kernel says about it: ``id``, ``type``, ``prog_id`` and what belongs to its kind (kernel engine)."""
        handle = self.handle
        if not isinstance(handle, Described):
            raise self._only_here()
        return handle.info()

    def pin(self, path: str) -> None:
        """Let it live on under a path in a bpffs: close() then leaves it attached (kernel engine)."""
        handle = self.handle
        if not isinstance(handle, Pinnable):
            raise self._only_here()
        handle.pin(path)

    def unpin(self, path: str | None = None) -> None:
        """Take a name away, or (None) all that were given through this object."""
        handle = self.handle
        if isinstance(handle, Pinnable):
            handle.unpin(path)

    def detach(self) -> None:
        """End it, even if it is pinned."""
        handle = self.handle
        if isinstance(handle, Described):
            handle.detach()
        self.close()

    def read(self) -> bytes:
        """For iterators: run the program over everything once; what it wrote with bpf_seq_printf and bpf_seq_write."""
        handle = self.handle
        if not isinstance(handle, TextSource):
            raise UsageError(Diagnostic("U0206", f"{self.hook} has nothing to read", help="only iterators are read"))
        return handle.read()

    def _only_here(self) -> UsageError:
        return UsageError(
            Diagnostic("U0207", f"{self.hook} lives only in this process", help='load it with engine="kernel"')
        )

    def close(self) -> None:
        """Detach (unless it is pinned); a second call does nothing."""
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.close()

    def __enter__(self) -> Link:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Program:
    """A loaded program: proved safe, native, ready to run or attach.

    Attributes:
        linked: the program's code and what belongs to it.
        verified: the program with skep's own proof; None where the engine's verifier judged (Linux).
        links: what it is attached to (closed with the object).
    """

    def __init__(self, program: VerifiedProgram | LinkedProgram, handle: ProgramHandle, engine: Engine) -> None:
        self.verified = program if isinstance(program, VerifiedProgram) else None
        self.linked = program.linked if isinstance(program, VerifiedProgram) else program
        self.links: list[Link] = []
        self._handle: ProgramHandle | None = handle
        self._engine = engine

    @property
    def name(self) -> str:
        """Its name in C."""
        return self.linked.name

    @property
    def engine(self) -> Engine:
        """Where it was loaded."""
        return self._engine

    @property
    def handle(self) -> ProgramHandle:
        """The engine's program; ClosedError after close()."""
        if self._handle is None:
            raise ClosedError(
                Diagnostic("E0002", f"program '{self.name}' is closed", help="use it inside the with block")
            )
        return self._handle

    def run(self, data: bytes = b"", ctx: bytes | None = None, repeat: int = 1) -> RunResult:
        """Run it on one input, as the kernel's BPF_PROG_TEST_RUN does.

        Args:
            data: the packet, for programs that see one.
            ctx: the context's bytes in the layout the program sees (``struct xdp_md``, the tracepoint's record, ...).
            repeat: how often, for measuring; the result is that of the last run.
        """
        return self.handle.run(data, ctx, repeat)

    def attach(self, hook: Hook | None = None) -> Link:
        """Put it on a hook. The link is closed with the object, or earlier by you.

        Args:
            hook: None: the place that the section name says, e.g. ``SEC("tp/sched/sched_process_exec")``.

        Raises:
            UsageError: H0351 the section names no place; the diagnostic says which hook to give.
            EngineError, UnsupportedError: the engine or the kernel cannot attach it there.
        """
        if hook is None:
            hook = hook_for(self.linked)
        link = Link(self._engine.attach(self.handle, hook), hook, self)
        self.links.append(link)
        return link

    def pin(self, path: str) -> None:
        """Give it a name in a bpffs, under which it outlives this process (kernel engine).

        Raises:
            UsageError: the engine has no such names.
        """
        handle = self.handle
        if not isinstance(handle, Pinnable):
            raise UsageError(Diagnostic("U0204", f"program '{self.name}' cannot be pinned", help='use engine="kernel"'))
        handle.pin(path)

    def unpin(self, path: str | None = None) -> None:
        """Take a name away, or (None) all that were given through this object."""
        handle = self.handle
        if isinstance(handle, Pinnable):
            handle.unpin(path)

    def close(self) -> None:
        """Detach and give it back; a second call does nothing."""
        links, self.links = self.links, []
        for link in links:
            link.close()
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.close()

    def __repr__(self) -> str:
        return f"<Program {self.name!r} {self.linked.prog_type.name.lower()}>"
