"""Commands on programs: load with a log that is never cut off, test run, bind a map, read a stream."""

from __future__ import annotations

import ctypes
import errno
from dataclasses import dataclass
from typing import Final

from skep.abi.prog_types import ProgType
from skep.errors import UnsupportedError
from skep.kernel.bpf.attr import BindMapAttr, ProgLoadAttr, StreamAttr, TestRunAttr
from skep.kernel.bpf.call import BpfCallError, Command, address, call, data_buffer, open_fd, text_buffer
from skep.kernel.bpf.maps import F_TOKEN_FD
from skep.kernel.fd import Fd

LOG_START: Final = 1 << 16
LOG_LIMIT: Final = 1 << 30  # the kernel's limit is UINT_MAX >> 2 (5.2; before: 16 MiB)
LOG_BRANCHES, LOG_ALL, LOG_STATS = 1, 2, 4
FUNC_INFO_BYTES, LINE_INFO_BYTES = 8, 16
_GROWTH: Final = 8


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """What BPF_PROG_LOAD is asked for; fd numbers, 0 for none.

    Attributes:
        code: encoded instructions; names are numbers already.
        attach_to: fd of the program (freplace) or module BTF whose type ``attach_btf_id`` is.
        fd_array: descriptors that instructions name by index (module BTF of kfuncs); index 0 is not used by kfuncs.
    """

    prog_type: int
    code: bytes
    license: str = "GPL"
    name: bytes = b""
    expected_attach_type: int = 0
    flags: int = 0
    kernel_version: int = 0
    ifindex: int = 0
    btf: int = 0
    func_info: bytes = b""
    line_info: bytes = b""
    attach_btf_id: int = 0
    attach_to: int = 0
    fd_array: tuple[int, ...] = ()
    token: int = 0


@dataclass(frozen=True, slots=True)
class ProgramRun:
    """What BPF_PROG_TEST_RUN answers: ``duration_ns`` is the mean of one run."""

    retval: int
    duration_ns: int
    data: bytes
    ctx: bytes


def load(request: LoadRequest, log_level: int = 0) -> tuple[Fd, str]:
    """BPF_PROG_LOAD.

    Args:
        log_level: 0: a log only when it is rejected; LOG_BRANCHES, LOG_ALL, LOG_STATS: also when it is accepted.

    Returns:
        The program and its log ("" unless asked for).

    Raises:
        BpfCallError: with the whole log of a rejection ("" when the kernel refused before its verifier looked).
    """
    if not log_level & (LOG_BRANCHES | LOG_ALL):
        try:
            return _load_with_log(request, log_level) if log_level else (_load(request, 0, None), "")
        except BpfCallError as first:
            try:
                fd, _ = _load_with_log(request, LOG_BRANCHES)
            except BpfCallError as second:
                # Without privilege the second call may fail otherwise: what matters is the first.
                raise BpfCallError(first.number, Command.PROG_LOAD, second.log) from None
            return fd, ""
    return _load_with_log(request, log_level)


def _load_with_log(request: LoadRequest, level: int) -> tuple[Fd, str]:
    """Load with a buffer that grows until the log fits: a truncated log is never shown."""
    size = LOG_START
    while True:
        log = ctypes.create_string_buffer(size)
        try:
            fd = _load(request, level, log)
        except BpfCallError as error:
            if error.errno == errno.ENOSPC and size < LOG_LIMIT:
                size *= _GROWTH
                continue
            text = log.value.decode(errors="replace")
            raise BpfCallError(error.number, Command.PROG_LOAD, text) from None
        return fd, log.value.decode(errors="replace")


