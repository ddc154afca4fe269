"""The running kernel as the judge of the tables in skep.abi: `kernel.load(requests)` answers many at once."""

from __future__ import annotations

import json
import platform
import struct
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from skep.abi.prog_types import AttachType, ProgType
from skep.kernel.bpf.programs import is_allowed

BPF_F_SLEEPABLE = 1 << 4
#: Types that want an expected_attach_type, and one that they accept.
ATTACH_TYPES = {
    ProgType.CGROUP_SOCK: AttachType.CGROUP_INET_SOCK_CREATE,
    ProgType.CGROUP_SOCK_ADDR: AttachType.CGROUP_INET4_CONNECT,
    ProgType.CGROUP_SOCKOPT: AttachType.CGROUP_SETSOCKOPT,
    ProgType.CGROUP_SYSCTL: AttachType.CGROUP_SYSCTL,
    ProgType.CGROUP_DEVICE: AttachType.CGROUP_DEVICE,
    ProgType.SOCK_OPS: AttachType.CGROUP_SOCK_OPS,
    ProgType.SK_LOOKUP: AttachType.SK_LOOKUP,
    ProgType.SK_MSG: AttachType.SK_MSG_VERDICT,
    ProgType.SK_REUSEPORT: AttachType.SK_REUSEPORT_SELECT,
    ProgType.NETFILTER: AttachType.NETFILTER,
    ProgType.FLOW_DISSECTOR: AttachType.FLOW_DISSECTOR,
}


class Answer(NamedTuple):
    """What the kernel said to one program."""

    errno: int
    log: str


class Request(NamedTuple):
    """One program to load."""

    prog_type: ProgType
    code: bytes
    attach_type: AttachType | None = None
    license: str = "GPL"


def insn(opcode: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> bytes:
    """Eight bytes of a little-endian instruction."""
    return struct.pack("<BBhi", opcode, dst | src << 4, off, imm)


class Kernel:
    """Loads programs in a child process, so that a kernel bug takes only that with it."""

    insn = staticmethod(insn)
    #: r0 = 1; exit (1: some hooks allow nothing else)
    exit = insn(0xB7, imm=1) + insn(0x95)

    def request(self, prog_type: ProgType, code: bytes, attach_type: AttachType | None = None) -> Request:
        """A program without the final exit."""
        return Request(prog_type, code + self.exit, attach_type)

    def load(self, requests: Iterable[Request], maps: Mapping[int, Sequence[int]] | None = None) -> Sequence[Answer]:
        """The kernel's answers, in the order of the requests.

        Args:
            requests: programs; LD_IMM64 with src 1 names a map by the number of its type.
            maps: type -> (key_size, value_size, max_entries, flags) of the maps to make.
        """
        rows = [
            [
                r.prog_type,
                ATTACH_TYPES.get(r.prog_type, 0) if r.attach_type is None else r.attach_type,
                BPF_F_SLEEPABLE if r.prog_type is ProgType.SYSCALL else 0,
                r.license,
                r.code.hex(),
            ]
            for r in requests
        ]
        probe = Path(__file__).with_name("kernel_probe.py")
        done = subprocess.run(
            [sys.executable, str(probe)],
            input=json.dumps({"maps": dict(maps or {}), "programs": rows}),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return [Answer(*answer) for answer in json.loads(done.stdout)]


@pytest.fixture(scope="session")
def kernel() -> Kernel:
    """The running kernel, where it lets us load programs."""
    if not is_allowed():
        pytest.skip("needs Linux and root: programs are loaded into the kernel")
    if sys.byteorder != "little" or platform.machine() not in ("x86_64", "aarch64"):
        pytest.skip("the probe is written for little-endian x86-64 and arm64")
    judge = Kernel()
    (answer,) = judge.load([judge.request(ProgType.SOCKET_FILTER, b"")])
    if answer.errno:
        pytest.skip(f"bpf(2) refuses a trivial program: errno {answer.errno}")
    return judge


@pytest.fixture(scope="session")
def kernel_release() -> tuple[int, int]:
    """(major, minor) of the running kernel."""
    major, minor = platform.release().split(".")[:2]
    return int(major), int(minor)
