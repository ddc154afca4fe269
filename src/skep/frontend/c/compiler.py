"""Finds a clang that can make eBPF: $SKEP_CLANG, then the ziglang wheel, then a clang >= 15 on PATH."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass

from skep.cache import read_entry, write_entry
from skep.diagnostics import Diagnostic
from skep.errors import CompileError

OLDEST_CLANG = 15
_NEWEST_NAME = 40  # clang-40, clang-39, ... are tried after plain clang
_HELP = "pip install 'skep[clang]', or set SKEP_CLANG to a clang of version 15 or newer"
_VERSION = re.compile(r"clang version (\d+)")


@dataclass(frozen=True, slots=True)
class Compiler:
    """A clang.

    Attributes:
        command: how to start it, before its own arguments.
        lib: the ``lib`` directory of the ziglang wheel, which has clang's and Linux's headers; None: a system clang.
        identity: changes when the compiler does (path, size and time of change of its executable): part of cache keys.
    """

    command: tuple[str, ...]
    lib: pathlib.Path | None
    identity: str


def find_compiler() -> Compiler:
    """The clang to use. Starts no process for the ziglang wheel.

    Raises:
        CompileError: C0001 there is none; C0002 SKEP_CLANG or what is on PATH cannot be used.
    """
    return _find(os.environ.get("SKEP_CLANG") or None, os.environ.get("PATH", ""))


@functools.lru_cache(maxsize=8)
def _find(chosen: str | None, path: str) -> Compiler:
    if chosen is not None:
        return _chosen(chosen, path)
    if (ziglang := _ziglang()) is not None:
        return ziglang
    too_old: list[str] = []
    for name in ("clang", *(f"clang-{version}" for version in range(_NEWEST_NAME, OLDEST_CLANG - 1, -1))):
        executable = shutil.which(name, path=path)
        if executable is None:
            continue
        identity = _identity(executable)
        version = _known_version((executable,), identity)
        if version is not None and version >= OLDEST_CLANG:
            return Compiler((executable,), None, identity)
        too_old.append(f"{executable} is {'no working clang' if version is None else f'clang {version}'}")
    raise CompileError(Diagnostic("C0001", "no clang that can make eBPF was found", why=tuple(too_old), help=_HELP))


def _chosen(chosen: str, path: str) -> Compiler:
    """$SKEP_CLANG: a path, or a command with arguments such as ``python3 -m ziglang clang``."""
    try:
        words = [chosen] if os.path.exists(chosen) else shlex.split(chosen)
    except ValueError:
        words = []
    executable = shutil.which(words[0], path=path) if words else None
    if executable is None:
        raise _unusable(chosen, "there is no such program")
    command = (executable, *words[1:])
    identity = "\0".join((_identity(executable), *words[1:]))
    version = _known_version(command, identity)
    if version is None:
        raise _unusable(chosen, "it does not answer --version as clang does")
    if version < OLDEST_CLANG:
        raise _unusable(chosen, f"it is clang {version}; {OLDEST_CLANG} is the oldest that can be used")
    lib = None
    if "ziglang" in words:
        ziglang = _ziglang()
        lib = ziglang.lib if ziglang else None
    elif pathlib.Path(executable).stem == "zig":
        lib = _zig_lib(pathlib.Path(executable).resolve().parent)
    return Compiler(command, lib, identity)


def _unusable(chosen: str, why: str) -> CompileError:
    return CompileError(Diagnostic("C0002", f"SKEP_CLANG={chosen} cannot be used", why=(why,), help=_HELP))


def _ziglang() -> Compiler | None:
    """The wheel's own executable: what ``python -m ziglang clang`` starts, without a Python in between."""
    try:
        spec = importlib.util.find_spec("ziglang")
    except (ImportError, ValueError):
        return None
    for place in (spec.submodule_search_locations or ()) if spec else ():
        directory = pathlib.Path(place)
        lib = _zig_lib(directory)
        for name in ("zig", "zig.exe"):
            if lib is not None and (directory / name).is_file():
                return Compiler((str(directory / name), "clang"), lib, _identity(str(directory / name)))
        if lib is not None:
            return Compiler((sys.executable, "-m", "ziglang", "clang"), lib, str(directory))
    return None


def _zig_lib(directory: pathlib.Path) -> pathlib.Path | None:
    for lib in (directory / "lib", directory / "lib" / "zig"):
        if (lib / "include").is_dir() and (lib / "libc").is_dir():
            return lib
    return None


def _identity(executable: str) -> str:
    try:
        status = os.stat(executable)
    except OSError:
        return executable
    return f"{os.path.realpath(executable)}:{status.st_size}:{status.st_mtime_ns}"


def _known_version(command: tuple[str, ...], identity: str) -> int | None:
    """`clang_version`, remembered in the cache: a process for it once, not before every compilation."""
    key = hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()
    entry = read_entry("compilers", key)
    if entry is not None and entry.isdigit():
        return int(entry)
    version = clang_version(command)
    if version is not None:
        write_entry("compilers", key, str(version).encode())
    return version


def clang_version(command: tuple[str, ...]) -> int | None:
    """Major version; None: no clang, or no answer within 20 s. Apple's own numbers are taken as they are."""
    try:
        answer = subprocess.run(
            [*command, "--version"], capture_output=True, timeout=20, stdin=subprocess.DEVNULL, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = _VERSION.search(answer.stdout.decode(errors="replace"))
    return int(found[1]) if found else None
