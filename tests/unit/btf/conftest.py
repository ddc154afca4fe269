"""BTF for tests: compiled from C by clang, or the running kernel's."""

from __future__ import annotations

import functools
import io
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from elftools.elf.elffile import ELFFile

from skep.btf.ext import BtfExt, parse_btf_ext
from skep.btf.reader import parse_btf
from skep.btf.types import Btf

VMLINUX = Path("/sys/kernel/btf/vmlinux")


class Compiled(NamedTuple):
    """What clang made of a C text."""

    data: bytes
    btf: Btf
    ext: BtfExt | None
    stderr: str
    sections: dict[str, bytes]


@functools.cache
def compile_c(source: str, target: str = "bpfel", flags: tuple[str, ...] = ()) -> Compiled:
    """Compile C for BPF with debug information; the test fails with clang's words when it does not compile."""
    pytest.importorskip("ziglang", reason="needs the clang of the ziglang package")
    with tempfile.TemporaryDirectory() as folder:
        file, made = Path(folder, "test.c"), Path(folder, "test.o")
        file.write_text(source)
        command = [sys.executable, "-m", "ziglang", "clang", f"--target={target}", "-O2", "-g", "-mcpu=v3", "-c"]
        result = subprocess.run(
            [*command, *flags, str(file), "-o", str(made)], capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stderr[:4000]
        elf = ELFFile(io.BytesIO(made.read_bytes()))
    data = elf.get_section_by_name(".BTF").data()
    btf = parse_btf(data)
    sections = {section.name: section.data() for section in elf.iter_sections()}
    ext = parse_btf_ext(sections[".BTF.ext"], btf) if ".BTF.ext" in sections else None
    return Compiled(data, btf, ext, result.stderr, sections)


@pytest.fixture(scope="session")
def compiled() -> Callable[..., Compiled]:
    """compile_c, cached."""
    return compile_c


@pytest.fixture(scope="session")
def vmlinux_bytes() -> bytes:
    """The running kernel's BTF."""
    if not VMLINUX.exists():
        pytest.skip(f"{VMLINUX} does not exist: this kernel has no BTF")
    return VMLINUX.read_bytes()


@pytest.fixture(scope="session")
def vmlinux(vmlinux_bytes: bytes) -> Btf:
    """The running kernel's types."""
    return parse_btf(vmlinux_bytes)
