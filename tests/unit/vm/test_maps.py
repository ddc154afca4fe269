"""Maps of the vm, one type at a time: the kernel's results and errno values."""

from __future__ import annotations

import errno
import gc
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from skep.abi.map_types import MapType
from skep.engine import ANY, EXIST, NOEXIST, DirectMemory, Poppable
from skep.errors import ClosedError, MapError, UnsupportedError
from skep.model.maps import MapSpec, Pinning
from skep.vm.maps import VmMap, create_map, open_pinned
from skep.vm.maps.rules import NO_PREALLOC, RDONLY, REFUSED, RULES, WRONLY
from skep.vm.runtime import possible_cpus

HASHES = [MapType.HASH, MapType.LRU_HASH, MapType.PERCPU_HASH, MapType.LRU_PERCPU_HASH]
NCPUS = possible_cpus()


def u32(n: int) -> bytes:
    return struct.pack("<I", n)


def make(kind: MapType, key: int = 4, value: int = 8, n: int = 16, flags: int = 0, **more: object) -> VmMap:
    return create_map(MapSpec("m", kind, key, value, n, flags, **more))  # type: ignore[arg-type]


def number_of_error(call: object, *args: object) -> int:
    with pytest.raises(MapError) as caught:
        call(*args)  # type: ignore[operator]
    return caught.value.errno


