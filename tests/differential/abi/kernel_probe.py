"""Load many small programs into the running kernel and say what it answered. Run as a child process by conftest.py.

Reads JSON ``{"maps": {type: [key_size, value_size, max_entries, flags]}, "programs": [[prog_type, attach_type, flags,
license, code_hex], ...]}`` on stdin, writes one ``[errno, log]`` per program on stdout. Nothing is attached or run:
every program that loads is closed at once. LD_IMM64 with src 1 gets the map whose type is in imm (0: an array of
64-byte values), with src 2 the address of a value that programs may only read.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import struct
import sys

BPF_MAP_CREATE = 0
BPF_PROG_LOAD = 5
BPF_MAP_TYPE_ARRAY = 2
BPF_F_RDONLY_PROG = 1 << 7
LD_IMM64 = 0x18
MAPS_OF_MAPS = (12, 13)
LOG_BYTES = 1 << 16
_SYSCALL_NUMBER = {"x86_64": 321, "aarch64": 280}[platform.machine()]
_libc = ctypes.CDLL(None, use_errno=True)
_log = ctypes.create_string_buffer(LOG_BYTES)


def create_map(map_type: int, key_size: int, value_size: int, max_entries: int, flags: int, inner_fd: int = 0) -> int:
    """A map's fd; raises OSError."""
    attr = struct.pack("<6I", map_type, key_size, value_size, max_entries, flags, inner_fd)
    fd = int(_libc.syscall(_SYSCALL_NUMBER, BPF_MAP_CREATE, ctypes.create_string_buffer(attr, len(attr)), len(attr)))
    if fd < 0:
        raise OSError(ctypes.get_errno(), f"BPF_MAP_CREATE of type {map_type}")
    return fd


def with_maps(code: bytes, maps: dict[tuple[int, int], int]) -> bytes:
    """Fill fds into LD_IMM64, by source register field and imm."""
    patched = bytearray(code)
    for at in range(0, len(code), 8):
        key = (code[at + 1] >> 4, struct.unpack_from("<i", code, at + 4)[0])
        if code[at] == LD_IMM64 and key in maps:
            patched[at + 4 : at + 8] = struct.pack("<i", maps[key])
    return bytes(patched)


def load(prog_type: int, attach_type: int, flags: int, license_text: str, code: bytes) -> tuple[int, str]:
    """One BPF_PROG_LOAD: errno (0: accepted) and the verifier's log."""
    insns = ctypes.create_string_buffer(code, len(code))
    license_bytes = ctypes.create_string_buffer(license_text.encode())
    _log[0] = b"\0"
    attr = struct.pack(
        "<IIQQIIQII16sII",
        prog_type,
        len(code) // 8,
        ctypes.addressof(insns),
        ctypes.addressof(license_bytes),
        1,
        LOG_BYTES,
        ctypes.addressof(_log),
        0,
        flags,
        b"abi_probe",
        0,
        attach_type,
    )
    buffer = ctypes.create_string_buffer(attr, len(attr))
    fd = _libc.syscall(_SYSCALL_NUMBER, BPF_PROG_LOAD, buffer, len(attr))
    if fd < 0:
        return ctypes.get_errno(), _log.value.decode(errors="replace")
    os.close(fd)
    return 0, _log.value.decode(errors="replace")


def main() -> None:
    """Answer every request."""
    wanted = json.load(sys.stdin)
    array = create_map(BPF_MAP_TYPE_ARRAY, 4, 64, 1, 0)
    maps = {(1, 0): array, (2, 0): create_map(BPF_MAP_TYPE_ARRAY, 4, 64, 1, BPF_F_RDONLY_PROG)}
    for map_type, attributes in wanted["maps"].items():
        inner = array if int(map_type) in MAPS_OF_MAPS else 0
        maps[1, int(map_type)] = create_map(int(map_type), *attributes, inner)
    json.dump(
        [load(p, a, f, lic, with_maps(bytes.fromhex(code), maps)) for p, a, f, lic, code in wanted["programs"]],
        sys.stdout,
    )


if __name__ == "__main__":
    main()
