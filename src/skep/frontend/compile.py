"""Restricted C to an eBPF object: the first station of the walk.

A compilation is found in the cache by everything that can change its result: source, flags, compiler, and the content
of every file that was included. A hit starts no process.
"""

from __future__ import annotations

import hashlib
import os
import pathlib
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from skep.diagnostics import Diagnostic, SourceFile
from skep.errors import CompileError, InputError, UsageError
from skep.frontend.c import driver, include_paths, vmlinux
from skep.frontend.c.compiler import Compiler, find_compiler
from skep.frontend.records import Record, find_record, store_record

TARGET_CPUS = ("v1", "v2", "v3", "v4")
DEADLINE_SECONDS = 120.0
_TARGETS = {"little": "bpfel", "big": "bpfeb"}
_SOURCE_LIMIT = 64 << 20
_FORMAT = "1"  # raise it when the same key could give another object
# Flags followed by a path, glued to it or as the next word.
_PATH_FLAGS = ("-I", "-isystem", "-iquote", "-idirafter", "-include", "-imacros")

Source = str | os.PathLike[str] | SourceFile


@dataclass(frozen=True, slots=True)
class Compiled:
    """A compiled object: ELF bytes, clang's warnings, and whether a process had to be started for it."""

    elf: bytes
    warnings: tuple[Diagnostic, ...]
    from_cache: bool


@dataclass(frozen=True, slots=True)
class _Input:
    """A source as clang sees it: its content, its name there, and the directory to run in."""

    content: bytes
    name: str
    directory: pathlib.Path
    flags: tuple[str, ...]
    place: str  # what a relative name is relative to, for the cache's key


def compile_c(
    source: Source,
    *,
    target_cpu: str = "v3",
    flags: Sequence[str] = (),
    byte_order: str = "little",
    btf: vmlinux.Types = None,
    cache: bool = True,
) -> bytes:
    """Compile restricted C to ELF bytes; see `compile_source`, which also gives the warnings."""
    return compile_source(source, target_cpu=target_cpu, flags=flags, byte_order=byte_order, btf=btf, cache=cache).elf


def compile_source(
    source: Source,
    *,
    target_cpu: str = "v3",
    flags: Sequence[str] = (),
    byte_order: str = "little",
    btf: vmlinux.Types = None,
    cache: bool = True,
    architecture: str | None = None,
    deadline_seconds: float = DEADLINE_SECONDS,
) -> Compiled:
    """Compile restricted C.

    Args:
        source: a path, or a SourceFile for text that need not be in a file.
        target_cpu: instruction set version, v1 to v4.
        flags: more flags for clang, after ours.
        byte_order: "little" or "big".
        btf: types of the target kernel, for ``#include "vmlinux.h"``, or a function that fetches them when needed;
            None: the trimmed header that we carry.
        cache: look into the cache, and store the result there.
        architecture: the machine that is traced, as in -D__TARGET_ARCH_x86; None: this one.
        deadline_seconds: how long clang may take.

    Raises:
        CompileError: the source does not compile, or there is no compiler.
        InputError: the source cannot be read.
        UsageError: a target_cpu or byte_order that does not exist.
        BtfError: ``btf`` is broken.
    """
    if target_cpu not in TARGET_CPUS:
        raise _usage("U0201", f"there is no target cpu '{target_cpu}'", f"choose one of {', '.join(TARGET_CPUS)}")
    if byte_order not in _TARGETS:
        raise _usage("U0202", f"there is no byte order '{byte_order}'", "choose little or big")
    options = (
        f"--target={_TARGETS[byte_order]}", "-O2", "-g", f"-mcpu={target_cpu}", "-nostdinc",
        f"-D__TARGET_ARCH_{architecture or include_paths.host_architecture()}",
        # Names in debug information as the user gave them: the same object wherever it is built.
        "-fdebug-compilation-dir=.",
        "-fno-color-diagnostics", "-fno-caret-diagnostics", "-fdiagnostics-print-source-range-info",
        "-fno-crash-diagnostics",
    )  # fmt: skip
    try:
        return _cached(source, tuple(flags), options, vmlinux.KernelTypes(btf), cache, deadline_seconds)
    except OSError as error:
        raise CompileError(
            Diagnostic(
                "C0006", "the working directory or the place for temporary files cannot be used", why=(str(error),)
            )
        ) from error


def _cached(
    source: Source,
    flags: tuple[str, ...],
    options: tuple[str, ...],
    btf: vmlinux.KernelTypes,
    cache: bool,
    deadline_seconds: float,
) -> Compiled:
    """From the cache, else compiled and stored there."""
    compiler = find_compiler()
    with _input(source, flags) as given:
        key = _key(given, options, compiler)
        if cache and (record := find_record(key, given.directory, btf.name)) is not None:
            return Compiled(record.elf, record.warnings, True)
        output, search, started_ns = _compile(given, options, compiler, btf, deadline_seconds)
        if cache:
            record = Record(output.elf, output.warnings, btf.name() if _has_types(output) else None)
            store_record(key, record, output.dependencies, search, given.directory, started_ns)
        return Compiled(output.elf, output.warnings, False)


def _compile(
    given: _Input, options: tuple[str, ...], compiler: Compiler, btf: vmlinux.KernelTypes, deadline_seconds: float
) -> tuple[driver.Output, tuple[pathlib.Path, ...], int]:
    """Run clang; also returns the directories that it searched, in order, and when it was started (ns since 1970)."""
    own = (include_paths.INCLUDE, include_paths.INCLUDE / "bpf")
    system = include_paths.system_includes(compiler)
    base = (*options, *given.flags)
    with tempfile.TemporaryDirectory(prefix="skep-", ignore_cleanup_errors=True) as scratch:
        types = _types_directory(given, base, (*own, *system), compiler, btf, pathlib.Path(scratch), deadline_seconds)
        search = (*own, *types, *system)
        arguments = (*base, *_isystem(search))
        started_ns = time.time_ns()
        output = driver.compile_object(compiler, arguments, given.name, given.directory, deadline_seconds)
    return output, (given.directory, *_user_directories(given), *search), started_ns


