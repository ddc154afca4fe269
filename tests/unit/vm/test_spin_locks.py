"""bpf_spin_lock() on the vm: threads that take turns, and values whose lock nobody copies."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

import skep
from skep.abi.map_types import MapType
from skep.btf import types as t
from skep.errors import CompileError, MapError
from skep.model.maps import MapSpec, Pinning
from skep.vm.maps import create_map
from skep.vm.maps.locks import lock_end

SOURCE = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct pair {
    u64 first;
    struct bpf_spin_lock lock;
    u64 second;
};

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 8);
    __type(key, u32);
    __type(value, struct pair);
} pairs SEC(".maps");

SEC("tc")
int count(struct __sk_buff *skb)
{
    u32 key = 1;
    struct pair *pair = bpf_map_lookup_elem(&pairs, &key);
    int torn = 0;

    if (!pair)
        return 1;
    for (int i = 0; i < 500; i++) {
        bpf_spin_lock(&pair->lock);
        u64 first = pair->first, second = pair->second;
        pair->first = first + 1;
        pair->second = second + 1;
        bpf_spin_unlock(&pair->lock);
        torn |= first != second;
    }
    return torn;
}
"""
BPF_F_LOCK = 4
_BTF = t.Btf(
    (
        t.Void(),
        t.Int("int", 4, 32),
        t.Struct("bpf_spin_lock", 4, (t.Member("val", 1, 0),)),
        t.Struct("job", 12, (t.Member("runs", 1, 0), t.Member("lock", 2, 32), t.Member("state", 1, 64))),
    )
)
JOBS = MapSpec("jobs", MapType.HASH, key_size=4, value_size=12, max_entries=8, value_type=3, btf=_BTF)


@pytest.mark.parametrize(("engine", "turns"), [("vm", 20), ("interpreter", 1)])
def test_threads_take_turns(engine: str, turns: int) -> None:
    try:
        spec = skep.compile(skep.SourceFile("pairs.bpf.c", SOURCE))
    except CompileError as error:
        if error.diagnostic.code == "C0001":
            pytest.skip(error.diagnostic.what)
        raise
    with skep.load(spec, engine=engine) as loaded:
        pairs, count = loaded.maps["pairs"], loaded.programs["count"]
        pairs[1] = {"first": 0, "lock": {"val": 7}, "second": 0}  # a copy of a lock that somebody holds
        results: list[int] = []

        def work() -> None:
            results.extend(count.run(bytes(64)).retval for _ in range(turns))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive(), "a thread waits for ever"
        assert results == [0] * 4 * turns
        assert (pairs[1].first, pairs[1].second) == (2000 * turns, 2000 * turns)


@pytest.mark.parametrize("kind", [MapType.HASH, MapType.ARRAY])
def test_updates_and_lookups_leave_the_lock_alone(kind: MapType) -> None:
    m = create_map(replace(JOBS, type=kind))
    key = (0).to_bytes(4, "little")
    m.update(key, b"aaaa" + b"\x07\0\0\0" + b"bbbb")
    assert m.lookup(key) == b"aaaa" + bytes(4) + b"bbbb"
    m.update(key, b"cccc" + b"\x07\0\0\0" + b"dddd")
    assert m.lookup(key) == b"cccc" + bytes(4) + b"dddd"


@pytest.mark.parametrize("kind", [MapType.HASH, MapType.ARRAY])
def test_bpf_f_lock_needs_a_lock(kind: MapType) -> None:
    key, value = (0).to_bytes(4, "little"), bytes(12)
    create_map(replace(JOBS, type=kind)).update(key, value, BPF_F_LOCK)
    with pytest.raises(MapError, match="EINVAL"):
        create_map(replace(JOBS, type=kind, btf=None)).update(key, value, BPF_F_LOCK)


def test_where_the_lock_is() -> None:
    assert lock_end(JOBS) == 8
    assert lock_end(replace(JOBS, btf=None)) == 0
    assert lock_end(replace(JOBS, type=MapType.LRU_HASH)) == 0  # the kernel takes no locks there
    assert lock_end(replace(JOBS, value_type=1)) == 0


def test_a_pinned_map_keeps_its_lock_where_it_is(tmp_path: Path) -> None:
    pinned = replace(JOBS, pinning=Pinning.BY_NAME)
    create_map(pinned, tmp_path).close()
    create_map(pinned, tmp_path).close()
    with pytest.raises(MapError, match="lock elsewhere"):
        create_map(replace(pinned, btf=None, value_type=0), tmp_path)
