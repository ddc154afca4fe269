"""The running kernel as judge of what the writer writes (BPF_BTF_LOAD)."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

import pytest

from skep.btf.reader import parse_btf
from skep.btf.types import (
    Array,
    Btf,
    Const,
    Datasec,
    DeclTag,
    Enum,
    Enum64,
    Float,
    Func,
    FuncProto,
    Fwd,
    Int,
    Member,
    Param,
    Ptr,
    Restrict,
    SectionVar,
    Struct,
    Typedef,
    TypeTag,
    Union,
    Var,
    Void,
    Volatile,
)
from skep.btf.writer import encode_btf
from skep.errors import BtfError

BPF_BTF_LOAD = 18
SYS_BPF = {"x86_64": 321, "aarch64": 280}

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(
        sys.platform != "linux" or os.geteuid() != 0 or platform.machine() not in SYS_BPF,
        reason="bpf(2) needs Linux and root",
    ),
]

EVERYTHING = (
    Void(), Int("int", 4, 32, True), Ptr(3), Struct("node", 24, (Member("next", 2, 0), Member("v", 1, 64, 7))),
    Array(1, 1, 4), Union("u", 24, (Member("a", 4, 0), Member("", 3, 0))), Enum("e", 4, True, (("A", -1),)),
    Enum64("w", 8, False, (("B", 1 << 40),)), Fwd("f"), Typedef("t", 5), Const(9), FuncProto(1, (Param("p", 2),)),
    Func("fn", 11, 1), Var("x", 10, 1), Datasec(".bss", 24, (SectionVar(13, 0, 24),)), Float("double", 8),
    DeclTag("tag", 3, 0), TypeTag("rcu", 3), Ptr(17), Volatile(1), Restrict(2), Fwd("g", is_union=True),
)  # fmt: skip


def load(data: bytes) -> str | None:
    """None when the kernel takes it, otherwise the last line of its log."""
    libc = ctypes.CDLL(None, use_errno=True)
    held, log = ctypes.create_string_buffer(data, len(data)), ctypes.create_string_buffer(1 << 16)
    attr = struct.pack("<QQIIIIIi", ctypes.addressof(held), ctypes.addressof(log), len(data), len(log), 1, 0, 0, 0)
    fd = libc.syscall(SYS_BPF[platform.machine()], BPF_BTF_LOAD, attr, len(attr))
    if fd < 0 and ctypes.get_errno() == errno.EPERM:
        pytest.skip("bpf(2) is not permitted here, not even for root")
    if fd < 0:
        lines = log.value.decode().strip().splitlines()
        return f"errno {ctypes.get_errno()}: {lines[-1] if lines else ''}"
    os.close(fd)
    return None


def test_every_kind_is_taken() -> None:
    assert load(encode_btf(Btf(EVERYTHING))) is None


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ((1, Const(1)), "B0107"),
        ((2, Ptr(2)), "B0107"),
        ((4, Array(4, 1, 1)), "B0107"),
        ((10, Const(99)), "B0105"),
        ((12, Func("fn", 1, 1)), "B0110"),
    ],
)
def test_what_we_refuse_the_kernel_refuses(change, code: str) -> None:
    types = list(EVERYTHING)
    types[change[0]] = change[1]
    data = encode_btf(Btf(types))
    with pytest.raises(BtfError) as caught:
        parse_btf(data)
    assert caught.value.diagnostic.code == code
    assert load(data) is not None


def test_a_compiled_programs_types_are_taken_after_a_round_trip(compiled) -> None:
    source = """
    struct event { int pid; char comm[16]; enum { X, Y } kind; struct event *next; int bits : 3; };
    struct event event; static volatile const int limit = 4;
    __attribute__((section("xdp"), used)) int prog(void *ctx) { return event.pid + limit; }
    """
    btf = compiled(source).btf
    kept = [each for each in btf if not isinstance(each, Datasec)]  # clang leaves sizes of sections to the loader
    assert len(kept) > len(btf) - 6
    sections = len(btf) - len(kept)
    assert all(isinstance(btf[i], Datasec) for i in range(len(btf) - sections, len(btf)))
    assert load(encode_btf(Btf(kept))) is None
