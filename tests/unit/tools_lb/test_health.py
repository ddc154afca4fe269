"""Health checks against servers on the loopback: up at once, down after some failures, up again."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from skep.tools.lb import Backend
from skep.tools.lb.config import CheckKind, Health, parse_address
from skep.tools.lb.health import Finding, HealthChecks
from tests.conftest import SLOWNESS

HERE = parse_address("127.0.0.1")


class Handler(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.server.status if self.path == "/health" else 404)  # type: ignore[attr-defined]
        self.end_headers()

    def log_message(self, *words: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.status = 200  # type: ignore[attr-defined]
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def wait(checks: HealthChecks, count: int = 1) -> list[Finding]:
    """So many findings, in their order."""
    found: list[Finding] = []
    deadline = time.monotonic() + 20 * SLOWNESS
    while len(found) < count:
        assert time.monotonic() < deadline
        found += checks.findings()
        time.sleep(0.02)
    return found


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


def test_http(server: ThreadingHTTPServer) -> None:
    health = Health(CheckKind.HTTP, path="/health", every=1, timeout=1, rise=1, fall=2)
    backend = Backend(HERE, server.server_port)
    with HealthChecks() as checks:
        checks.watch([("web", backend, health)])
        assert wait(checks) == [Finding("web", backend.name, True, "HTTP status 200")]
        server.status = 503  # type: ignore[attr-defined]
        assert wait(checks) == [Finding("web", backend.name, False, "HTTP status 503")]
        server.status = 204  # type: ignore[attr-defined]
        assert wait(checks) == [Finding("web", backend.name, True, "HTTP status 204")]


def test_tcp_and_nobody_there(server: ThreadingHTTPServer) -> None:
    good, bad = Backend(HERE, server.server_port), Backend(HERE, free_port())
    with HealthChecks() as checks:
        checks.watch([("a", good, Health(every=1)), ("b", bad, Health(every=1))])
        found = {finding.service: finding for finding in wait(checks, 2)}
        assert found["a"].is_up
        assert not found["b"].is_up
        assert "refused" in found["b"].why.lower()
        checks.watch([("a", good, Health(every=1))])
        time.sleep(0.1)
        assert list(checks.findings()) == []


def test_a_server_that_says_nothing_and_one_that_talks_nonsense() -> None:
    with contextlib.ExitStack() as stack:
        silent, odd = (stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2))

        def answer() -> None:
            with contextlib.suppress(OSError):
                client, _ = odd.accept()
                with client:
                    client.sendall(b"\0" * 10_000)

        thread = threading.Thread(target=answer)
        thread.start()
        health = Health(CheckKind.HTTP, every=1, timeout=1)
        with HealthChecks() as checks:
            checks.watch([(str(n), Backend(HERE, s.getsockname()[1]), health) for n, s in enumerate((silent, odd))])
            found = {finding.service: finding for finding in wait(checks, 2)}
        thread.join()
    assert not found["0"].is_up
    assert "within 1 s" in found["0"].why
    assert not found["1"].is_up
