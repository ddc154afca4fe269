"""The types of objects, with what clang leaves open filled in, are BTF that the kernel takes (BPF_BTF_LOAD)."""

from __future__ import annotations

import ctypes
import os
import struct

import pytest

from skep.btf.types import Btf
from skep.btf.writer import encode_btf
from skep.linker import link_static
from skep.objfile import read_object
from tests.differential.test_linked_objects_kernel import SYSCALL_NUMBERS, Kernel
from tests.unit.linker import test_link, test_static
from tests.unit.objfile import test_data, test_maps, test_programs
from tests.unit.objfile.build import compile_c

BTF_LOAD = 18
SOURCES = {
    "global data": test_data.SOURCE,
    "maps": test_maps.SOURCE,
    "programs": test_programs.SOURCE,
    "subprograms": test_link.CALLS,
    "kconfig": test_link.EXTERNS,
    "ksyms": test_link.KSYMS,
    "extern maps and functions": test_static.MAIN,
}
pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it loads BTF with bpf(2)"),
    pytest.mark.skipif(os.uname().machine not in SYSCALL_NUMBERS, reason="the number of bpf(2) is not known here"),
]


def refusal(btf: Btf | None) -> str:
    """The kernel's log for these types; "" if it takes them."""
    assert btf is not None
    raw = encode_btf(btf)
    data, log = ctypes.create_string_buffer(raw, len(raw)), ctypes.create_string_buffer(1 << 18)
    attr = struct.pack("<QQIIIIII", ctypes.addressof(data), ctypes.addressof(log), len(raw), len(log), 1, 0, 0, 0)
    fd = Kernel().call(BTF_LOAD, attr)
    if fd == -1:
        pytest.skip("this kernel does not let us load BTF (EPERM)")
    if fd < 0:
        return f"errno {-fd}: {log.value.decode()[-400:]}"
    os.close(fd)
    return ""


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES.keys())
def test_types_of_one_object(source: str) -> None:
    assert refusal(read_object(compile_c(source), "x.o").btf) == ""


def test_types_of_joined_objects() -> None:
    parts = [test_static.build(test_static.MAIN, "main.o"), test_static.build(test_static.LIBRARY, "library.o")]
    assert refusal(link_static(parts).btf) == ""