def wide(kind: MapType, value: bytes) -> bytes:
    """A value for all CPUs."""
    percpu = kind in (MapType.PERCPU_HASH, MapType.LRU_PERCPU_HASH, MapType.PERCPU_ARRAY)
    return value.ljust(-(-len(value) // 8) * 8, b"\0") * NCPUS if percpu else value


def test_every_map_type_is_made_or_refused() -> None:
    assert set(RULES) | set(REFUSED) == set(MapType)
    assert not set(RULES) & set(REFUSED)
    for kind in REFUSED:
        with pytest.raises(UnsupportedError, match=kind.name.lower()):
            make(kind)


@pytest.mark.parametrize("kind", HASHES)
@pytest.mark.parametrize("key_size", [1, 3, 4, 8, 13, 16, 40])
def test_hash_keeps_what_it_is_given(kind: MapType, key_size: int) -> None:
    m = make(kind, key_size, 5, 200)
    keys = [i.to_bytes(key_size, "big") if key_size > 1 else bytes([i]) for i in range(200)]
    for i, key in enumerate(keys):
        m.update(key, wide(kind, bytes([i] * 5)))
    for i, key in enumerate(keys):
        assert m.lookup(key) == wide(kind, bytes([i] * 5))
    assert {key for key, _ in m.items()} == set(keys)
    assert m.delete(keys[3])
    assert not m.delete(keys[3])
    assert m.lookup(keys[3]) is None
    assert len(list(m.items())) == 199


@pytest.mark.parametrize("kind", HASHES)
def test_update_flags(kind: MapType) -> None:
    m = make(kind)
    one, two = wide(kind, b"1" * 8), wide(kind, b"2" * 8)
    assert number_of_error(m.update, u32(1), one, EXIST) == errno.ENOENT
    m.update(u32(1), one, NOEXIST)
    assert number_of_error(m.update, u32(1), two, NOEXIST) == errno.EEXIST
    m.update(u32(1), two, EXIST)
    assert m.lookup(u32(1)) == two
    assert number_of_error(m.update, u32(1), two, 3) == errno.EINVAL
    assert number_of_error(m.update, u32(1), two, 1 << 40) == errno.EINVAL
    assert m.lookup(u32(1)) == two


@pytest.mark.parametrize("kind", [MapType.HASH, MapType.PERCPU_HASH])
def test_full_hash_says_so_and_takes_again_after_a_delete(kind: MapType) -> None:
    m = make(kind, n=5)
    for i in range(5):
        m.update(u32(i), wide(kind, b"x" * 8))
    assert number_of_error(m.update, u32(9), wide(kind, b"y" * 8)) == errno.E2BIG
    m.update(u32(3), wide(kind, b"z" * 8))  # there already
    m.delete(u32(0))
    m.update(u32(9), wide(kind, b"y" * 8))
    assert m.lookup(u32(9)) == wide(kind, b"y" * 8)


@pytest.mark.parametrize("kind", [MapType.LRU_HASH, MapType.LRU_PERCPU_HASH])
@pytest.mark.parametrize("size", [1, 2, 100])
def test_lru_always_takes_a_new_key(kind: MapType, size: int) -> None:
    m = make(kind, n=size)
    for i in range(10 * size):
        m.update(u32(i), wide(kind, struct.pack("<Q", i)))
        assert m.lookup(u32(i)) == wide(kind, struct.pack("<Q", i))
    assert len(list(m.items())) == size


def test_lru_keeps_what_is_used() -> None:
    m = make(MapType.LRU_HASH, n=100)
    for i in range(2000):
        m.update(u32(i), bytes(8))
        m.update(u32(7_000_000), bytes(8))  # an update of a key that is there counts as use
    assert m.lookup(u32(7_000_000)) is not None


def test_next_key_visits_all_and_starts_again_after_a_missing_key() -> None:
    m = make(MapType.HASH, n=64)
    for i in range(64):
        m.update(u32(i), bytes(8))
    seen, key = set(), m.next_key(None)
    while key is not None:
        seen.add(key)
        key = m.next_key(key)
    assert len(seen) == 64
    assert m.next_key(u32(1000)) == m.next_key(None)
    while (first := m.next_key(None)) is not None:
        m.delete(first)
    assert list(m.items()) == []


def test_items_end_while_the_map_changes() -> None:
    m = make(MapType.HASH, n=100)
    for i in range(100):
        m.update(u32(i), bytes(8))
    turns = 0
    for key, _ in m.items():
        m.delete(key)
        m.update(u32(1000 + turns), bytes(8))
        turns += 1
    assert turns <= 200


def test_array() -> None:
    m = make(MapType.ARRAY, value=6, n=3)
    assert m.lookup(u32(2)) == bytes(6)
    m.update(u32(2), b"abcdef")
    assert m.lookup(u32(2)) == b"abcdef"
    assert m.lookup(u32(3)) is None
    assert number_of_error(m.update, u32(3), bytes(6)) == errno.E2BIG
    assert number_of_error(m.update, u32(0), bytes(6), NOEXIST) == errno.EEXIST
    assert number_of_error(m.update, u32(0), bytes(6), 4) == errno.EINVAL
    assert number_of_error(m.delete, u32(0)) == errno.EINVAL
    assert [key for key, _ in m.items()] == [u32(0), u32(1), u32(2)]
    assert m.next_key(u32(99)) == u32(0)
    assert m.next_key(u32(2)) is None
    assert isinstance(m, DirectMemory)
    view = m.memory()
    view[16:22] = b"direct"
    assert m.lookup(u32(2)) == b"direct"
    m.close()
    assert bytes(view[16:22]) == b"direct"  # a view outlives the map: no pointer to nothing
    with pytest.raises(ClosedError):
        m.lookup(u32(0))


def test_percpu_array_has_a_value_for_every_cpu() -> None:
    m = make(MapType.PERCPU_ARRAY, value=4, n=2)
    value = b"".join(u32(cpu + 1) + bytes(4) for cpu in range(NCPUS))
    m.update(u32(1), value)
    assert m.lookup(u32(1)) == value
    assert m.lookup(u32(0)) == bytes(8 * NCPUS)
    assert number_of_error(m.update, u32(1), bytes(4)) == errno.EINVAL


def prefix(address: str, bits: int) -> bytes:
    return u32(bits) + bytes(int(part) for part in address.split("."))


def test_lpm_trie() -> None:
    m = make(MapType.LPM_TRIE, 8, 4, 4, NO_PREALLOC)
    for address, bits, value in (("10.0.0.0", 8, 1), ("10.1.0.0", 16, 2), ("0.0.0.0", 0, 3), ("10.1.2.3", 32, 4)):
        m.update(prefix(address, bits), u32(value))
    assert m.lookup(prefix("10.1.2.3", 32)) == u32(4)
    assert m.lookup(prefix("10.1.2.4", 32)) == u32(2)
    assert m.lookup(prefix("10.2.0.0", 32)) == u32(1)
    assert m.lookup(prefix("11.0.0.0", 32)) == u32(3)
    assert m.lookup(prefix("10.1.2.3", 12)) == u32(1)  # no prefix longer than the one asked for
    assert m.lookup(prefix("10.1.2.3", 33)) is None
    assert number_of_error(m.update, prefix("1.2.3.4", 33), u32(0)) == errno.EINVAL
    assert number_of_error(m.update, prefix("1.2.3.4", 32), u32(0)) == errno.ENOSPC
    assert number_of_error(m.update, prefix("10.9.9.9", 8), u32(0), NOEXIST) == errno.EEXIST
    assert number_of_error(m.update, prefix("1.2.3.4", 30), u32(0), EXIST) == errno.ENOENT
    m.update(prefix("10.9.9.9", 8), u32(7))  # bits after the prefix do not count
    assert m.lookup(prefix("10.2.0.0", 32)) == u32(7)
    assert m.delete(prefix("10.200.0.0", 8))
    assert not m.delete(prefix("10.0.0.0", 9))
    assert m.lookup(prefix("10.2.0.0", 32)) == u32(3)
    assert {key[:4] for key, _ in m.items()} == {u32(0), u32(16), u32(32)}


def test_lpm_agrees_with_a_slow_search() -> None:
    import random

    rng = random.Random(7)
    m = make(MapType.LPM_TRIE, 4 + 16, 4, 300, NO_PREALLOC)
    known: dict[tuple[int, int], int] = {}
    for i in range(300):
        bits = rng.choice([0, 1, 7, 8, 31, 32, 33, 63, 64, 65, 100, 127, 128])
        address = rng.getrandbits(8) << 120 | rng.getrandbits(4)
        known[bits, address >> (128 - bits)] = i
        m.update(u32(bits) + address.to_bytes(16, "big"), u32(i))
    for _ in range(500):
        address, limit = rng.getrandbits(8) << 120 | rng.getrandbits(4), rng.choice([128, 64, 20])
        matches = [(b, v) for (b, p), v in known.items() if b <= limit and address >> (128 - b) == p]
        expected = u32(max(matches)[1]) if matches else None
        assert m.lookup(u32(limit) + address.to_bytes(16, "big")) == expected


@pytest.mark.parametrize(("kind", "order"), [(MapType.QUEUE, [1, 2, 3]), (MapType.STACK, [3, 2, 1])])
def test_queue_and_stack(kind: MapType, order: list[int]) -> None:
    m = make(kind, 0, 4, 3)
    for i in (1, 2, 3):
        m.update(b"", u32(i))
    assert number_of_error(m.update, b"", u32(4)) == errno.E2BIG
    assert number_of_error(m.update, b"", u32(4), NOEXIST) == errno.EINVAL
    assert m.lookup(b"") == u32(order[0])
    assert isinstance(m, Poppable)
    assert [m.pop(b"") for _ in range(4)] == [*map(u32, order), None]
    for i in (1, 2, 3, 4):
        m.update(b"", u32(i), EXIST)  # the oldest makes room
    assert sorted(m.pop(b"") or b"" for _ in range(3)) == [u32(2), u32(3), u32(4)]


def test_hash_pop() -> None:
    m = make(MapType.HASH)
    m.update(u32(1), b"abcdefgh")
    assert isinstance(m, Poppable)
    assert m.pop(u32(1)) == b"abcdefgh"
    assert m.pop(u32(1)) is None


def test_bloom_filter() -> None:
    m = make(MapType.BLOOM_FILTER, 0, 4, 100)
    for i in range(100):
        m.update(b"", u32(i))
    assert all(m.contains(u32(i)) for i in range(100))  # type: ignore[attr-defined]
    assert sum(m.contains(u32(i)) for i in range(1000, 2000)) < 200  # type: ignore[attr-defined]
    assert number_of_error(m.update, b"", u32(1), NOEXIST) == errno.EINVAL


@pytest.mark.parametrize(
    ("kind", "key", "value", "n", "flags", "number"),
    [
        (MapType.HASH, 4, 8, 0, 0, errno.EINVAL),
        (MapType.HASH, 0, 8, 1, 0, errno.EINVAL),
        (MapType.HASH, 4, 0, 1, 0, errno.EINVAL),
        (MapType.HASH, 4, 1 << 31, 1, 0, errno.E2BIG),
        (MapType.HASH, 4, 4, 1 << 31, 0, errno.E2BIG),
        (MapType.HASH, 4, 8, 1, 1 << 20, errno.EINVAL),
        (MapType.HASH, 4, 8, 1, RDONLY | WRONLY, errno.EINVAL),
        (MapType.HASH, 4, 1 << 20, 1 << 29, 0, errno.ENOMEM),
        (MapType.ARRAY, 8, 8, 1, 0, errno.EINVAL),
        (MapType.PERCPU_ARRAY, 4, 33 << 10, 1, 0, errno.E2BIG),
        (MapType.LRU_HASH, 4, 8, 1, NO_PREALLOC, 524),
        (MapType.LPM_TRIE, 8, 8, 1, 0, errno.EINVAL),
        (MapType.LPM_TRIE, 4, 8, 1, NO_PREALLOC, errno.EINVAL),
        (MapType.QUEUE, 4, 8, 1, 0, errno.EINVAL),
        (MapType.RINGBUF, 0, 0, 5000, 0, errno.EINVAL),
        (MapType.RINGBUF, 0, 8, 4096, 0, errno.EINVAL),
        (MapType.PROG_ARRAY, 4, 8, 4, 0, errno.EINVAL),
    ],
)
def test_bad_specs(kind: MapType, key: int, value: int, n: int, flags: int, number: int) -> None:
    assert number_of_error(make, kind, key, value, n, flags) == number


def test_access_flags_and_frozen() -> None:
    assert number_of_error(make(MapType.HASH, flags=RDONLY).update, u32(1), bytes(8)) == errno.EPERM
    assert number_of_error(make(MapType.HASH, flags=WRONLY).lookup, u32(1)) == errno.EPERM
    m = make(MapType.ARRAY, value=16, n=1, contents=b"constant", frozen=True)
    assert m.lookup(u32(0)) == b"constant" + bytes(8)
    assert number_of_error(m.update, u32(0), bytes(16)) == errno.EPERM
    assert isinstance(m, DirectMemory)
    assert m.memory().readonly
    assert number_of_error(m.lookup, b"toolong") == errno.EINVAL


def test_map_of_maps() -> None:
    template = MapSpec("inner", MapType.ARRAY, 4, 8, 2)
    outer = make(MapType.ARRAY_OF_MAPS, 4, 4, 2, inner=template)
    inner = create_map(template)
    outer.set_inner(u32(1), inner)
    assert outer.lookup(u32(0)) is None
    assert outer.lookup(u32(1)) not in (None, bytes(4))
    assert number_of_error(outer.set_inner, u32(2), inner) == errno.E2BIG
    assert number_of_error(outer.set_inner, u32(0), create_map(template.replace(value_size=4))) == errno.EINVAL
    assert number_of_error(outer.update, u32(0), u32(1)) == errno.EINVAL
    assert outer.delete(u32(1))
    assert not outer.delete(u32(1))
    assert number_of_error(inner.set_inner, u32(0), inner) == errno.EINVAL


def test_pinned_map_is_shared_with_another_process_and_outlives_it(tmp_path: Path) -> None:
    code = f"""
import os
from pathlib import Path
from skep.abi.map_types import MapType
from skep.model.maps import MapSpec, Pinning
from skep.vm.maps import create_map
m = create_map(MapSpec("hits", MapType.HASH, 4, 8, 100, pinning=Pinning.BY_NAME), Path({str(tmp_path)!r}))
for i in range(50):
    m.update(i.to_bytes(4, "little"), (i * i).to_bytes(8, "little"))
os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert [entry.name for entry in tmp_path.iterdir()] == ["hits"]
    spec = MapSpec("hits", MapType.HASH, 4, 8, 100, pinning=Pinning.BY_NAME)
    m = create_map(spec, tmp_path)
    assert len(list(m.items())) == 50
    assert m.lookup(u32(7)) == (49).to_bytes(8, "little")
    other = open_pinned(tmp_path / "hits")
    other.update(u32(7), bytes(8))
    assert m.lookup(u32(7)) == bytes(8)
    assert number_of_error(create_map, spec.replace(max_entries=99), tmp_path) == errno.EINVAL


def test_a_file_that_is_no_map_is_not_opened(tmp_path: Path) -> None:
    spec = MapSpec("bad", MapType.HASH, 4, 8, 100, pinning=Pinning.BY_NAME)
    (tmp_path / "bad").write_bytes(b"")
    assert number_of_error(create_map, spec, tmp_path) == errno.EINVAL
    good = create_map(spec.replace(name="good"), tmp_path)
    good.close()
    data = (tmp_path / "good").read_bytes()
    for offset in range(0, 128, 4):  # every field of the constant header
        damaged = data[:offset] + bytes(byte ^ 0x55 for byte in data[offset : offset + 4]) + data[offset + 4 :]
        (tmp_path / "bad").write_bytes(damaged)
        try:
            m = open_pinned(tmp_path / "bad")
        except (MapError, UnsupportedError):
            continue
        m.lookup(u32(1))  # the seed, or a count: harmless
    (tmp_path / "bad").write_bytes(data[:-4096])
    assert number_of_error(open_pinned, tmp_path / "bad") == errno.EINVAL


def test_memory_goes_when_nothing_uses_it() -> None:
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    maps_before = Path("/proc/self/maps").read_text().count("skep:")
    for _ in range(20):
        m = make(MapType.HASH)
        m.update(u32(1), bytes(8), ANY)
        make(MapType.RINGBUF, 0, 0, 4096).close()
        m.close()
    del m
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before
    assert Path("/proc/self/maps").read_text().count("skep:") <= maps_before
