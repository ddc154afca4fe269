"""Many threads on one map: the C functions run without the GIL, so this is real concurrency."""

from __future__ import annotations

import contextlib
import ctypes
import random
import struct
import threading
import time
from collections.abc import Callable

import pytest

from skep.abi.map_types import MapType
from skep.errors import MapError
from skep.model.maps import MapSpec
from skep.vm.maps import VmMap, create_map
from skep.vm.runtime import possible_cpus, runtime

THREADS = 4
SECONDS = 0.4


def run_threads(work: Callable[[int, Callable[[], bool]], None]) -> None:
    """Run ``work(number, go_on)`` in threads; the first failure of any is raised."""
    end = time.monotonic() + SECONDS
    failures: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number, lambda: time.monotonic() < end and not failures)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive(), "a thread hangs"
    if failures:
        raise failures[0]


def value_of(key: int, mark: int) -> bytes:
    """A value whose halves agree: a torn one would not."""
    return struct.pack("<QQ", mark << 32 | key, mark << 32 | key)


@pytest.mark.parametrize("kind", [MapType.HASH, MapType.LRU_HASH, MapType.LPM_TRIE])
def test_no_value_is_torn_mixed_up_or_leaked(kind: MapType) -> None:
    size = 64
    lpm = kind is MapType.LPM_TRIE
    m = create_map(MapSpec("m", kind, 8, 16, size, 1 if lpm else 0))

    def key_of(n: int) -> bytes:
        return struct.pack("<I", 32) + struct.pack(">I", n)

    def work(number: int, go_on: Callable[[], bool]) -> None:
        rng = random.Random(number)
        while go_on():
            n = rng.randrange(200)
            what = rng.random()
            if what < 0.4:
                with contextlib.suppress(MapError):  # full
                    m.update(key_of(n), value_of(n, rng.randrange(1 << 20)))
            elif what < 0.6:
                m.delete(key_of(n))
            elif what < 0.98:
                value = m.lookup(key_of(n))
                if value is not None:
                    left, right = struct.unpack("<QQ", value)
                    assert left == right
                    assert left & 0xFFFFFFFF == n
            else:
                for key, value in m.items():
                    left, right = struct.unpack("<QQ", value)
                    assert left == right
                    assert key == key_of(left & 0xFFFFFFFF)

    run_threads(work)
    for key, _ in list(m.items()):
        assert m.delete(key)
    assert m.next_key(None) is None
    for n in range(size):  # no element was lost
        m.update(key_of(n), value_of(n, 0))
    assert len(list(m.items())) == size


def test_queue_gives_every_value_once() -> None:
    m = create_map(MapSpec("m", MapType.QUEUE, 0, 8, 128))
    taken: list[int] = []
    pushed = [0] * THREADS

    def work(number: int, go_on: Callable[[], bool]) -> None:
        while go_on():
            with contextlib.suppress(MapError):  # full
                m.update(b"", struct.pack("<II", number, pushed[number]))
                pushed[number] += 1
            value = m.pop(b"")  # type: ignore[attr-defined]
            if value is not None:
                taken.append(struct.unpack("<Q", value)[0])

    run_threads(work)
    while (value := m.pop(b"")) is not None:  # type: ignore[attr-defined]
        taken.append(struct.unpack("<Q", value)[0])
    assert len(taken) == len(set(taken)) == sum(pushed)


def test_ring_with_many_producers_and_a_consumer() -> None:
    m = create_map(MapSpec("m", MapType.RINGBUF, 0, 0, 4096))
    functions = runtime().functions
    sent = [0] * THREADS
    seen: list[tuple[int, int]] = []

    def work(number: int, go_on: Callable[[], bool]) -> None:
        run = runtime().new_run(number % possible_cpus())
        while go_on():
            if number == 0:
                seen.extend(struct.unpack("<II", record[:8]) for record in m.records())
                continue
            size = 8 + sent[number] % 50
            at = functions["skep_ringbuf_reserve"](ctypes.addressof(run), m.address, size, 0)
            if at:
                ctypes.memmove(at, struct.pack("<II", number, sent[number]), 8)
                discard = sent[number] % 7 == 3
                functions["skep_ringbuf_discard" if discard else "skep_ringbuf_submit"](at, 0)
                sent[number] += 1

    run_threads(work)
    seen.extend(struct.unpack("<II", record[:8]) for record in m.records())
    for number in range(1, THREADS):
        assert [n for who, n in seen if who == number] == [n for n in range(sent[number]) if n % 7 != 3]


def test_a_lock_of_a_dead_process_is_taken_over() -> None:
    m: VmMap = create_map(MapSpec("m", MapType.QUEUE, 0, 8, 4))
    dead = subprocess_pid()
    ctypes.c_uint32.from_address(m.address + LOCK_OFFSET).value = dead
    done = threading.Thread(target=m.update, args=(b"", bytes(8)), daemon=True)
    done.start()
    done.join(20)
    assert not done.is_alive()
    assert m.lookup(b"") == bytes(8)


LOCK_OFFSET = 192 + 16  # struct skep_map: free, unused, hand, lock


def subprocess_pid() -> int:
    """The number of a process that has ended."""
    import subprocess

    child = subprocess.Popen(["true"])
    child.wait()
    return child.pid
