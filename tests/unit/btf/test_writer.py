from __future__ import annotations

import time

import pytest

from skep.btf.reader import parse_btf
from skep.btf.types import Btf, Enum, Int, Member, Ptr, Struct, Void
from skep.btf.writer import encode_btf
from skep.errors import BtfError


def test_the_kernels_types_survive(vmlinux: Btf) -> None:
    start = time.process_time()
    again = parse_btf(encode_btf(vmlinux))
    assert len(again) == len(vmlinux)
    assert all(mine == theirs for mine, theirs in zip(again, vmlinux, strict=True))
    assert time.process_time() - start < 8


def test_split_btf_on_the_kernels(vmlinux: Btf) -> None:
    task = vmlinux.find("task_struct", Struct)
    own = (Ptr(task), Struct("mine", 8, (Member("task", len(vmlinux), 0),)))
    data = encode_btf(Btf(own, base=vmlinux))
    split = parse_btf(data, vmlinux)
    assert tuple(split.own) == own
    assert len(data) < 200
    assert split.find("mine") == len(vmlinux) + 1
    assert split.find("task_struct", Struct) == task


@pytest.mark.parametrize(
    "bad",
    [
        Int("int", 4, 256),
        Struct("s", 1 << 32, ()),
        Struct("s", 8, (Member("a", -1, 0),)),
        Struct("s", 8, (Member("a", 1, 1 << 24, 3),)),
        Struct("s", 8, tuple(Member("a", 1, 0) for _ in range(65536))),
        Enum("e", 4, False, (("A", -1),)),
        Enum("e", 4, True, (("A", 1 << 31),)),
        Struct("nul\0", 8, ()),
        Void(),
    ],
)
def test_what_the_format_cannot_hold_is_refused(bad) -> None:
    with pytest.raises(BtfError):
        encode_btf(Btf((Void(), bad)))
