"""The one seam to bpf(2): a command, a structure, a number back or BpfCallError."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
from enum import IntEnum
from functools import cache

from skep.diagnostics import Diagnostic
from skep.errors import UnsupportedError
from skep.kernel.fd import Fd

# asm-generic's number is 280; the older architectures have tables of their own (arch/*/entry/syscalls).
_NUMBERS = {
    "x86_64": 321, "aarch64": 280, "riscv64": 280, "loongarch64": 280, "ppc64le": 361, "ppc64": 361, "s390x": 351,
    "armv7l": 386, "armv6l": 386, "i686": 357,
}  # fmt: skip
_FIRST_GOOD = 3
_ENOTSUPP = 524
_ATTEMPTS = 5  # as libbpf: BPF_PROG_LOAD gives EAGAIN when a signal interrupts the verifier


class Command(IntEnum):
    """enum bpf_cmd."""

    MAP_CREATE = 0
    MAP_LOOKUP_ELEM = 1
    MAP_UPDATE_ELEM = 2
    MAP_DELETE_ELEM = 3
    MAP_GET_NEXT_KEY = 4
    PROG_LOAD = 5
    OBJ_PIN = 6
    OBJ_GET = 7
    PROG_ATTACH = 8
    PROG_DETACH = 9
    PROG_TEST_RUN = 10
    PROG_GET_NEXT_ID = 11
    MAP_GET_NEXT_ID = 12
    PROG_GET_FD_BY_ID = 13
    MAP_GET_FD_BY_ID = 14
    OBJ_GET_INFO_BY_FD = 15
    PROG_QUERY = 16
    RAW_TRACEPOINT_OPEN = 17
    BTF_LOAD = 18
    BTF_GET_FD_BY_ID = 19
    TASK_FD_QUERY = 20
    MAP_LOOKUP_AND_DELETE_ELEM = 21
    MAP_FREEZE = 22
    BTF_GET_NEXT_ID = 23
    MAP_LOOKUP_BATCH = 24
    MAP_LOOKUP_AND_DELETE_BATCH = 25
    MAP_UPDATE_BATCH = 26
    MAP_DELETE_BATCH = 27
    LINK_CREATE = 28
    LINK_UPDATE = 29
    LINK_GET_FD_BY_ID = 30
    LINK_GET_NEXT_ID = 31
    ENABLE_STATS = 32
    ITER_CREATE = 33
    LINK_DETACH = 34
    PROG_BIND_MAP = 35
    TOKEN_CREATE = 36
    PROG_STREAM_READ_BY_FD = 37
    PROG_ASSOC_STRUCT_OPS = 38


class BpfCallError(OSError):
    """bpf(2) failed; ``log`` is what the verifier wrote, whole."""

    def __init__(self, number: int, command: Command, log: str = "") -> None:
        super().__init__(number, f"bpf({command.name}): {os.strerror(number)}")
        self.number = number
        self.command = command
        self.log = log

    @property
    def reason(self) -> str:
        """The number in words."""
        return "Operation not supported" if self.number == _ENOTSUPP else os.strerror(self.number)


def call(command: Command, attr: ctypes.Structure) -> int:
    """One bpf(2) call; ``attr`` is read and written in place.

    Raises:
        BpfCallError: the kernel said no.
        UnsupportedError: E0201, this is not Linux, or a machine whose system call number we do not know.
    """
    syscall, number = _seam()
    for _ in range(_ATTEMPTS):
        result = int(syscall(number, int(command), ctypes.byref(attr), ctypes.sizeof(attr)))
        if result >= 0:
            return result
        code = ctypes.get_errno()
        if code not in (errno.EAGAIN, errno.EINTR):
            break
    raise BpfCallError(code, command)


def open_fd(command: Command, attr: ctypes.Structure, what: str) -> Fd:
    """A call that gives a descriptor; never 0, 1 or 2: in attributes 0 means none (libbpf's ensure_good_fd)."""
    number = call(command, attr)
    if number < _FIRST_GOOD:
        moved = fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, _FIRST_GOOD)
        os.close(number)
        number = moved
    return Fd(number, what)


def text_buffer(text: str | bytes) -> ctypes.Array[ctypes.c_char]:
    """A NUL-terminated string for the kernel to read."""
    return ctypes.create_string_buffer(text if isinstance(text, bytes) else os.fsencode(text))


def data_buffer(data: bytes) -> ctypes.Array[ctypes.c_char]:
    """Bytes for the kernel to read: exactly these, at least room for one."""
    return ctypes.create_string_buffer(data, max(len(data), 1))


def address(buffer: ctypes.Array[ctypes.c_char] | ctypes.Structure | None) -> int:
    """Where a buffer is; 0 for None."""
    return ctypes.addressof(buffer) if buffer is not None else 0


@cache
def _seam() -> tuple[ctypes._NamedFuncPointer, int]:
    machine = platform.machine()
    if platform.system() != "Linux" or machine not in _NUMBERS:
        raise UnsupportedError(
            Diagnostic("E0201", f"bpf(2) is not known on {platform.system()} {machine}", help='use engine="vm"')
        )
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    syscall.restype = ctypes.c_long
    return syscall, _NUMBERS[machine]
