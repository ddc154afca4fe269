"""Building the bitcode from the C files in this directory. Only the standard library: the package build uses it, too.

A bitcode file starts with the 64 hexadecimal digits of the hash of what it was made from; then LLVM's bytes follow.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

SOURCES = Path(__file__).resolve().parent
ARCHITECTURES = {"x86_64": "x86_64-unknown-linux-gnu", "aarch64": "aarch64-unknown-linux-gnu"}
FLAGS = shlex.split(
    "-std=gnu17 -O2 -emit-llvm -c -g0 -ffreestanding -nostdinc -fno-strict-aliasing -fwrapv -fno-stack-protector "
    "-fno-exceptions -fno-asynchronous-unwind-tables -fno-unwind-tables -fPIC -Wall -Wno-unused-function"
)
ARCHITECTURE_FLAGS = {"x86_64": [], "aarch64": ["-mno-outline-atomics"]}
HASH_DIGITS = 64
_TIMEOUT_S = 120


class BuildError(Exception):
    """The C files could not be compiled; the text says why."""


def file_name(architecture: str) -> str:
    """Name of the packaged bitcode."""
    return f"skep-{architecture}.bc"


def source_hash(architecture: str) -> str:
    """What identifies the bitcode of these C files: they, and how they are compiled."""
    digest = hashlib.sha256(repr((ARCHITECTURES[architecture], FLAGS, ARCHITECTURE_FLAGS[architecture])).encode())
    for path in sorted([*SOURCES.glob("*.c"), *SOURCES.glob("*.h")]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def find_clang() -> list[str] | None:
    """The command of a clang: $SKEP_CLANG, else the ziglang wheel's, else one on PATH."""
    chosen = os.environ.get("SKEP_CLANG")
    if chosen:
        return shlex.split(chosen)
    try:
        import ziglang
    except ImportError:
        found = shutil.which("clang")
        return [found] if found else None
    program = Path(str(ziglang.__file__)).parent / ("zig.exe" if os.name == "nt" else "zig")
    return [str(program), "clang"] if program.exists() else [sys.executable, "-m", "ziglang", "clang"]


def build(architecture: str, clang: list[str], out: Path) -> None:
    """Compile to ``out``, which is complete or not there.

    Raises:
        BuildError: clang could not be started or found errors.
    """
    expected = source_hash(architecture)
    temporary = out.with_name(f"{out.name}.{os.getpid()}.tmp")
    command = [*clang, f"--target={ARCHITECTURES[architecture]}", *FLAGS, *ARCHITECTURE_FLAGS[architecture]]
    try:
        command += ["-o", str(temporary), str(SOURCES / "skep.c")]
        result = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
        if result.returncode != 0:
            raise BuildError(result.stderr.strip() or f"{clang[0]} ended with status {result.returncode}")
        temporary.write_bytes(expected.encode() + temporary.read_bytes())
        os.replace(temporary, out)
    except (OSError, subprocess.SubprocessError) as error:
        raise BuildError(str(error)) from error
    finally:
        temporary.unlink(missing_ok=True)


def read(path: Path, architecture: str) -> bytes | None:
    """The bitcode in a file, or None if there is none or it was made from other sources."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    if data[:HASH_DIGITS] != source_hash(architecture).encode() or data[HASH_DIGITS : HASH_DIGITS + 2] != b"BC":
        return None
    return data[HASH_DIGITS:]
