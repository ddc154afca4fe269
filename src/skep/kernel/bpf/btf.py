"""BPF_BTF_LOAD: give the kernel the types of a program or map."""

from __future__ import annotations

import ctypes
import errno

from skep.kernel.bpf.attr import BtfLoadAttr
from skep.kernel.bpf.call import BpfCallError, Command, address, data_buffer, open_fd
from skep.kernel.bpf.maps import F_TOKEN_FD
from skep.kernel.bpf.programs import LOG_LIMIT, LOG_START
from skep.kernel.fd import Fd


def load(data: bytes, token: int = 0) -> Fd:
    """BPF_BTF_LOAD (4.18).

    Raises:
        BpfCallError: with the whole log.
    """
    try:
        return _load(data, token, None)
    except BpfCallError as error:
        if error.errno in (errno.EPERM, errno.ENOMEM):
            raise
    size = LOG_START
    while True:
        log = ctypes.create_string_buffer(size)
        try:
            return _load(data, token, log)
        except BpfCallError as error:
            if error.errno == errno.ENOSPC and size < LOG_LIMIT:
                size *= 8
                continue
            raise BpfCallError(error.number, Command.BTF_LOAD, log.value.decode(errors="replace")) from None


def _load(data: bytes, token: int, log: ctypes.Array[ctypes.c_char] | None) -> Fd:
    buffer = data_buffer(data)
    attr = BtfLoadAttr(
        btf=address(buffer),
        btf_log_buf=address(log),
        btf_size=len(data),
        btf_log_size=len(log) if log is not None else 0,
        btf_log_level=1 if log is not None else 0,
        btf_flags=F_TOKEN_FD if token else 0,
        btf_token_fd=token,
    )
    return open_fd(Command.BTF_LOAD, attr, "BTF")
