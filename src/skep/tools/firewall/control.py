"""Live control: a Unix socket of the running firewall; one line of JSON asks, one line of JSON answers.

Who may open the socket (its owner: root, for the kernel engine) may change the firewall. Changes go into the maps that
the program reads: they hold from the next packet on.
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
from skep.tools.firewall.firewall import Count, Firewall
from skep.tools.firewall.layout import named_interfaces
from skep.tools.firewall.rulefile import read_rules
from skep.tools.firewall.rules import RuleSet
from skep.tools.firewall.words import parse_network

MAX_REQUEST = 1 << 16
MAX_ANSWER = 1 << 27
PATIENCE_SECONDS = 5.0


def control_path(interface: str) -> Path:
    """Where the firewall of an interface listens, unless told otherwise."""
    base = os.environ.get("XDG_RUNTIME_DIR") if os.geteuid() else None
    return Path(base or "/run") / "skep" / f"firewall-{interface}.sock"


def interface_numbers(rules: RuleSet) -> dict[str, int]:
    """The numbers of the interfaces that rules speak of, of those that exist."""
    there = {name: number for number, name in socket.if_nameindex()}
    return {name: there[name] for name in named_interfaces(rules) if name in there}


class ControlServer:
    """The side of the running firewall. Use it in a with statement; call :meth:`serve` again and again."""

    def __init__(self, path: Path, firewall: Firewall, rule_file: Path) -> None:
        """Listen at ``path``.

        Raises:
            UsageError: F0402: another firewall listens there, or the place cannot be written.
        """
        self.path = path
        self.firewall = firewall
        self.rule_file = rule_file
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
        what = f"a firewall is running already: it listens at {path}"
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
            verb = _VERBS[request["verb"]]
            return {"ok": verb(self, request)}
        except SkepError as error:
            return {"error": [diagnostic.to_json() for diagnostic in error.diagnostics]}
        except (ValueError, KeyError, TypeError) as error:
            diagnostic = Diagnostic("F0403", f"the request is not understood: {error}")
            return {"error": [diagnostic.to_json()]}

    def _deny(self, request: Mapping[str, Any]) -> Any:
        self.firewall.deny(parse_network(request["network"]))

    def _allow(self, request: Mapping[str, Any]) -> Any:
        self.firewall.allow(parse_network(request["network"]))

    def _forget(self, request: Mapping[str, Any]) -> Any:
        return self.firewall.forget(parse_network(request["network"]))

    def _cut(self, request: Mapping[str, Any]) -> Any:
        return self.firewall.forget_connections()

    def reload(self, request: Mapping[str, Any] | None = None) -> int:
        """Put the rule file in force again, or the one that the request names. Returns the number of rules."""
        file = Path((request or {}).get("file") or self.rule_file)
        rules = read_rules(file)
        self.firewall.replace(rules, interface_numbers(rules))
        self.rule_file = file
        return len(rules.rules)

    def _counters(self, request: Mapping[str, Any]) -> Any:
        return counts(self.firewall)

    def close(self) -> None:
        """Stop listening; a second call does nothing."""
        if self._socket.fileno() >= 0:
            self._socket.close()
            self.path.unlink(missing_ok=True)

    def __enter__(self) -> ControlServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_VERBS: Mapping[str, Callable[[ControlServer, Mapping[str, Any]], Any]] = {
    "deny": ControlServer._deny,
    "allow": ControlServer._allow,
    "forget": ControlServer._forget,
    "cut": ControlServer._cut,
    "reload": ControlServer.reload,
    "counters": ControlServer._counters,
}


def ask(path: Path, **request: Any) -> Any:
    """Ask a running firewall.

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
            what = f"no firewall answers at {path}: {getattr(error, 'strerror', None) or error}"
            help = "start one with skep firewall run, or name its socket with --control"
            raise UsageError(Diagnostic("F0404", what, help=help)) from None
    if "error" in answer:
        first = answer["error"][0]
        raise UsageError(Diagnostic(first["code"], first["what"], help=first["help"]))
    return answer["ok"]


def counts(firewall: Firewall) -> dict[str, Any]:
    """All counters as plain values: reasons, events, rules, live entries."""
    return {
        "reasons": {name: _plain(count) for name, count in firewall.reasons().items()},
        "events": {name: _plain(count) for name, count in firewall.events().items()},
        "rules": [
            {"line": rule.line, "name": rule.name or rule.text, **_plain(count)}
            for rule, count in zip(firewall.rules.rules, firewall.counters(), strict=True)
        ],
        "live": [
            {"network": str(network), "action": action.name.lower(), **_plain(count)}
            for network, (action, count) in firewall.live_entries().items()
        ],
    }


def _plain(count: Count) -> dict[str, int]:
    return {"packets": count.packets, "bytes": count.bytes}


def _read_line(opened: socket.socket, limit: int) -> bytes:
    data = bytearray()
    while not data.endswith(b"\n") and len(data) <= limit:
        piece = opened.recv(1 << 16)
        if not piece:
            break
        data += piece
    return bytes(data)
