"""``check_engine``: what every engine must do alike. Each check is a small function with a name; all of them run.

::

    from skep.testing import check_engine
    check_engine(lambda: MyEngine())
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

from skep.abi.map_types import MapType
from skep.api import load
from skep.engine import EXIST, NOEXIST, DirectMemory, Engine, MapHandle, Poppable
from skep.errors import MapError, SkepError
from skep.model.maps import MapSpec
from skep.testing.programs import make_object

Check = Callable[[Engine], None]
CHECKS: list[Check] = []
BPF_F_NO_PREALLOC = 1


def check_engine(make: Callable[[], Engine], only: str | None = None) -> list[str]:
    """Run all checks, each on an engine of its own.

    Args:
        make: makes a fresh engine; it is closed after each check.
        only: name of one check.

    Returns:
        The names of the checks that ran.

    Raises:
        AssertionError: an engine does something else than it must; the message names the check.
    """
    ran = []
    for check in CHECKS:
        if only is not None and check.__name__ != only:
            continue
        engine = make()
        try:
            check(engine)
        except AssertionError as error:
            raise AssertionError(f"{check.__name__}: {error}") from error
        finally:
            engine.close()
        ran.append(check.__name__)
    return ran


def _check(function: Check) -> Check:
    CHECKS.append(function)
    return function


def _same(found: object, expected: object) -> None:
    assert found == expected, f"got {found!r} instead of {expected!r}"


def _fails(number: int, action: Callable[[], Any]) -> None:
    """The action must raise MapError with this errno."""
    try:
        action()
    except MapError as error:
        _same(error.errno, number)
        return
    raise AssertionError(f"nothing was raised where {errno.errorcode[number]} belongs")


def _u32(value: int) -> bytes:
    return value.to_bytes(4, "little")


def _u64(value: int) -> bytes:
    return value.to_bytes(8, "little")


def _keys(handle: MapHandle) -> list[bytes]:
    found: list[bytes] = []
    key = handle.next_key(None)
    while key is not None and len(found) < 1000:
        found.append(key)
        key = handle.next_key(key)
    return found


@_check
def arrays_have_all_their_keys(engine: Engine) -> None:
    array = engine.create_map(MapSpec("array", MapType.ARRAY, 4, 8, 3))
    _same(_keys(array), [_u32(0), _u32(1), _u32(2)])
    _same(array.lookup(_u32(1)), _u64(0))
    array.update(_u32(1), _u64(7))
    _same(array.lookup(_u32(1)), _u64(7))
    _same(array.lookup(_u32(3)), None)
    _fails(errno.E2BIG, lambda: array.update(_u32(3), _u64(1)))
    _fails(errno.EEXIST, lambda: array.update(_u32(1), _u64(1), NOEXIST))
    _fails(errno.EINVAL, lambda: array.delete(_u32(1)))
    array.close()
    array.close()


@_check
def hashes_keep_what_they_are_given(engine: Engine) -> None:
    table = engine.create_map(MapSpec("table", MapType.HASH, 4, 8, 2))
    _same(_keys(table), [])
    _same(table.lookup(_u32(1)), None)
    _fails(errno.ENOENT, lambda: table.update(_u32(1), _u64(1), EXIST))
    table.update(_u32(1), _u64(10))
    table.update(_u32(2), _u64(20), NOEXIST)
    _fails(errno.EEXIST, lambda: table.update(_u32(2), _u64(1), NOEXIST))
    _fails(errno.E2BIG, lambda: table.update(_u32(3), _u64(1)))
    _same(sorted(_keys(table)), [_u32(1), _u32(2)])
    _same(table.delete(_u32(1)), True)
    _same(table.delete(_u32(1)), False)
    table.update(_u32(3), _u64(30))
    _same(table.lookup(_u32(3)), _u64(30))
    table.close()


@_check
def lru_hashes_never_refuse(engine: Engine) -> None:
    table = engine.create_map(MapSpec("lru", MapType.LRU_HASH, 4, 8, 64))
    for number in range(1000):
        table.update(_u32(number), _u64(number))
    keys = _keys(table)
    assert 0 < len(keys) <= 64, f"{len(keys)} keys in a map of 64"
    _same(table.lookup(_u32(999)), _u64(999))
    table.close()


@_check
def tries_find_the_longest_prefix(engine: Engine) -> None:
    trie = engine.create_map(MapSpec("trie", MapType.LPM_TRIE, 8, 4, 16, BPF_F_NO_PREALLOC))

    def key(bits: int, *address: int) -> bytes:
        return _u32(bits) + bytes(address)

    trie.update(key(8, 10, 0, 0, 0), _u32(1))
    trie.update(key(24, 10, 1, 2, 0), _u32(2))
    _same(trie.lookup(key(32, 10, 1, 2, 9)), _u32(2))
    _same(trie.lookup(key(32, 10, 9, 9, 9)), _u32(1))
    _same(trie.lookup(key(32, 11, 0, 0, 1)), None)
    _same(trie.delete(key(24, 10, 1, 2, 0)), True)
    _same(trie.lookup(key(32, 10, 1, 2, 9)), _u32(1))
    trie.close()


@_check
def queues_and_stacks_keep_their_order(engine: Engine) -> None:
    for map_type, expected in ((MapType.QUEUE, [1, 2, 3]), (MapType.STACK, [3, 2, 1])):
        line = engine.create_map(MapSpec("line", map_type, 0, 8, 3))
        for number in (1, 2, 3):
            line.update(b"", _u64(number))
        _fails(errno.E2BIG, lambda line=line: line.update(b"", _u64(4)))  # type: ignore[misc]
        _same(line.lookup(b""), _u64(expected[0]))
        assert isinstance(line, Poppable), "queues and stacks must be Poppable"
        _same([line.pop(b"") for _ in range(4)], [*map(_u64, expected), None])
        line.close()


@_check
def per_cpu_values_are_one_for_each_cpu(engine: Engine) -> None:
    array = engine.create_map(MapSpec("percpu", MapType.PERCPU_ARRAY, 4, 4, 2))
    value = array.lookup(_u32(0))
    assert value is not None
    assert value
    _same(len(value) % 8, 0)
    filled = b"".join(_u32(cpu + 1) + bytes(4) for cpu in range(len(value) // 8))
    array.update(_u32(0), filled)
    _same(array.lookup(_u32(0)), filled)
    _same(array.lookup(_u32(1)), bytes(len(filled)))
    array.close()


@_check
def wrong_sizes_are_refused(engine: Engine) -> None:
    for spec in (
        MapSpec("zero", MapType.HASH, 4, 8, 0),
        MapSpec("no key", MapType.HASH, 0, 8, 1),
        MapSpec("array key", MapType.ARRAY, 8, 8, 1),
        MapSpec("odd ring", MapType.RINGBUF, 0, 0, 5000),
    ):
        try:
            engine.create_map(spec)
        except SkepError:
            continue
        raise AssertionError(f"map '{spec.name}' was created")


@_check
def programs_run_on_packets(engine: Engine) -> None:
    code = """
        r2 = *(u32 *)(r1 +0)
        r3 = *(u32 *)(r1 +4)
        r4 = r2
        r4 += 2
        r0 = 1
        if r4 > r3 goto +2
        r0 = *(u8 *)(r2 +1)
        *(u8 *)(r2 +0) = 9
        exit
    """
    with load(make_object(code), engine=engine) as live:
        run = live.programs["program"].run(b"\x01\x2a" + bytes(30))
        _same((run.retval, run.data[:2]), (0x2A, b"\x09\x2a"))
        run = live.programs["program"].run(bytes(14))
        _same(run.retval, 0)


@_check
def programs_and_user_space_share_maps(engine: Engine) -> None:
    code = """
        *(u32 *)(r10 -4) = 1
        r2 = r10
        r2 += -4
        r1 = map[name:hits]
        call bpf_map_lookup_elem#1
        if r0 == 0 goto +3
        r1 = 1
        lock *(u64 *)(r0 +0) += r1
        r0 = 2
        exit
    """
    hits = MapSpec("hits", MapType.ARRAY, 4, 8, 2)
    with load(make_object(code, maps=[hits]), engine=engine) as live:
        program, table = live.programs["program"], live.maps["hits"].handle
        _same(program.run(bytes(14), repeat=5).retval, 2)
        _same(table.lookup(_u32(1)), _u64(5))
        table.update(_u32(1), _u64(41))
        program.run(bytes(14))
        _same(table.lookup(_u32(1)), _u64(42))


@_check
def array_memory_is_direct_where_offered(engine: Engine) -> None:
    data = engine.create_map(MapSpec(".data", MapType.ARRAY, 4, 16, 1, contents=bytes(range(16))))
    _same(data.lookup(_u32(0)), bytes(range(16)))
    if isinstance(data, DirectMemory):
        data.memory()[3] = 99
        value = data.lookup(_u32(0))
        assert value is not None
        _same(value[3], 99)
    data.close()


@_check
def a_failed_load_leaves_nothing(engine: Engine) -> None:
    for code in ("r0 = *(u64 *)(r1 +4096)\nexit", "r0 = r5\nexit"):
        try:
            load(make_object(code), engine=engine)
        except SkepError:
            continue
        raise AssertionError("a program that is not safe was loaded")
