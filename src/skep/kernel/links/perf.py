"""Perf events as hooks: perf_event_open(2), then a link (5.15) or an ioctl (4.7)."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

from skep.abi.prog_types import AttachType
from skep.diagnostics import Diagnostic
from skep.engine import ProgramHandle
from skep.errors import UnsupportedError
from skep.kernel.bpf import links
from skep.kernel.bpf.attr import S32, U16, U32, U64
from skep.kernel.bpf.links import LinkRequest
from skep.kernel.fd import Fd
from skep.kernel.links.handle import Attached, KernelLink, Path_, name_of_program, own, prog_id
from skep.kernel.links.places import Attachable
from skep.kernel.links.refusals import explained
from skep.model.hooks import Hook

_NUMBERS: Final = {
    "x86_64": 298, "aarch64": 241, "riscv64": 241, "loongarch64": 241, "ppc64le": 319, "ppc64": 319, "s390x": 331,
    "armv7l": 364, "armv6l": 364, "i686": 336,
}  # fmt: skip
TYPE_HARDWARE, TYPE_SOFTWARE, TYPE_TRACEPOINT = 0, 1, 2
IOC_ENABLE, IOC_DISABLE, IOC_SET_BPF = 0x2400, 0x2401, 0x40042408
FLAG_FD_CLOEXEC: Final = 8
SOURCES: Final = Path("/sys/bus/event_source/devices")
_FREQUENCY_BIT: Final = 1 << 10


class PerfEventAttr(ctypes.Structure):
    """struct perf_event_attr, version 5 (112 bytes); ``config1`` and ``config2`` are names and offsets for probes."""

    _fields_: ClassVar = [
        ("type", U32),
        ("size", U32),
        ("config", U64),
        ("sample_period", U64),
        ("sample_type", U64),
        ("read_format", U64),
        ("bits", U64),
        ("wakeup_events", U32),
        ("bp_type", U32),
        ("config1", U64),
        ("config2", U64),
        ("branch_sample_type", U64),
        ("sample_regs_user", U64),
        ("sample_stack_user", U32),
        ("clockid", S32),
        ("sample_regs_intr", U64),
        ("aux_watermark", U32),
        ("sample_max_stack", U16),
        ("reserved", U16),
    ]


@dataclass(frozen=True, slots=True)
class Event:
    """What perf_event_open(2) is asked for.

    Attributes:
        name: for probes: the function or file (config1). ``config2``: the offset or address.
        period: a sample every so many events; ``frequency`` instead: samples a second.
        pid, cpu: -1: all; not both.
    """

    type: int
    config: int = 0
    name: str = ""
    config2: int = 0
    sample_type: int = 0
    period: int = 0
    frequency: int = 0
    wakeup_events: int = 0
    pid: int = -1
    cpu: int = 0


def open_event(event: Event) -> Fd:
    """perf_event_open(2); the event stands still until it is enabled or a program is attached.

    Raises:
        OSError: with the kernel's errno.
    """
    machine = platform.machine()
    if machine not in _NUMBERS:
        raise OSError(errno.ENOSYS, f"perf_event_open is not known on {machine}")
    name = ctypes.create_string_buffer(os.fsencode(event.name)) if event.name else None
    attr = PerfEventAttr(
        type=event.type,
        size=ctypes.sizeof(PerfEventAttr),
        config=event.config,
        sample_period=event.frequency or event.period,
        sample_type=event.sample_type,
        bits=_FREQUENCY_BIT if event.frequency else 0,
        wakeup_events=event.wakeup_events,
        config1=ctypes.addressof(name) if name is not None else 0,
        config2=event.config2,
    )
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    number = syscall(_NUMBERS[machine], ctypes.byref(attr), event.pid, event.cpu, -1, FLAG_FD_CLOEXEC)
    if number < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return Fd(number, "perf event")


def attach_event(program: Attachable, hook: Hook, make: Callable[[], Fd], cookie: int = 0) -> Attached:
    """Attach to an event that ``make`` opens: by a link, or by ioctl on kernels before 5.15."""

    def link(new: Attachable) -> Fd:
        with make() as event:
            tail = cookie.to_bytes(8, "little")
            made = links.create(LinkRequest(new.fd.number, AttachType.PERF_EVENT, event.number, tail=tail))
            try:
                fcntl.ioctl(event.number, IOC_ENABLE, 0)
            except OSError:
                made.close()
                raise
            return made

    with explained(hook, name_of_program(program)):
        try:
            return KernelLink(link(program), hook, link)
        except OSError as error:
            if error.errno != errno.EINVAL or cookie:
                raise
        return IoctlAttachment(program, hook, make)


class IoctlAttachment:
    """A program on a perf event without a link (before 5.15): lives as long as the event's descriptor."""

    def __init__(self, program: Attachable, hook: Hook, make: Callable[[], Fd]) -> None:
        self.hook = hook
        self._make = make
        self._event, self._prog_id = self._attach(program)

    def update(self, program: ProgramHandle) -> None:
        """A second event with the new program, then the first one goes: an event in between is seen by both."""
        new = own(program)
        with explained(self.hook, name_of_program(new)):
            event, prog_id = self._attach(new)
        old, self._event, self._prog_id = self._event, event, prog_id
        old.close()

    def detach(self) -> None:
        """The same as close()."""
        self.close()

    def pin(self, path: Path_) -> None:
        """Not possible: UnsupportedError H0316."""
        what = f"{self.hook} cannot be pinned on this kernel"
        raise UnsupportedError(
            Diagnostic("H0316", what, why=("perf events have links since Linux 5.15",), help="keep the process running")
        )

    def unpin(self, path: Path_ | None = None) -> None:
        """Nothing is pinned."""

    def info(self) -> Mapping[str, Any]:
        """The program's id; there is no link to ask."""
        return {"id": 0, "type": "none", "prog_id": self._prog_id}

    def close(self) -> None:
        """Detach; a second call does nothing."""
        self._event.close()

    def _attach(self, program: Attachable) -> tuple[Fd, int]:
        event = self._make()
        try:
            fcntl.ioctl(event.number, IOC_SET_BPF, program.fd.number)
            fcntl.ioctl(event.number, IOC_ENABLE, 0)
            number = prog_id(program.fd.number)
        except OSError:
            event.close()
            raise
        return event, number


def source_type(source: str) -> int | None:
    """The number of a dynamic event source (``uprobe``, ``kprobe``); None: this kernel has none of this name."""
    try:
        return int((SOURCES / source / "type").read_text())
    except (OSError, ValueError):
        return None


def source_bit(source: str, field: str) -> int:
    """The first bit of a field of a source's config (``retprobe``: ``config:0``)."""
    try:
        text = (SOURCES / source / "format" / field).read_text()
        return int(text.partition(":")[2].partition("-")[0])
    except (OSError, ValueError):
        raise OSError(errno.EOPNOTSUPP, f"{source} has no {field}") from None
