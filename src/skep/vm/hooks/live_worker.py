"""One thread of a live link: it waits for packets, lets the native loop run, and writes what the loop put out."""

from __future__ import annotations

import ctypes
import select
import threading
from ctypes import addressof
from typing import Protocol

from skep.vm.hooks import interfaces, live_layout
from skep.vm.hooks.layout import Capture, Job, Output
from skep.vm.hooks.output import Sink
from skep.vm.hooks.pcap import loop_symbol
from skep.vm.hooks.ports import Devices, Port
from skep.vm.hooks.verdicts import RULES, counts
from skep.vm.programs import VmProgram
from skep.vm.runs import runs

_MAX_PACKET, _SKB_MAX = 262144, 65536
_WORK = 1024 + _MAX_PACKET + 2 * _SKB_MAX + 4096  # as for captures: headroom, packet, growth
_BUDGET = 16384  # packets between two looks at what Python wants
_GONE_MS = 1000  # how often to look whether the interface is still there, while nothing comes


class Owner(Protocol):
    """The link that a worker works for."""

    reason: str
    devices: Devices

    @property
    def program(self) -> VmProgram:
        """The program that the next packets see."""

    @property
    def wake(self) -> int:
        """Readable when the run ends."""

    def finish(self, reason: str) -> None:
        """End the run."""


class Worker(threading.Thread):
    """A thread for a port.

    Attributes:
        error: what ended it before its time.
        capture: tells sinks the link type and the clock's unit.
    """

    def __init__(
        self, link: Owner, port: Port, sink: Sink, output_lock: threading.Lock, changed: threading.Event
    ) -> None:
        super().__init__(name=f"skep {port.device.name}", daemon=True)
        self.port = port
        self.error: BaseException | None = None
        self._link = link
        self._sink = sink
        self._output_lock = output_lock
        self._changed = changed
        program = link.program
        self._prog_type, self._attach_type = program.prog_type, program.verified.linked.attach_type
        rule = RULES[program.prog_type]
        self.capture = Capture(format=1, nanoseconds=1, link_type=port.device.link_type)
        self._buffer = ctypes.create_string_buffer(sink.size) if sink.size else None
        self._output = Output(
            buffer=addressof(self._buffer) if self._buffer is not None else None,
            blocks=sink.blocks,
            snaplen=sink.snaplen,
        )
        sink.prepare(self._output)
        self._work = ctypes.create_string_buffer(_WORK)
        self.job = Job(
            capture=addressof(self.capture),
            output=addressof(self._output),
            work=addressof(self._work),
            work_size=_WORK,
            prog_type=int(program.prog_type),
            ifindex=port.device.ifindex,
            pass_mask=rule.mask,
            pass_others=rule.others,
        )
        port.live.job = addressof(self.job)
        port.live.budget = _BUDGET

    def verdicts(self) -> dict[str, int]:
        """How often each verdict was returned."""
        return counts(self.job, self._prog_type, self._attach_type)

    def run(self) -> None:
        """The thread."""
        try:
            self._drive()
        except BaseException as error:
            self.error = error
            self._link.finish("failed")
        finally:
            self._changed.set()

    def _drive(self) -> None:
        link, live = self._link, self.port.live
        poller = select.poll()
        poller.register(self.port.fd, select.POLLIN)
        poller.register(link.wake, select.POLLIN)
        program: VmProgram | None = None
        settled = False
        while True:
            if link.program is not program:
                program = link.program
                loop = program.loop(loop_symbol(program, "skep_live"))
            with runs().take() as run:  # for one turn only: per-CPU numbers are few, and old code wants to go
                status = loop(run, live)
            if self._output.length and status != live_layout.AGAIN:
                self._write()
            if status == live_layout.ENOUGH:
                link.finish("packets")
                return
            if status == live_layout.FAILED:
                link.finish("gone")
                return
            if status == live_layout.SENDER:
                self.port.add_outlet(link.devices.outlet(int(live.wanted_ifindex)))
            elif status == live_layout.AGAIN and link.reason:
                return
            elif status == live_layout.EMPTY:
                if link.reason:
                    if settled:
                        return
                    settled = True
                    self._settle()
                else:
                    self._wait(poller)

    def _wait(self, poller: select.poll) -> None:
        """Until there are packets, or the run ends."""
        events = poller.poll(_GONE_MS)
        if any(fd == self.port.fd and event & ~select.POLLIN for fd, event in events):
            self.port.clear_error()
        if (not events or events[0][1] & ~select.POLLIN) and not interfaces.exists(self.port.device.ifindex):
            self._link.finish("gone")

    def _settle(self) -> None:
        """Packets that came before the end may still be on their way through the kernel."""
        if self.port.settle_ms:
            last = select.poll()
            last.register(self.port.fd, select.POLLIN)
            last.poll(self.port.settle_ms)

    def _write(self) -> None:
        with self._output_lock:
            self._sink.take(self._output, self.capture)

    def finish(self) -> None:
        """After the thread: write what is left."""
        if self._output.length:
            self._write()
