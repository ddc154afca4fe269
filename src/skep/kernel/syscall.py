"""bpf(2): one function for each command that skep uses so far (uapi linux/bpf.h, union bpf_attr; man bpf(2)).

This is the first stone of the kernel engine. The tests and the benchmarks ask the running kernel through it: it is the
judge of what eBPF means.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from dataclasses import dataclass
from enum import IntEnum

from skep.abi.map_types import MapType
from skep.abi.prog_types import ProgType
from skep.diagnostics import Diagnostic
from skep.errors import UnsupportedError
from skep.kernel.fd import Fd

_SYSCALL_NUMBERS = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351}
_ATTR_SIZE = 168  # room for every command below; the rest of the union stays zero
_LOG_START, _LOG_LIMIT = 1 << 16, 1 << 30
_NAME_BYTES = 15


class Command(IntEnum):
    """enum bpf_cmd, as far as used."""

    MAP_CREATE = 0
    MAP_LOOKUP_ELEM = 1
    MAP_UPDATE_ELEM = 2
    MAP_DELETE_ELEM = 3
    MAP_GET_NEXT_KEY = 4
    PROG_LOAD = 5
    PROG_TEST_RUN = 10
    BTF_LOAD = 18
    MAP_FREEZE = 22


class BpfCallError(OSError):
    """bpf(2) failed; ``log`` is what the verifier wrote, whole."""

    def __init__(self, number: int, command: Command, log: str = "") -> None:
        super().__init__(number, f"bpf({command.name}): {os.strerror(number)}")
        self.log = log


@dataclass(frozen=True, slots=True)
class ProgramRun:
    """What BPF_PROG_TEST_RUN answers: ``duration_ns`` is the mean of one run."""

    retval: int
    duration_ns: int
    data: bytes
    ctx: bytes


def call(command: Command, attr: bytes) -> int:
    """One bpf(2) call; the result, or BpfCallError.

    Raises:
        UnsupportedError: this is not Linux, or a machine whose system call number we do not know.
    """
    machine = platform.machine()
    if platform.system() != "Linux" or machine not in _SYSCALL_NUMBERS:
        raise UnsupportedError(
            Diagnostic("E0201", f"bpf(2) is not known on {platform.system()} {machine}", help='use engine="vm"')
        )
    buffer = ctypes.create_string_buffer(attr.ljust(_ATTR_SIZE, b"\0"), _ATTR_SIZE)
    result = int(_libc().syscall(_SYSCALL_NUMBERS[machine], int(command), buffer, _ATTR_SIZE))
    if result < 0:
        raise BpfCallError(ctypes.get_errno(), command)
    return result


def create_map(
    map_type: MapType, key_size: int, value_size: int, max_entries: int, flags: int = 0, inner: Fd | None = None
) -> Fd:
    """BPF_MAP_CREATE."""
    inner_number = inner.number if inner else 0
    attr = struct.pack("<IIIIII", map_type, key_size, value_size, max_entries, flags, inner_number)
    return Fd(call(Command.MAP_CREATE, attr), f"{map_type.name.lower()} map")


def update_element(map_fd: Fd, key: bytes, value: bytes, flags: int = 0) -> None:
    """BPF_MAP_UPDATE_ELEM; for per-CPU maps ``value`` holds one value for each possible CPU."""
    key_buffer, value_buffer = ctypes.create_string_buffer(key), ctypes.create_string_buffer(value)
    addresses = ctypes.addressof(key_buffer), ctypes.addressof(value_buffer)
    call(Command.MAP_UPDATE_ELEM, struct.pack("<IxxxxQQQ", map_fd.number, *addresses, flags))


def lookup_element(map_fd: Fd, key: bytes, value_size: int) -> bytes | None:
    """BPF_MAP_LOOKUP_ELEM; ``value_size`` counts every CPU for per-CPU maps."""
    key_buffer, value_buffer = ctypes.create_string_buffer(key), ctypes.create_string_buffer(value_size)
    addresses = ctypes.addressof(key_buffer), ctypes.addressof(value_buffer)
    try:
        call(Command.MAP_LOOKUP_ELEM, struct.pack("<IxxxxQQQ", map_fd.number, *addresses, 0))
    except BpfCallError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    return value_buffer.raw


def freeze_map(map_fd: Fd) -> None:
    """BPF_MAP_FREEZE: read-only for user space from now on."""
    call(Command.MAP_FREEZE, struct.pack("<I", map_fd.number))


def load_btf(data: bytes) -> Fd:
    """BPF_BTF_LOAD."""
    buffer = ctypes.create_string_buffer(data, len(data))
    return Fd(call(Command.BTF_LOAD, struct.pack("<QQII", ctypes.addressof(buffer), 0, len(data), 0)), "BTF")


def load_program(
    prog_type: ProgType,
    code: bytes,
    license: str = "GPL",
    *,
    name: str = "",
    expected_attach_type: int = 0,
    flags: int = 0,
    want_log: bool = False,
) -> tuple[Fd, str]:
    """BPF_PROG_LOAD.

    Args:
        code: encoded instructions, map references already file descriptors.
        want_log: ask for the verifier's log also when it accepts.

    Returns:
        The program and its log ("" unless wanted).

    Raises:
        BpfCallError: with the whole log of a rejection.
    """
    if want_log:
        return _load_with_log(prog_type, code, license, name, expected_attach_type, flags)
    try:
        attr, _keep = _load_attr(prog_type, code, license, name, expected_attach_type, flags)
        return Fd(call(Command.PROG_LOAD, attr), "program"), ""
    except BpfCallError as error:
        if error.errno == errno.EPERM:
            raise
        return _load_with_log(prog_type, code, license, name, expected_attach_type, flags)


def run_program(
    program: Fd, data: bytes = b"", ctx: bytes = b"", repeat: int = 1, data_out_size: int = 0
) -> ProgramRun:
    """BPF_PROG_TEST_RUN."""
    out_size = data_out_size or (len(data) + 512 if data else 0)
    data_in, data_out = ctypes.create_string_buffer(data, len(data)), ctypes.create_string_buffer(out_size)
    ctx_in, ctx_out = ctypes.create_string_buffer(ctx, len(ctx)), ctypes.create_string_buffer(len(ctx))
    attr = struct.pack(
        "<IIIIQQIIIIQQ",
        program.number,
        0,
        len(data),
        out_size,
        ctypes.addressof(data_in) if data else 0,
        ctypes.addressof(data_out) if out_size else 0,
        repeat if repeat > 1 else 0,
        0,
        len(ctx),
        len(ctx),
        ctypes.addressof(ctx_in) if ctx else 0,
        ctypes.addressof(ctx_out) if ctx else 0,
    )
    buffer = ctypes.create_string_buffer(attr.ljust(_ATTR_SIZE, b"\0"), _ATTR_SIZE)
    result = int(_libc().syscall(_SYSCALL_NUMBERS[platform.machine()], int(Command.PROG_TEST_RUN), buffer, _ATTR_SIZE))
    if result < 0:
        raise BpfCallError(ctypes.get_errno(), Command.PROG_TEST_RUN)
    retval, data_size = struct.unpack_from("<I", buffer, 4)[0], struct.unpack_from("<I", buffer, 12)[0]
    duration, ctx_size = struct.unpack_from("<I", buffer, 36)[0], struct.unpack_from("<I", buffer, 44)[0]
    return ProgramRun(retval, duration, data_out.raw[:data_size], ctx_out.raw[:ctx_size])


def is_allowed() -> bool:
    """Whether this process may load programs here: asked by loading the smallest one."""
    exit_zero = bytes.fromhex("b7000000000000009500000000000000")
    try:
        fd, _ = load_program(ProgType.SOCKET_FILTER, exit_zero)
    except (BpfCallError, UnsupportedError):
        return False
    fd.close()
    return True


def _load_attr(
    prog_type: ProgType,
    code: bytes,
    license: str,
    name: str,
    expected: int,
    flags: int,
    log: object = None,
    level: int = 0,
) -> tuple[bytes, object]:
    """The attr of BPF_PROG_LOAD, and the buffers it points to: they must live as long as the call."""
    code_buffer = ctypes.create_string_buffer(code, len(code))
    license_buffer = ctypes.create_string_buffer(license.encode())
    log_address = ctypes.addressof(log) if isinstance(log, ctypes.Array) else 0
    log_size = len(log) if isinstance(log, ctypes.Array) else 0
    attr = struct.pack(
        "<IIQQIIQII16sII",
        prog_type,
        len(code) // 8,
        ctypes.addressof(code_buffer),
        ctypes.addressof(license_buffer),
        level,
        log_size,
        log_address,
        0,
        flags,
        name.encode()[:_NAME_BYTES],
        0,
        expected,
    )
    return attr, (code_buffer, license_buffer, log)


def _load_with_log(
    prog_type: ProgType, code: bytes, license: str, name: str, expected: int, flags: int
) -> tuple[Fd, str]:
    """Load with a log buffer that grows until the log fits: a truncated log is never shown."""
    size = _LOG_START
    while True:
        log = ctypes.create_string_buffer(size)
        attr, _keep = _load_attr(prog_type, code, license, name, expected, flags, log, 1)
        try:
            fd = Fd(call(Command.PROG_LOAD, attr), "program")
        except BpfCallError as error:
            if error.errno == errno.ENOSPC and size < _LOG_LIMIT:
                size *= 8
                continue
            text = log.value.decode(errors="replace")
            raise BpfCallError(error.errno or errno.EINVAL, Command.PROG_LOAD, text) from None
        return fd, log.value.decode(errors="replace")


_LIBC: ctypes.CDLL | None = None


def _libc() -> ctypes.CDLL:
    global _LIBC
    if _LIBC is None:
        _LIBC = ctypes.CDLL(None, use_errno=True)
        _LIBC.syscall.restype = ctypes.c_long
    return _LIBC