def _load(request: LoadRequest, level: int, log: ctypes.Array[ctypes.c_char] | None) -> Fd:
    code, license = data_buffer(request.code), text_buffer(request.license)
    functions = data_buffer(request.func_info) if request.func_info else None
    lines = data_buffer(request.line_info) if request.line_info else None
    fds = (ctypes.c_int * len(request.fd_array))(*request.fd_array) if request.fd_array else None
    attr = ProgLoadAttr(
        prog_type=request.prog_type,
        insn_cnt=len(request.code) // 8,
        insns=address(code),
        license=address(license),
        log_level=level,
        log_size=len(log) if log is not None else 0,
        log_buf=address(log),
        kern_version=request.kernel_version,
        prog_flags=request.flags | (F_TOKEN_FD if request.token else 0),
        prog_name=request.name,
        prog_ifindex=request.ifindex,
        expected_attach_type=request.expected_attach_type,
        prog_btf_fd=request.btf,
        func_info_rec_size=FUNC_INFO_BYTES if functions is not None else 0,
        func_info=address(functions),
        func_info_cnt=len(request.func_info) // FUNC_INFO_BYTES,
        line_info_rec_size=LINE_INFO_BYTES if lines is not None else 0,
        line_info=address(lines),
        line_info_cnt=len(request.line_info) // LINE_INFO_BYTES,
        attach_btf_id=request.attach_btf_id,
        attach_btf_obj_fd=request.attach_to,
        fd_array=ctypes.addressof(fds) if fds is not None else 0,
        prog_token_fd=request.token,
    )
    name = request.name.decode(errors="replace") or "program"
    return open_fd(Command.PROG_LOAD, attr, f"program {name}")


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What BPF_PROG_TEST_RUN is asked for. ``*_out_size``: room for what comes back; ``cpu`` None: any."""

    data: bytes = b""
    ctx: bytes = b""
    repeat: int = 0
    data_out_size: int = 0
    ctx_out_size: int = 0
    flags: int = 0
    cpu: int | None = None
    batch_size: int = 0


_F_TEST_RUN_ON_CPU: Final = 1


def test_run(program: int, request: RunRequest) -> ProgramRun:
    """BPF_PROG_TEST_RUN (4.12; per program type later).

    Raises:
        BpfCallError: ENOTSUPP (524) for types that have no test run, EINVAL for data that is none for the type, ENOSPC
            when ``data_out_size`` is too small.
    """
    data_in = data_buffer(request.data) if request.data else None
    data_out = ctypes.create_string_buffer(request.data_out_size) if request.data_out_size else None
    ctx_in = data_buffer(request.ctx) if request.ctx else None
    ctx_out = ctypes.create_string_buffer(request.ctx_out_size) if request.ctx_out_size else None
    attr = TestRunAttr(
        prog_fd=program,
        data_size_in=len(request.data),
        data_size_out=request.data_out_size,
        data_in=address(data_in),
        data_out=address(data_out),
        repeat=request.repeat,
        ctx_size_in=len(request.ctx),
        ctx_size_out=request.ctx_out_size,
        ctx_in=address(ctx_in),
        ctx_out=address(ctx_out),
        flags=request.flags | (_F_TEST_RUN_ON_CPU if request.cpu is not None else 0),
        cpu=request.cpu or 0,
        batch_size=request.batch_size,
    )
    call(Command.PROG_TEST_RUN, attr)
    data = ctypes.string_at(data_out, attr.data_size_out) if data_out is not None else b""
    # Types without ctx_out either leave the context alone or write it back in place (syscall).
    ctx = b""
    if ctx_out is not None:
        ctx = ctypes.string_at(ctx_out, attr.ctx_size_out)
    elif ctx_in is not None:
        ctx = ctx_in.raw
    return ProgramRun(int(attr.retval), int(attr.duration), data, ctx)


def bind_map(program: int, map_fd: int) -> None:
    """BPF_PROG_BIND_MAP (5.10): the map lives as long as the program (libbpf binds .rodata for its metadata)."""
    call(Command.PROG_BIND_MAP, BindMapAttr(program, map_fd, 0))


def read_stream(program: int, stream: int, size: int = 4096) -> bytes:
    """BPF_PROG_STREAM_READ_BY_FD (6.17): what the program wrote with bpf_stream_printk (1: stdout, 2: stderr)."""
    buffer = ctypes.create_string_buffer(size)
    count = call(Command.PROG_STREAM_READ_BY_FD, StreamAttr(address(buffer), size, stream, program))
    return buffer.raw[:count]


def is_allowed() -> bool:
    """Whether this process may load programs here: asked by loading the smallest one."""
    exit_zero = bytes.fromhex("b7000000000000009500000000000000")
    try:
        fd = _load(LoadRequest(ProgType.SOCKET_FILTER, exit_zero), 0, None)
    except (BpfCallError, UnsupportedError):
        return False
    fd.close()
    return True