def _types_directory(
    given: _Input,
    base: tuple[str, ...],
    search: tuple[pathlib.Path, ...],
    compiler: Compiler,
    btf: vmlinux.KernelTypes,
    scratch: pathlib.Path,
    deadline_seconds: float,
) -> tuple[pathlib.Path, ...]:
    """Where vmlinux.h is, for a program that includes it: making it takes seconds."""
    if btf.is_absent:
        return (include_paths.FALLBACK,)
    arguments = (*base, *_isystem(search))
    missing = driver.missing_headers(compiler, arguments, given.name, given.directory, deadline_seconds)
    if vmlinux.HEADER not in missing:
        return ()
    data = btf.data()
    if data is None:
        return (include_paths.FALLBACK,)
    return (vmlinux.find_vmlinux(data) or vmlinux.write_vmlinux(data, scratch),)


def _isystem(directories: tuple[pathlib.Path, ...]) -> tuple[str, ...]:
    return tuple(word for directory in directories for word in ("-isystem", str(directory)))


def _user_directories(given: _Input) -> Iterator[pathlib.Path]:
    """Directories of the user's -I and its family, in the order in which clang searches them."""
    for wanted in ("-iquote", "-I", "-isystem"):
        for flag, path in _path_flags(given.flags):
            if flag == wanted:
                yield given.directory / path


def _path_flags(flags: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    words = iter(flags)
    for word in words:
        for flag in _PATH_FLAGS:
            if word == flag:
                yield flag, next(words, "")
                break
            if word.startswith(flag) and flag == "-I":
                yield flag, word[2:]
                break


def _has_types(output: driver.Output) -> bool:
    """Was a vmlinux.h of ours included, and not one of the user's?"""
    own = {str(include_paths.FALLBACK / vmlinux.HEADER), *map(str, vmlinux.cached_headers())}
    return not own.isdisjoint(output.dependencies)


def _key(given: _Input, options: tuple[str, ...], compiler: Compiler) -> str:
    """Everything that is known before clang runs; what it includes is checked by the record."""
    parts = (
        _FORMAT,
        compiler.identity,
        given.name,
        given.place,
        *options,
        *given.flags,
    )
    digest = hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape"))
    digest.update(hashlib.sha256(given.content).digest())
    return digest.hexdigest()


@contextmanager
def _input(source: Source, flags: tuple[str, ...]) -> Iterator[_Input]:
    if not isinstance(source, SourceFile):
        name = os.fspath(source)
        directory = pathlib.Path.cwd()
        yield _Input(_read_source(name), name, directory, flags, str(directory))
        return
    if len(source.text) > _SOURCE_LIMIT:
        raise _unreadable(source.name, "it is larger than 64 MiB")
    # clang reads a file under the text's own name, so that messages and debug information show that name.
    with tempfile.TemporaryDirectory(prefix="skep-", ignore_cleanup_errors=True) as scratch:
        name = _plain_name(source.name)
        path = pathlib.Path(scratch, name)
        content = source.text.encode("utf-8", "surrogateescape")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        except (OSError, ValueError) as error:
            raise _unreadable(source.name, str(error)) from None
        beside = pathlib.Path(source.name).parent.absolute() if "\0" not in source.name else pathlib.Path.cwd()
        absolute = (*_absolute_flags(flags), "-iquote", str(beside))
        yield _Input(content, name, pathlib.Path(scratch), absolute, "")


def _plain_name(name: str) -> str:
    """The name where it can be made below a scratch directory, else its last part."""
    path = pathlib.PurePath(name.replace("\0", "_") or "source.c")
    return str(path) if not path.is_absolute() and ".." not in path.parts else path.name


def _absolute_flags(flags: tuple[str, ...]) -> tuple[str, ...]:
    """Flags for a run in another directory: relative paths made absolute."""
    out: list[str] = []
    words = iter(flags)
    for word in words:
        if word in _PATH_FLAGS:
            path = next(words, "")
            is_file_there = word not in ("-include", "-imacros") or os.path.exists(path)
            out += [word, os.path.abspath(path) if path and is_file_there else path]
        elif word.startswith("-I"):
            out.append("-I" + os.path.abspath(word[2:]))
        else:
            out.append(word)
    return tuple(out)


def _read_source(name: str) -> bytes:
    try:
        path = pathlib.Path(name)
        if path.is_dir():
            raise _unreadable(name, "it is a directory")
        if path.exists() and not path.is_file():
            raise _unreadable(name, "it is not a regular file")
        with path.open("rb") as file:
            content = file.read(_SOURCE_LIMIT + 1)
    except (OSError, ValueError) as error:
        raise _unreadable(
            name, error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        ) from None
    if len(content) > _SOURCE_LIMIT:
        raise _unreadable(name, "it is larger than 64 MiB")
    return content


def _unreadable(name: str, why: str) -> InputError:
    shown = name if len(name) <= 200 else f"{name[:200]}..."
    help_text = "give text as SourceFile(name, text)" if "\n" in name else None
    return InputError(Diagnostic("C0005", f"the source {shown!r} cannot be read", why=(why,), help=help_text))


def _usage(code: str, what: str, help_text: str) -> UsageError:
    return UsageError(Diagnostic(code, what, help=help_text))
