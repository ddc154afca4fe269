"""Reader and linker against the kernel: it takes every program of real projects' objects that it took from libbpf.

The loading happens in a child process (this file run as a program); nothing is attached or run. Maps are made small.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from skep.abi.prog_types import ProgType
from skep.btf.reader import parse_btf
from skep.errors import SkepError
from skep.isa.codec import encode
from skep.isa.instruction import Instruction, MapRef, MapValueRef
from skep.linker import link, set_type
from skep.model.maps import MapSpec
from skep.model.objects import ObjectSpec
from skep.model.programs import LinkedProgram
from skep.model.target import Target
from skep.objfile import read_object

ROOT = Path(__file__).parent.parent.parent
MAP_CREATE, MAP_UPDATE, PROG_LOAD, MAP_FREEZE = 0, 2, 5, 22
SYSCALL_NUMBERS = {"x86_64": 321, "aarch64": 280}
MOST_ENTRIES = 4096
VMLINUX = Path("/sys/kernel/btf/vmlinux")


@pytest.mark.kernel
def test_the_kernel_takes_every_program_that_it_took_from_libbpf(corpus: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: it loads programs with bpf(2)")
    if platform.machine() not in SYSCALL_NUMBERS:
        pytest.skip(f"the number of bpf(2) on {platform.machine()} is not known here")
    command = [sys.executable, "-m", "tests.differential.test_linked_objects_kernel", str(corpus / "objects")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    verdicts = json.loads(done.stdout)
    if all(verdict == "EPERM" for *_, verdict in verdicts):
        pytest.skip("this kernel does not let us load programs (EPERM)")
    wrong = [row for row in verdicts if row[3] != "accepted"]
    assert wrong == []
    assert len(verdicts) == 316


def load_all(folder: Path) -> list[tuple[str, str, str, str]]:
    """(object, section, function, verdict) for each row that the kernel accepted."""
    results = []
    specs: dict[str, ObjectSpec] = {}
    kernel = Kernel()
    target = Target("kernel", (6, 18, 0), btf=parse_btf(VMLINUX.read_bytes()) if VMLINUX.exists() else None)
    for row in json.loads((folder / "manifest.json").read_text()):
        if row["verdict"] != "accepted":
            continue
        name = row["object"]
        if name not in specs:
            kernel.forget_maps()
            specs = {name: read_object((folder / name).read_bytes(), name)}
        try:
            verdict = kernel.load(_linked(specs[name], row, target))
        except SkepError as error:
            verdict = f"{error.diagnostic.code} {error.diagnostic.what}"
        results.append((name, row["section"], row["function"], verdict))
    return results


def _linked(spec: ObjectSpec, row: dict[str, Any], target: Target) -> LinkedProgram:
    program = spec.programs[row["function"]]
    type_name = row["prog_type"].removesuffix("(guess)").upper()
    wanted = ProgType[{"SOCKET": "SOCKET_FILTER", "RAW_TP": "RAW_TRACEPOINT"}.get(type_name, type_name)]
    if program.prog_type is not wanted:
        spec = set_type(spec, program.name, wanted)
    return link(replace(spec, license="GPL"), program.name, target)


class Kernel:
    """bpf(2), as little of it as is needed."""

    def __init__(self) -> None:
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.maps: dict[str, int] = {}

    def call(self, command: int, attr: bytes) -> int:
        buffer = ctypes.create_string_buffer(attr, len(attr))
        number = SYSCALL_NUMBERS[platform.machine()]
        result = int(self.libc.syscall(number, command, buffer, len(attr)))
        return result if result >= 0 else -ctypes.get_errno()

    def forget_maps(self) -> None:
        for fd in self.maps.values():
            os.close(fd)
        self.maps = {}

    def map_fd(self, spec: MapSpec) -> int:
        if spec.name in self.maps:
            return self.maps[spec.name]
        inner = self.map_fd(spec.inner) if spec.inner is not None else 0
        # 0 means: the loader decides (perf_event_array: one per CPU; Falco sets its maps' sizes itself).
        entries = min(spec.max_entries, MOST_ENTRIES) or 1
        flags = spec.flags & ~4  # not bound to a NUMA node
        attr = struct.pack("<6I", spec.type, spec.key_size, spec.value_size, entries, flags, inner)
        fd = self.call(MAP_CREATE, attr)
        if fd < 0:
            raise OSError(-fd, f"map {spec}")
        if spec.contents is not None:
            key, value = ctypes.create_string_buffer(4), ctypes.create_string_buffer(spec.contents, spec.value_size)
            attr = struct.pack("<IIQQQ", fd, 0, ctypes.addressof(key), ctypes.addressof(value), 0)
            assert self.call(MAP_UPDATE, attr) == 0
            if spec.frozen:
                assert self.call(MAP_FREEZE, struct.pack("<I", fd)) == 0
        self.maps[spec.name] = fd
        return fd

    def load(self, program: LinkedProgram) -> str:
        try:
            insns = [self.with_fd(program, insn) for insn in program.insns]
        except OSError as error:
            return str(error)
        code = encode(insns)
        text, log = ctypes.create_string_buffer(code, len(code)), ctypes.create_string_buffer(1 << 16)
        license_text = ctypes.create_string_buffer(program.license.encode())
        # Old kprobe programs state a kernel version; kernels since 5.0 do not look at it.
        attr = struct.pack(
            "<IIQQIIQII16sII",
            program.prog_type,
            len(code) // 8,
            ctypes.addressof(text),
            ctypes.addressof(license_text),
            0,
            0,
            0,
            0,
            0,
            b"",
            0,
            program.attach_type or 0,
        )
        fd = self.call(PROG_LOAD, attr)
        if fd >= 0:
            os.close(fd)
            return "accepted"
        if -fd == 1:
            return "EPERM"
        del log
        return f"errno {-fd}"

    def with_fd(self, program: LinkedProgram, insn: Instruction) -> Instruction:
        if isinstance(insn.ref, MapRef):
            return replace(insn, imm=self.map_fd(program.maps[insn.ref.name]), ref=None)
        if isinstance(insn.ref, MapValueRef):
            fd = self.map_fd(program.maps[insn.ref.name])
            return replace(insn, imm=fd | insn.ref.offset << 32, ref=None)
        return insn


if __name__ == "__main__":
    print(json.dumps(load_all(Path(sys.argv[1]))))
