"""Live control: a Unix socket of a tool that runs; one line of JSON asks, one line of JSON answers.

Who may open the socket (its owner: root, for the kernel engine) may change the tool. Changes go into the maps that its
program reads: they hold from the next packet on.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from skep.diagnostics import Diagnostic
from skep.errors import SkepError, UsageError

MAX_REQUEST = 1 << 16
MAX_ANSWER = 1 << 27
PATIENCE_SECONDS = 5.0

Verb = Callable[[Mapping[str, Any]], Any]


def control_path(tool: str, interface: str) -> Path:
    """Where a tool (``firewall``, ``lb``) that runs on an interface listens, unless told otherwise."""
    base = os.environ.get("XDG_RUNTIME_DIR") if os.geteuid() else None
    return Path(base or "/run") / "skep" / f"{tool}-{interface}.sock"


class ControlServer:
    """The side of the running tool. Use it in a with statement; call :meth:`serve` again and again."""

    def __init__(self, path: Path, verbs: Mapping[str, Verb]) -> None:
        """Listen at ``path``; a request names one of ``verbs``.

        Raises:
            UsageError: F0402: another process listens there, or the place cannot be written.
        """
        self.path = path
        self._verbs = verbs
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if path.is_socket():
                self._take_over(path)
            before = os.umask(0o177)
            try:
                self._socket.bind(str(path))
            finally:
                os.umask(before)
            self._socket.listen(8)
        except OSError as error:
            self._socket.close()
            what = f"cannot listen at {path}: {error.strerror or error}"
            raise UsageError(Diagnostic("F0402", what, help="choose another place with --control")) from None

    @staticmethod
    def _take_over(path: Path) -> None:
        """A socket that nobody answers was left by a process that is gone."""
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
                return
        what = f"one is running already: it listens at {path}"
        raise UsageError(Diagnostic("F0402", what, help="stop it first, or choose another place with --control"))

    def serve(self, seconds: float) -> None:
        """Answer whoever asks within so many seconds."""
        ready, _, _ = select.select([self._socket], [], [], seconds)
        if not ready:
            return
        client, _ = self._socket.accept()
        with client, contextlib.suppress(OSError):
            client.settimeout(PATIENCE_SECONDS)
            client.sendall(json.dumps(self._answer(_read_line(client, MAX_REQUEST))).encode() + b"\n")

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            return {"ok": self._verbs[request["verb"]](request)}
        except SkepError as error:
            return {"error": [diagnostic.to_json() for diagnostic in error.diagnostics]}
        except (ValueError, KeyError, TypeError) as error:
            diagnostic = Diagnostic("F0403", f"the request is not understood: {error}")
            return {"error": [diagnostic.to_json()]}

    def close(self) -> None:
        """Stop listening; a second call does nothing."""
        if self._socket.fileno() >= 0:
            self._socket.close()
            self.path.unlink(missing_ok=True)

    def __enter__(self) -> ControlServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def ask(tool: str, path: Path, **request: Any) -> Any:
    """Ask a tool that runs.

    Raises:
        UsageError: F0404: none is running there; or what it answered.
    """
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        try:
            client.connect(str(path))
            client.sendall(json.dumps(request).encode() + b"\n")
            answer = json.loads(_read_line(client, MAX_ANSWER))
        except (OSError, ValueError) as error:
            what = f"no {tool} answers at {path}: {getattr(error, 'strerror', None) or error}"
            help = f"start one with skep {tool} run, or name its socket with --control"
            raise UsageError(Diagnostic("F0404", what, help=help)) from None
    if "error" in answer:
        first = answer["error"][0]
        raise UsageError(Diagnostic(first["code"], first["what"], help=first["help"]))
    return answer["ok"]


def _read_line(opened: socket.socket, limit: int) -> bytes:
    data = bytearray()
    while not data.endswith(b"\n") and len(data) <= limit:
        piece = opened.recv(1 << 16)
        if not piece:
            break
        data += piece
    return bytes(data)
