"""Just enough of bpf(2) to run one program in the kernel beside ours: make a map, load, PROG_TEST_RUN."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Mapping

from skep.isa import opcodes as op
from skep.isa.codec import encode
from skep.isa.instruction import Instruction, MapRef, MapValueRef
from skep.model.maps import MapSpec
from skep.model.programs import LinkedProgram

_NUMBER = {"x86_64": 321, "aarch64": 280}.get(platform.machine(), 0)
_MAP_CREATE, _MAP_UPDATE, _PROG_LOAD, _PROG_TEST_RUN = 0, 2, 5, 10
_ATTR_SIZE = 144
_libc = ctypes.CDLL(None, use_errno=True)


def _bpf(command: int, attr: bytes) -> tuple[int, bytes]:
    block = ctypes.create_string_buffer(attr.ljust(_ATTR_SIZE, b"\0"), _ATTR_SIZE)
    result = _libc.syscall(_NUMBER, command, block, _ATTR_SIZE)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"bpf({command}): {errno.errorcode.get(number, number)}")
    return result, block.raw


def _address(block: ctypes.Array[ctypes.c_char]) -> int:
    return ctypes.addressof(block)


class KernelProgram:
    """A program and its maps in the kernel, until close()."""

    def __init__(self, linked: LinkedProgram, contents: Mapping[str, bytes]) -> None:
        """``contents``: first values of its maps. OSError: the kernel has no bpf(2) for us, or rejects it."""
        self._fds: dict[str, int] = {}
        self._program = -1
        try:
            for name, spec in linked.maps.items():
                self._fds[name] = self._make_map(spec, contents.get(name))
            code = ctypes.create_string_buffer(encode(self._resolve(insn) for insn in linked.insns))
            license_text = ctypes.create_string_buffer(linked.license.encode())
            attr = struct.pack("=IIQQ", linked.prog_type, (len(code) - 1) // 8, _address(code), _address(license_text))
            self._program, _ = _bpf(_PROG_LOAD, attr)
        except OSError:
            self.close()
            raise

    def _make_map(self, spec: MapSpec, value: bytes | None) -> int:
        sizes = struct.pack("=IIIII", spec.type, spec.key_size, spec.value_size, spec.max_entries, spec.flags)
        fd, _ = _bpf(_MAP_CREATE, sizes)
        if value is not None:
            key, block = ctypes.create_string_buffer(spec.key_size), ctypes.create_string_buffer(value, len(value))
            _bpf(_MAP_UPDATE, struct.pack("=IxxxxQQQ", fd, _address(key), _address(block), 0))
        return fd

    def _resolve(self, insn: Instruction) -> Instruction:
        if isinstance(insn.ref, MapRef):
            return Instruction(insn.opcode, insn.dst, op.PSEUDO_MAP_FD, imm=self._fds[insn.ref.name])
        if isinstance(insn.ref, MapValueRef):
            value = self._fds[insn.ref.name] | insn.ref.offset << 32
            return Instruction(insn.opcode, insn.dst, op.PSEUDO_MAP_VALUE, imm=value)
        return insn

    def run(self, data: bytes, repeat: int) -> tuple[int, int]:
        """PROG_TEST_RUN: (return value, ns of one run on average)."""
        block = ctypes.create_string_buffer(data, len(data))
        out = ctypes.create_string_buffer(len(data) + 4096)
        attr = struct.pack(
            "=IIIIQQII", self._program, 0, len(data), len(out), _address(block), _address(out), repeat, 0
        )
        _, raw = _bpf(_PROG_TEST_RUN, attr)
        return struct.unpack_from("=I", raw, 4)[0], struct.unpack_from("=I", raw, 36)[0]

    def close(self) -> None:
        """Give everything back."""
        for fd in (*self._fds.values(), self._program):
            if fd >= 0:
                os.close(fd)
        self._fds, self._program = {}, -1
