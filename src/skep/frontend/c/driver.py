"""Starts clang once, with a deadline, and turns what comes out into an object or a CompileError."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import subprocess
import tempfile
from dataclasses import dataclass, replace

from skep.diagnostics import Diagnostic, Severity
from skep.errors import CompileError
from skep.frontend.c.compiler import Compiler
from skep.frontend.c.depfile import parse_depfile
from skep.frontend.c.messages import parse_messages

_STDERR_LIMIT = 1 << 20
_SOURCE_LIMIT = 64 << 20
# They would add directories or change results behind the cache's back.
_UNWANTED_ENVIRONMENT = frozenset(
    {
        "CPATH",
        "C_INCLUDE_PATH",
        "CPLUS_INCLUDE_PATH",
        "OBJC_INCLUDE_PATH",
        "DEPENDENCIES_OUTPUT",
        "CCC_OVERRIDE_OPTIONS",
    }
)


@dataclass(frozen=True, slots=True)
class Output:
    """A successful run: the object, every file that was read (as clang names them), and warnings."""

    elf: bytes
    dependencies: tuple[str, ...]
    warnings: tuple[Diagnostic, ...]


@dataclass(frozen=True, slots=True)
class _Run:
    status: int
    stderr: str


def compile_object(
    compiler: Compiler, arguments: tuple[str, ...], source: str, directory: pathlib.Path, deadline_seconds: float
) -> Output:
    """Compile one file.

    Args:
        arguments: everything but input and output.
        source: the file's name, as messages and debug information shall show it; relative to ``directory``.
        directory: where clang runs.

    Raises:
        CompileError: C01xx as clang says; C0003 deadline; C0004 clang crashed; C0007 no object came out.
    """
    with tempfile.TemporaryDirectory(prefix="skep-", ignore_cleanup_errors=True) as scratch:
        elf_path, dep_path = pathlib.Path(scratch, "out.o"), pathlib.Path(scratch, "out.d")
        command = (
            *compiler.command, *arguments, "-c", "-x", "c", _as_operand(source), "-o", str(elf_path),
            "-MD", "-MF", str(dep_path), "-MT", "out",
        )  # fmt: skip
        run = _run(command, directory, deadline_seconds, source)
        messages = parse_messages(run.stderr, _SourceReader(directory).line)
        if run.status != 0:
            raise CompileError(_errors(run, messages, source))
        elf = _read(elf_path)
        if not elf.startswith(b"\x7fELF"):
            why = "a flag such as -S, -E or -emit-llvm asks for something else" if elf else "the file is empty"
            raise CompileError(Diagnostic("C0007", f"clang made no object file of {source}", why=(why,)))
        dependencies = parse_depfile(_read(dep_path).decode(errors="surrogateescape"))
    return Output(elf, dependencies, tuple(m for m in messages if m.severity is Severity.WARNING))


def missing_headers(
    compiler: Compiler, arguments: tuple[str, ...], source: str, directory: pathlib.Path, deadline_seconds: float
) -> frozenset[str]:
    """Names of included files that are not there (preprocessing only); empty when the source cannot be preprocessed."""
    command = (*compiler.command, *arguments, "-M", "-MG", "-MT", "out", "-w", "-x", "c", _as_operand(source))
    with tempfile.TemporaryFile() as output:
        _run(command, directory, deadline_seconds, source, output.fileno())
        output.seek(0)
        text = output.read(_SOURCE_LIMIT).decode(errors="replace")
    return frozenset(name for name in parse_depfile(text) if not (directory / name).exists())


def _as_operand(source: str) -> str:
    return f"./{source}" if source.startswith(("-", "@")) else source


def _run(
    command: tuple[str, ...],
    directory: pathlib.Path,
    deadline_seconds: float,
    source: str,
    stdout: int = subprocess.DEVNULL,
) -> _Run:
    environment = {name: value for name, value in os.environ.items() if name not in _UNWANTED_ENVIRONMENT}
    environment["LC_ALL"] = "C"
    with tempfile.TemporaryFile() as stderr:
        try:
            process = subprocess.Popen(
                command,
                cwd=directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise CompileError(Diagnostic("C0002", f"{command[0]} cannot be started", why=(str(error),))) from error
        try:
            status = process.wait(deadline_seconds)
        except subprocess.TimeoutExpired:
            what = f"{source} did not compile within {deadline_seconds:g} seconds"
            raise CompileError(Diagnostic("C0003", what, help="look for endless macros or includes")) from None
        finally:
            _end(process)
        stderr.seek(0)
        return _Run(status, stderr.read(_STDERR_LIMIT).decode(errors="replace"))


def _end(process: subprocess.Popen[bytes]) -> None:
    """No process of ours outlives the call, whatever ended it."""
    if process.poll() is None:
        with contextlib.suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
        process.wait()


def _errors(run: _Run, messages: list[Diagnostic], source: str) -> list[Diagnostic]:
    errors = [message for message in messages if message.severity is Severity.ERROR]
    crashed = run.status < 0 or run.status >= 128 or "PLEASE submit a bug report" in run.stderr
    if errors and not crashed:
        return errors + [message for message in messages if message.severity is Severity.WARNING]
    tail = tuple(line.strip() for line in run.stderr.splitlines() if line.strip())[:6]
    what = f"clang crashed while compiling {source}" if crashed else f"clang failed on {source} without saying why"
    how = f"it was ended by signal {-run.status}" if run.status < 0 else f"its exit status is {run.status}"
    return [Diagnostic("C0004", what, why=(how, *tail)), *(replace(error, why=error.why[:2]) for error in errors)]


def _read(path: pathlib.Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


class _SourceReader:
    """Lines of the files that messages point to, each file read once."""

    def __init__(self, directory: pathlib.Path) -> None:
        self._directory = directory
        self._files: dict[str, list[str]] = {}

    def line(self, file: str, number: int) -> str | None:
        lines = self._files.get(file)
        if lines is None:
            path = self._directory / file
            fits = path.is_file() and path.stat().st_size <= _SOURCE_LIMIT
            lines = _read(path).decode(errors="replace").split("\n") if fits else []
            self._files[file] = lines
        return lines[number - 1].rstrip("\r") if 0 < number <= len(lines) else None
