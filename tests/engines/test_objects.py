"""One C object, both engines, the same answers."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

import skep
from skep.collection.map import MissingKeyError
from skep.engine import EXIST, NOEXIST
from skep.errors import ClosedError, MapError, RejectedError, UsageError
from skep.model.objects import ObjectSpec

SOURCE = Path(__file__).parent / "objects.bpf.c"
PACKET = bytes(12) + b"\x08\x00" + bytes(range(46))


@pytest.fixture(scope="module")
def spec() -> ObjectSpec:
    return skep.compile(SOURCE)


def test_return_value_packet_and_globals(spec: ObjectSpec, engine: str) -> None:
    with skep.load(spec, engine=engine, programs=["globals"], variables={"step": 3}) as live:
        run = live.programs["globals"].run(PACKET)
        assert (run.retval, run.data[:2], run.data[2:]) == (2, b"\xaa\x03", PACKET[2:])
        assert live.variables["counter"].value == 8
        live.variables["counter"].value = 100
        assert live.programs["globals"].run(PACKET, repeat=4).retval == 1
        assert live.variables["counter"].value == 112
        assert live.variables["text"].value in ("skep", b"skep\0\0\0\0")
        with pytest.raises(UsageError, match="constant"):
            live.variables["step"].value = 1


def test_hash_map_from_both_sides(spec: ObjectSpec, engine: str) -> None:
    with skep.load(spec, engine=engine, programs=["count"]) as live:
        hits = live.maps["hits"]
        for _ in range(3):
            live.programs["count"].run(PACKET)
        assert hits[0x0800] == {"packets": 3, "bytes": 3 * len(PACKET)}
        hits[7] = {"packets": 1, "bytes": 2}
        assert sorted(hits) == [7, 0x0800]
        assert len(hits) == 2
        with pytest.raises(MapError) as exists:
            hits.update_value(7, {"packets": 0, "bytes": 0}, NOEXIST)
        with pytest.raises(MapError) as absent:
            hits.update_value(8, {"packets": 0, "bytes": 0}, EXIST)
        assert (exists.value.errno, absent.value.errno) == (17, 2)
        del hits[7]
        with pytest.raises(MissingKeyError):
            _ = hits[7]
        with pytest.raises(MissingKeyError):
            del hits[7]


def test_many_elements_at_once(spec: ObjectSpec, engine: str) -> None:
    with skep.load(spec, engine=engine, programs=["count"]) as live:
        hits = live.maps["hits"]
        elements = {key: {"packets": key, "bytes": key * 2} for key in range(200)}
        assert hits.update_all(elements) == 200
        assert dict(hits.contents()) == elements
        assert hits.delete_all([0, 1, 5000, 199, 2]) == 4
        assert len(hits) == 196
        drained = dict(hits.drain())
        assert len(drained) == 196
        assert drained[100] == elements[100]
        assert len(hits) == 0
        with pytest.raises(MapError):
            hits.update_all({key: {"packets": 0, "bytes": 0} for key in range(300)})


def test_per_cpu_values(spec: ObjectSpec, engine: str) -> None:
    with skep.load(spec, engine=engine, programs=["per_cpu"]) as live:
        live.programs["per_cpu"].run(PACKET, repeat=5)
        assert sum(live.maps["cpus"][0]) == 5
        live.maps["cpus"][1] = [7] * len(live.maps["cpus"][0])
        assert set(live.maps["cpus"][1]) == {7}


def test_columns_for_numpy(spec: ObjectSpec, engine: str) -> None:
    pytest.importorskip("numpy")
    with skep.load(spec, engine=engine, programs=["count", "per_cpu"]) as live:
        hits, cpus = live.maps["hits"], live.maps["cpus"]
        hits.update_all({key: {"packets": key, "bytes": 2 * key} for key in range(100)})
        keys, values = hits.to_numpy()
        assert sorted(keys.tolist()) == list(range(100))
        assert (values["bytes"] == 2 * keys).all()
        cpus[1] = range(len(cpus[1]))
        keys, values = cpus.to_numpy()
        assert keys.tolist() == [0, 1]
        assert values.tolist() == [cpus[0], cpus[1]]
        for key in range(100):
            del hits[key]
        assert [len(column) for column in hits.to_numpy()] == [0, 0]


def test_queue_and_stack(spec: ObjectSpec, engine: str) -> None:
    with skep.load(spec, engine=engine, programs=["push"]) as live:
        live.programs["push"].run(PACKET, repeat=3)
        line, pile = live.maps["line"], live.maps["pile"]
        line.push(99)
        assert [line.pop() for _ in range(5)] == [1, 2, 3, 99, None]
        assert pile.peek() == 3
        assert [pile.pop() for _ in range(4)] == [3, 2, 1, None]


def test_ring_buffer(spec: ObjectSpec, engine: str) -> None:
    with skep.load(spec, engine=engine, programs=["emit"]) as live:
        live.programs["emit"].run(PACKET, repeat=2)
        records = list(live.maps["ring"].records())
        assert [struct.unpack("<II", record) for record in records] == [(len(PACKET), 42)] * 2
        assert list(live.maps["ring"].records()) == []


def test_longest_prefix(spec: ObjectSpec, engine: str) -> None:
    with skep.load(spec, engine=engine, programs=["prefix"]) as live:
        networks = live.maps["networks"]
        networks[{"prefixlen": 8, "address": [10, 0, 0, 0]}] = 1
        networks[{"prefixlen": 24, "address": [10, 1, 2, 0]}] = 2
        run = live.programs["prefix"].run
        assert run(bytes(30) + bytes([10, 1, 2, 9]) + bytes(26)).retval == 2
        assert run(bytes(30) + bytes([10, 9, 9, 9]) + bytes(26)).retval == 1
        assert run(bytes(30) + bytes([11, 9, 9, 9]) + bytes(26)).retval == 0


def test_tail_calls_and_maps_of_maps_filled_from_c(spec: ObjectSpec, engine: str) -> None:
    with skep.load(spec, engine=engine, programs=["jump", "target", "inner_count"]) as live:
        assert live.programs["jump"].run(PACKET).retval == 77
        assert live.programs["inner_count"].run(PACKET).retval == 1
        assert live.maps["inner"][0] == 1
        del live.maps["jumps"][1]
        assert live.programs["jump"].run(PACKET).retval == 5


def test_functions_of_c_and_loops(spec: ObjectSpec, engine: str) -> None:
    with skep.load(spec, engine=engine, programs=["checksum"]) as live:
        assert live.programs["checksum"].run(PACKET).retval == sum(PACKET[:40]) & 0xFFFF


def test_skb_program_and_its_context(spec: ObjectSpec, engine: str) -> None:
    with skep.load(spec, engine=engine, programs=["mark"]) as live:
        run = live.programs["mark"].run(PACKET, ctx=bytes(8) + struct.pack("<I", 5) + bytes(180))
        assert run.retval == len(PACKET)
        assert struct.unpack_from("<I", run.ctx, 8)[0] == 6


def test_raw_tracepoint_and_syscall_programs_take_a_context(spec: ObjectSpec, engine: str) -> None:
    with skep.load(spec, engine=engine, programs=["raw", "call"]) as live:
        assert live.programs["raw"].run(ctx=struct.pack("<QQ", 11, 31)).retval == 42
        run = live.programs["call"].run(ctx=struct.pack("<II", 20, 0))
        assert (run.retval, struct.unpack("<II", run.ctx)) == (1, (20, 40))


def test_a_rejected_program_names_line_reason_and_leaves_nothing(spec: ObjectSpec, engine: str) -> None:
    with pytest.raises(RejectedError) as caught:
        skep.load(spec, engine=engine, programs=["bad"])
    found = caught.value.diagnostic
    assert found.code == "V0301"
    assert found.span is not None
    assert "*value += 1" in (found.span.text or "")
    assert found.kernel == "R0 invalid mem access 'map_value_or_null'"
    assert bool(caught.value.log) == (engine == "kernel")


def test_closed_things_say_so(spec: ObjectSpec, engine: str) -> None:
    with skep.load(spec, engine=engine, programs=["count"]) as live:
        program, hits = live.programs["count"], live.maps["hits"]
    with pytest.raises(ClosedError):
        program.run(PACKET)
    with pytest.raises(ClosedError):
        _ = hits[1]
    live.close()


def test_input_that_is_no_packet(spec: ObjectSpec, engine: str) -> None:
    with skep.load(spec, engine=engine, programs=["count"]) as live, pytest.raises(UsageError, match="Ethernet"):
        live.programs["count"].run(b"short")
