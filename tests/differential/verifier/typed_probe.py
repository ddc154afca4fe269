"""Load programs with attach targets into the running kernel: a child process of test_kernel_objects.py.

Reads ``[[prog_type, attach_type, attach_btf_id, flags, code_hex], ...]`` on stdin, writes ``[[errno, log], ...]``.
Nothing is attached or run.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import struct
import sys

_PROG_LOAD = 5
_LOG = 1 << 18
_SYSCALL = {"x86_64": 321, "aarch64": 280}[platform.machine()]
_libc = ctypes.CDLL(None, use_errno=True)
_log = ctypes.create_string_buffer(_LOG)


def load(prog_type: int, attach_type: int, attach_btf_id: int, flags: int, code: bytes) -> tuple[int, str]:
    """errno (0: accepted) and the verifier's log."""
    insns = ctypes.create_string_buffer(code, len(code))
    license_text = ctypes.create_string_buffer(b"GPL")
    _log[0] = b"\0"
    addresses = ctypes.addressof(insns), ctypes.addressof(license_text)
    head = struct.pack("<IIQQIIQ", prog_type, len(code) // 8, *addresses, 1, _LOG, ctypes.addressof(_log))
    head += struct.pack("<II16sII", 0, flags, b"", 0, attach_type)
    attr = head + struct.pack("<IIQIIQIII", 0, 0, 0, 0, 0, 0, 0, attach_btf_id, 0)
    buffer = ctypes.create_string_buffer(attr, len(attr))
    fd = _libc.syscall(_SYSCALL, _PROG_LOAD, buffer, len(attr))
    if fd < 0:
        return ctypes.get_errno(), _log.value.decode(errors="replace")
    os.close(fd)
    return 0, ""


if __name__ == "__main__":
    json.dump([load(p, a, b, f, bytes.fromhex(code)) for p, a, b, f, code in json.load(sys.stdin)], sys.stdout)
