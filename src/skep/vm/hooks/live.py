"""A program on live packets: native loops in threads of their own; Python waits, counts, hands over new programs."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from ctypes import Structure, addressof, c_int64

from skep.diagnostics import Diagnostic
from skep.engine import PacketRun, ProgramHandle
from skep.errors import ClosedError, UsageError
from skep.model.hooks import LiveHook
from skep.vm.hooks.live_worker import Worker
from skep.vm.hooks.output import check_output, opened_output
from skep.vm.hooks.pcap import loop_symbol, packet_program
from skep.vm.hooks.ports import Devices, Port
from skep.vm.programs import VmProgram
from skep.vm.runtime import Run

Progress = Callable[[int, int], None]
_PROGRESS_S = 0.1


class LiveLink:
    """A program attached to rings or devices: a skep.engine.LinkHandle and LiveSource.

    Packets are received from the time it is made; run_live() takes them up, ends, and may be called again.
    """

    def __init__(
        self, program: ProgramHandle, hook: LiveHook, ports: Sequence[Port], devices: Devices, *, transmit: bool
    ) -> None:
        """Takes over ``ports`` and ``devices``: they are closed with the link, and when this fails."""
        self.hook = hook
        self.ports = ports
        self.devices = devices
        self.reason = ""  # why the run ends; "": it goes on
        self._lock = threading.RLock()  # stop() may come from a signal handler, inside of anything here
        self._workers: list[Worker] = []
        self._runner: threading.Thread | None = None
        self._idle = threading.Event()
        self._idle.set()
        self._changed = threading.Event()
        self._closed = False
        self._stop_first = False
        self._started = 0.0
        self._lost = 0
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            self._program = packet_program(program)
            check_output(hook.out)
            live_loop(self._program)  # compiled before the packets come
            for port in ports:
                port.live.transmit = transmit
        except BaseException:
            self._give_back()
            raise

    @property
    def program(self) -> VmProgram:
        """The program that the next packets see."""
        return self._program

    @property
    def wake(self) -> int:
        """A descriptor that becomes readable when the run ends."""
        return self._wake

    def update(self, program: ProgramHandle) -> None:
        """Replace the program. It is compiled first; then each thread takes it between two packets: none is skipped.

        Raises:
            UsageError: H0204: it is of another type.
        """
        new = packet_program(program)
        if new.prog_type is not self._program.prog_type:
            what = f"a {self._program.prog_type.name.lower()} program cannot be replaced by another type"
            raise UsageError(Diagnostic("H0204", what, help="attach it anew"))
        live_loop(new)
        self._program = new

    def run_live(
        self,
        progress: Progress | None = None,
        *,
        duration: float | None = None,
        packets: int | None = None,
        passed: int | None = None,
    ) -> PacketRun:
        """Run until a limit is reached, stop() is called or the interface is gone; without limits, until then.

        The output is written whole or, when an exception ends the run, not at all.

        Raises:
            UsageError: H0607: limits that cannot be; H0608: it runs already; H0202: the output cannot be written.
            ClosedError: after close().
        """
        _check_limits(duration, packets, passed)
        self._begin()
        limit = packets if packets is not None else passed
        tickets = c_int64(limit or 0)
        try:
            with opened_output(self.hook.out) as sink:
                output_lock = threading.Lock()
                self._workers = [Worker(self, port, sink, output_lock, self._changed) for port in self.ports]
                for worker in self._workers:
                    worker.port.reset()
                    worker.port.live.tickets = None if limit is None else addressof(tickets)
                    worker.port.live.count_passed = packets is None
                self._started = time.perf_counter()
                self._drive(progress, duration)
                for worker in self._workers:
                    worker.finish()
                if self._workers:
                    sink.finish(self._workers[0].capture)
                return self.status()
        finally:
            self._end_run()

    def _begin(self) -> None:
        with self._lock:
            if self._closed:
                raise ClosedError(Diagnostic("H0205", "the program is detached", help="attach it again"))
            if self._runner is not None:
                raise UsageError(Diagnostic("H0608", "the link runs already", help="stop() it, or make a second link"))
            self._runner = threading.current_thread()
            self._idle.clear()
            self.reason = "stopped" if self._stop_first else ""
            self._stop_first = False
            self._changed.clear()
            self._lost = 0
            _drain(self._wake)

    def _end_run(self) -> None:
        with self._lock:
            self._runner = None
            if self._closed:
                self._give_back()
            self._idle.set()

    def _drive(self, progress: Progress | None, duration: float | None) -> None:
        """Start the threads and wait for them; an exception here (Ctrl-C) or in one of them ends all."""
        end = None if duration is None else self._started + duration
        try:
            for worker in self._workers:
                worker.start()
            while any(worker.is_alive() for worker in self._workers) and not self.reason:
                left = None if end is None else max(0.0, end - time.perf_counter())
                step = _PROGRESS_S if progress is not None else None
                times = [t for t in (left, step) if t is not None]
                self._changed.wait(min(times) if times else None)
                if end is not None and time.perf_counter() >= end:
                    self.finish("duration")
                if progress is not None:
                    progress(sum(int(worker.port.live.packets) for worker in self._workers), 0)
        finally:
            self.finish("stopped")
            for worker in self._workers:
                if worker.ident is not None:
                    worker.join()
        for worker in self._workers:
            if worker.error is not None:
                raise worker.error

    def finish(self, reason: str) -> None:
        """End the run, for the first reason that comes."""
        with self._lock:
            if not self.reason:
                self.reason = reason
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)
        self._changed.set()

    def stop(self) -> None:
        """End the run after the packets that are there already. Before the first run: that one ends at once; between
        runs: nothing changes.
        """
        if self._runner is not None:
            self.finish("stopped")
        elif not self._started:
            self._stop_first = True

    def status(self) -> PacketRun:
        """How far the run is (or how the last one ended)."""
        verdicts: Counter[str] = Counter()
        workers, sent, not_sent = self._workers, 0, 0
        for worker in workers:
            verdicts.update(worker.verdicts())
            good, bad = worker.port.sent()
            sent, not_sent = sent + good, not_sent + bad
        with self._lock:
            if self.ports and self.ports[0].fd >= 0:
                self._lost += sum(port.lost() for port in self.ports)
        return PacketRun(
            packets=sum(int(worker.port.live.packets) for worker in workers),
            bytes=sum(int(worker.port.live.bytes) for worker in workers),
            verdicts=dict(verdicts),
            passed=sum(int(worker.job.passed) for worker in workers),
            seconds=time.perf_counter() - self._started,
            lost=self._lost,
            sent=sent,
            not_sent=not_sent,
            ended=self.reason or "running",
        )

    def close(self) -> None:
        """Detach; a run that is going on ends first. A second call does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            runner = self._runner
            if runner is None:
                self._give_back()
                return
        self.finish("stopped")
        if runner is not threading.current_thread():
            self._idle.wait()

    def _give_back(self) -> None:
        for port in self.ports:
            port.close()
        self.devices.close()
        wake, self._wake = self._wake, -1
        if wake >= 0:
            os.close(wake)


def live_loop(program: VmProgram) -> Callable[[Run, Structure], int]:
    """The native loop over live packets, with the program in it."""
    return program.loop(loop_symbol(program, "skep_live"))


def _check_limits(duration: float | None, packets: int | None, passed: int | None) -> None:
    if packets is not None and passed is not None:
        raise UsageError(Diagnostic("H0607", "packets and passed are limits of the same kind", help="give one of them"))
    for name, value in {"duration": duration, "packets": packets, "passed": passed}.items():
        if value is not None and value < 0:
            raise UsageError(Diagnostic("H0607", f"{name} cannot be {value}"))


def _drain(fd: int) -> None:
    try:
        os.eventfd_read(fd)
    except BlockingIOError:
        return
