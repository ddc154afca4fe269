"""Where ``#include <...>`` looks: our own headers, then clang's, the C library's and Linux's."""

from __future__ import annotations

import pathlib
import platform

from skep.frontend.c.compiler import Compiler

INCLUDE = pathlib.Path(__file__).parent.parent / "include"
FALLBACK = INCLUDE / "fallback"

# platform.machine() -> (name after __TARGET_ARCH_, directory of ziglang's Linux headers, of its musl headers).
_ARCHITECTURES: dict[str, tuple[str, str, str]] = {
    "x86_64": ("x86", "x86", "x86_64"),
    "amd64": ("x86", "x86", "x86_64"),
    "i686": ("x86", "x86", "x86"),
    "i386": ("x86", "x86", "x86"),
    "aarch64": ("arm64", "aarch64", "aarch64"),
    "arm64": ("arm64", "aarch64", "aarch64"),
    "armv7l": ("arm", "arm", "arm"),
    "s390x": ("s390", "s390x", "s390x"),
    "ppc64le": ("powerpc", "powerpc", "powerpc64"),
    "ppc64": ("powerpc", "powerpc", "powerpc64"),
    "riscv64": ("riscv", "riscv", "riscv64"),
    "loongarch64": ("loongarch", "loongarch", "loongarch64"),
    "mips64": ("mips", "mips", "mips64"),
    "mips": ("mips", "mips", "mips"),
    "sparc64": ("sparc", "sparc", "sparc64"),
    "arc": ("arc", "arc", "arc"),
}


def host_architecture() -> str:
    """The name for -D__TARGET_ARCH_<name>; x86 for a machine we do not know: its programs use no registers then."""
    return _ARCHITECTURES.get(platform.machine().lower(), _ARCHITECTURES["x86_64"])[0]


def system_includes(compiler: Compiler) -> tuple[pathlib.Path, ...]:
    """Directories for -isystem after our own, those that exist, in order of search."""
    _, linux, musl = _ARCHITECTURES.get(platform.machine().lower(), _ARCHITECTURES["x86_64"])
    if compiler.lib is None:
        triplet = f"{platform.machine()}-linux-gnu"
        places = [
            pathlib.Path("/usr/local/include"),
            pathlib.Path("/usr/include", triplet),
            pathlib.Path("/usr/include"),
        ]
    else:
        libc = compiler.lib / "libc" / "include"
        places = [
            compiler.lib / "include",
            libc / f"{musl}-linux-musl",
            libc / "generic-musl",
            libc / f"{linux}-linux-any",
            libc / "any-linux-any",
        ]
    return tuple(place for place in places if place.is_dir())
