"""Health checks: TCP connections and HTTP requests to backends, in an asyncio loop of its own thread.

Only the addresses of the configuration are asked. What is found goes into a queue: who owns the load balancer takes it
from there, so that nobody else changes its maps.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass

from skep.tools.lb.config import Backend, CheckKind, Health, with_port

MAX_AT_ONCE = 256
_MAX_ANSWER = 1 << 12


@dataclass(frozen=True, slots=True)
class Finding:
    """A backend went up or down; ``why`` in a few words."""

    service: str
    backend: str
    is_up: bool
    why: str


@dataclass(frozen=True, slots=True)
class Check:
    """What is asked, and whom."""

    service: str
    backend: Backend
    health: Health

    @property
    def endpoint(self) -> tuple[str, int]:
        """Where to ask."""
        return str(self.backend.address), self.health.port or self.backend.port


class HealthChecks:
    """Checks that run until :meth:`close`. Use it in a with statement."""

    def __init__(self) -> None:
        self._found: queue.SimpleQueue[Finding] = queue.SimpleQueue()
        self._tasks: dict[Check, asyncio.Task[None]] = {}
        self._loop = asyncio.new_event_loop()
        self._at_once = asyncio.Semaphore(MAX_AT_ONCE)
        self._thread = threading.Thread(target=self._loop.run_forever, name="health", daemon=True)
        self._thread.start()

    def watch(self, checks: Iterable[tuple[str, Backend, Health]], *, anew: bool = False) -> None:
        """From now on these are checked, and no others; what was checked before goes on, or begins ``anew``."""
        wanted = [Check(*each) for each in checks]
        if anew:
            asyncio.run_coroutine_threadsafe(self._watch([]), self._loop).result()
        asyncio.run_coroutine_threadsafe(self._watch(wanted), self._loop).result()

    async def _watch(self, wanted: list[Check]) -> None:
        ended = [self._tasks.pop(check) for check in set(self._tasks) - set(wanted)]
        for task in ended:
            task.cancel()
        await asyncio.gather(*ended, return_exceptions=True)
        for check in wanted:
            if check not in self._tasks:
                self._tasks[check] = self._loop.create_task(self._follow(check))

    def findings(self) -> Iterable[Finding]:
        """What was found since the last call."""
        with contextlib.suppress(queue.Empty):
            while True:
                yield self._found.get_nowait()

    async def _follow(self, check: Check) -> None:
        """Ask again and again; tell when the answers have changed for long enough. The first one counts at once."""
        health, is_up, in_a_row = check.health, None, 0
        while True:
            started = self._loop.time()
            async with self._at_once:
                is_good, why = await ask(check)
            in_a_row = in_a_row + 1 if is_good != is_up else 0
            if in_a_row and (is_up is None or in_a_row >= (health.rise if is_good else health.fall)):
                is_up, in_a_row = is_good, 0
                self._found.put(Finding(check.service, check.backend.name, is_up, why))
            await asyncio.sleep(max(0.0, started + health.every - self._loop.time()))

    def close(self) -> None:
        """Stop asking; a second call does nothing."""
        if not self._thread.is_alive():
            return
        asyncio.run_coroutine_threadsafe(self._watch([]), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> HealthChecks:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


async def ask(check: Check) -> tuple[bool, str]:
    """Ask once: whether the answer is good, and why."""
    try:
        async with asyncio.timeout(check.health.timeout):
            return await _ASKED[check.health.kind](check)
    except TimeoutError:
        return False, f"no answer within {check.health.timeout} s"
    except OSError as error:
        return False, os.strerror(error.errno) if error.errno else str(error)
    except ValueError:  # a first line without an end
        return False, "the answer is not HTTP"


async def _ask_tcp(check: Check) -> tuple[bool, str]:
    _, writer = await asyncio.open_connection(*check.endpoint)
    await _end(writer)
    return True, "it accepts connections"


async def _ask_http(check: Check) -> tuple[bool, str]:
    health = check.health
    reader, writer = await asyncio.open_connection(*check.endpoint, limit=_MAX_ANSWER)
    try:
        host = health.host or with_port(check.backend.address, check.endpoint[1])
        request = f"GET {health.path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: skep-lb\r\nConnection: close\r\n\r\n"
        writer.write(request.encode("ascii", "replace"))
        await writer.drain()
        line = (await reader.readline()).decode("latin-1").split(" ", 2)
    finally:
        await _end(writer)
    if len(line) < 2 or not line[0].startswith("HTTP/") or not line[1].strip().isdigit():
        return False, "the answer is not HTTP"
    status = int(line[1])
    return health.statuses[0] <= status <= health.statuses[1], f"HTTP status {status}"


async def _end(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


_ASKED: Mapping[CheckKind, Callable[[Check], Awaitable[tuple[bool, str]]]] = {
    CheckKind.TCP: _ask_tcp,
    CheckKind.HTTP: _ask_http,
}
