"""The kernel engine on the running Linux: pins, info, logs, tails of failures, every kind of test run."""

from __future__ import annotations

import errno
import os
import signal
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from skep.abi.map_types import MapType
from skep.abi.prog_types import AttachType, ProgType
from skep.api import load
from skep.diagnostics import Diagnostic
from skep.engine import Bulk, DirectMemory, Poppable
from skep.errors import ClosedError, EngineError, MapError, RejectedError, SkepError, UnsupportedError, UsageError
from skep.kernel.bpf import objects
from skep.kernel.bpf import programs as program_calls
from skep.kernel.engine import KernelEngine
from skep.kernel.maps.handle import KernelMap
from skep.kernel.programs import KernelProgram
from skep.kernel.target import kernel_target
from skep.linker import link
from skep.model.maps import MapSpec, Pinning
from skep.model.objects import ObjectSpec
from skep.testing.programs import make_object
from skep.vm.engine import VmEngine

pytestmark = pytest.mark.kernel
TARGET = kernel_target(btf=False, kconfig=False, kallsyms=False)
PACKET = bytes(12) + b"\x08\x00" + bytes(46)
PASS = "r0 = 2\nexit"


@pytest.fixture
def engine(kernel: None) -> Iterator[KernelEngine]:
    made = KernelEngine(TARGET)
    yield made
    made.close()


def program(engine: KernelEngine, code: str, prog_type: ProgType = ProgType.XDP) -> KernelProgram:
    return engine.load_linked(link(make_object(code, prog_type=prog_type), "program", TARGET), {})


def u32(value: int) -> bytes:
    return struct.pack("=I", value)


# ---- maps ----


def test_powers_follow_the_type(engine: KernelEngine) -> None:
    table = engine.create_map(MapSpec("t", MapType.HASH, 4, 4, 4))
    data = engine.create_map(MapSpec(".data", MapType.ARRAY, 4, 12, 1, contents=bytes(12)))
    array = engine.create_map(MapSpec("a", MapType.ARRAY, 4, 4, 4))
    assert isinstance(table, Poppable)
    assert isinstance(table, Bulk)
    assert isinstance(data, DirectMemory)
    assert not isinstance(array, DirectMemory | Poppable)


def test_wrong_sizes_never_reach_the_kernel(engine: KernelEngine) -> None:
    table = engine.create_map(MapSpec("t", MapType.HASH, 4, 4, 4))
    assert isinstance(table, Poppable)
    assert isinstance(table, Bulk)
    for action in (
        lambda: table.lookup(b"abc"),
        lambda: table.update(u32(1), b"abc"),
        lambda: table.update(b"abcde", u32(1)),
        lambda: table.delete(b""),
        lambda: table.next_key(b"abcdef"),
        lambda: table.pop(b"a"),
        lambda: table.update_many(u32(1) + u32(2), u32(1)),
        lambda: table.delete_many(b"abcde"),
    ):
        with pytest.raises(MapError) as caught:
            action()
        assert caught.value.errno == errno.EINVAL


def test_frozen_data_is_read_only_and_still_visible(engine: KernelEngine) -> None:
    constants = engine.create_map(MapSpec(".rodata", MapType.ARRAY, 4, 4, 1, 1 << 7, contents=b"abcd", frozen=True))
    assert constants.lookup(u32(0)) == b"abcd"
    with pytest.raises(MapError) as caught:
        constants.update(u32(0), b"efgh")
    assert caught.value.errno == errno.EPERM
    assert isinstance(constants, DirectMemory)
    assert bytes(constants.memory()[:4]) == b"abcd"
    assert constants.memory().readonly


def test_views_outlive_the_map(engine: KernelEngine) -> None:
    data = engine.create_map(MapSpec(".data", MapType.ARRAY, 4, 8, 1, contents=bytes(8)))
    assert isinstance(data, DirectMemory)
    view = data.memory()[0:4]
    data.close()
    view[0] = 7
    assert view[0] == 7
    view.release()


def test_batches_agree_with_one_by_one(engine: KernelEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    from skep.kernel.bpf import maps
    from skep.kernel.bpf.call import BpfCallError, Command

    table = engine.create_map(MapSpec("t", MapType.HASH, 4, 8, 3000))
    keys = [u32(i) for i in range(2500)]
    assert table.update_many(b"".join(keys), b"".join(k + k for k in keys)) == 2500
    fast = dict(table.items())
    assert len(fast) == 2500

    def refused(*_: object, **__: object) -> None:
        raise BpfCallError(errno.EINVAL, Command.MAP_LOOKUP_BATCH)

    for name in ("lookup_batch", "update_batch", "delete_batch"):
        monkeypatch.setattr(maps, name, refused)
    assert dict(table.items()) == fast
    assert table.update_many(keys[0] + keys[1], bytes(16)) == 2
    assert table.delete_many(keys[0] + u32(9999) + keys[1]) == 2
    assert sum(count for count, _, _ in table.batches(remove=True)) == 2498
    assert table.next_key(None) is None


@contextmanager
def suppress_refusal() -> Iterator[list[Diagnostic]]:
    found: list[Diagnostic] = []
    try:
        yield found
    except (MapError, UnsupportedError) as error:
        found.append(error.diagnostic)


def test_every_map_type_is_made_or_refused_with_a_reason(engine: KernelEngine) -> None:
    from skep.kernel.probes import has_map_type

    for map_type in MapType:
        with suppress_refusal() as refused:
            engine.create_map(MapSpec("x", map_type, 0, 0, 0)).close()
        assert all(d.why and d.help for d in refused), map_type
    offered = {t for t in MapType if t is not MapType.UNSPEC and has_map_type(t)}
    assert {MapType.HASH, MapType.ARRAY, MapType.LPM_TRIE, MapType.ARRAY_OF_MAPS, MapType.SK_STORAGE} <= offered
    if TARGET.kernel_version >= (5, 8, 0):
        assert MapType.RINGBUF in offered


def test_a_map_that_is_too_large(engine: KernelEngine) -> None:
    with pytest.raises(MapError) as caught:
        engine.create_map(MapSpec("huge", MapType.HASH, 4, 1 << 20, 1 << 30))
    assert caught.value.diagnostic.code == "M0122"


# ---- pins ----


def pins_in(folder: Path) -> list[str]:
    """What is pinned, without the two iterators that some kernels put into every bpffs."""
    return [path.name for path in folder.iterdir() if path.suffix != ".debug"]


def test_pinned_maps_are_reused_by_name(bpffs: Path) -> None:
    spec = MapSpec("kept", MapType.HASH, 4, 4, 4, pinning=Pinning.BY_NAME)
    blueprint = make_object(PASS, maps=[spec])
    with load(blueprint, engine=KernelEngine(TARGET, pin_root=bpffs)) as first:
        first.maps["kept"].handle.update(u32(1), u32(5))
        assert (bpffs / "kept").exists()
    with load(blueprint, engine=KernelEngine(TARGET, pin_root=bpffs)) as second:
        assert second.maps["kept"].handle.lookup(u32(1)) == u32(5)
    other = make_object(PASS, maps=[spec.replace(value_size=8)])
    with pytest.raises(MapError) as caught:
        load(other, engine=KernelEngine(TARGET, pin_root=bpffs))
    assert caught.value.diagnostic.code == "M0130"
    assert "value_size is 4, the program wants 8" in str(caught.value)


def test_a_failed_load_takes_its_pins_away(bpffs: Path) -> None:
    specs = [MapSpec(name, MapType.HASH, 4, 4, 4, pinning=Pinning.BY_NAME) for name in ("one", "two")]
    engine = KernelEngine(TARGET, pin_root=bpffs)
    with pytest.raises(RejectedError):
        load(make_object("r0 = r5\nexit", maps=specs), engine=engine)
    assert pins_in(bpffs) == []
    pin_by_name = engine.pin_by_name

    def fail_second(handle: KernelMap) -> None:
        if handle.spec.name == "two":
            raise EngineError(caught.value.diagnostic)
        pin_by_name(handle)

    with pytest.raises(EngineError) as caught:
        engine.create_map(specs[0].replace(pinning=Pinning.NONE)).pin(bpffs / "missing" / "x")
    engine.pin_by_name = fail_second  # type: ignore[method-assign,assignment]
    with pytest.raises(EngineError):
        load(make_object(PASS, maps=specs), engine=engine)
    engine.close()
    assert pins_in(bpffs) == []


def test_programs_are_pinned_and_unpinned(bpffs: Path, engine: KernelEngine) -> None:
    live = program(engine, PASS)
    live.pin(bpffs / "p")
    assert (bpffs / "p").exists()
    with pytest.raises(EngineError) as caught:
        live.pin(bpffs / "p")
    assert caught.value.diagnostic.code == "E0231"
    live.unpin()
    assert not (bpffs / "p").exists()
    live.unpin(bpffs / "p")


def test_a_place_that_is_no_bpffs(engine: KernelEngine, tmp_path: Path) -> None:
    with pytest.raises(EngineError) as caught:
        program(engine, PASS).pin(tmp_path / "p")
    assert "not in a bpffs" in str(caught.value)
    with pytest.raises(EngineError) as caught:
        program(engine, PASS).pin(tmp_path / "no" / "p")
    assert "does not exist" in str(caught.value)


# ---- programs ----


def test_facts_of_a_program(engine: KernelEngine) -> None:
    live = program(engine, PASS)
    info = live.info()
    assert (info.type, info.name, live.id) == (ProgType.XDP, b"program", info.id)
    assert len(live.tag) == 16


RUNS = {
    ProgType.XDP: (PACKET, None),
    ProgType.SCHED_CLS: (PACKET, None),
    ProgType.SCHED_ACT: (PACKET, None),
    ProgType.SOCKET_FILTER: (PACKET, None),
    ProgType.CGROUP_SKB: (PACKET, None),
    ProgType.LWT_IN: (PACKET, None),
    ProgType.LWT_OUT: (PACKET, None),
    ProgType.LWT_XMIT: (PACKET, None),
    ProgType.FLOW_DISSECTOR: (PACKET, None),
    ProgType.RAW_TRACEPOINT: (b"", bytes(16)),
    ProgType.SYSCALL: (b"", bytes(8)),
}
#: The return values that each of these types may have, where 2 is not one.
RETURNS = {ProgType.CGROUP_SKB: 1, ProgType.FLOW_DISSECTOR: 0, ProgType.RAW_TRACEPOINT: 0}


@pytest.mark.parametrize("prog_type", RUNS, ids=lambda t: t.name)
def test_every_type_that_can_be_run(engine: KernelEngine, prog_type: ProgType) -> None:
    data, ctx = RUNS[prog_type]
    expected = RETURNS.get(prog_type, 2)
    spec = make_object(f"r0 = {expected}\nexit", prog_type=prog_type)
    if prog_type is ProgType.SYSCALL:
        spec = replace(spec, programs={"program": replace(spec.programs["program"], sleepable=True)})
    live = engine.load_linked(link(spec, "program", TARGET), {})
    assert live.run(data, ctx).retval == expected


def test_types_without_a_test_run_say_so(engine: KernelEngine) -> None:
    for prog_type in (ProgType.KPROBE, ProgType.TRACEPOINT, ProgType.SOCK_OPS, ProgType.LWT_SEG6LOCAL):
        code = "r0 = 0\nexit" if prog_type is not ProgType.SOCK_OPS else "r0 = 1\nexit"
        with pytest.raises(UnsupportedError) as caught:
            program(engine, code, prog_type).run(b"")
        assert caught.value.diagnostic.code == "E0227"


def test_input_that_does_not_fit(engine: KernelEngine) -> None:
    live = program(engine, PASS)
    for data, ctx in ((b"abc", None), (PACKET, bytes(200)), (PACKET, b"\xff" * 24)):
        with pytest.raises(UsageError):
            live.run(data, ctx)
    with pytest.raises(UsageError):
        program(engine, "r0 = 0\nexit", ProgType.RAW_TRACEPOINT).run(PACKET)


def test_the_log_is_whole_however_long(engine: KernelEngine) -> None:
    steps = "\n".join(f"if r1 == {n} goto +0\nr1 += {n}" for n in range(1500))
    code = f"r1 = *(u32 *)(r1 +0)\nr1 = 5\n{steps}\nr0 = r5\nexit"
    with pytest.raises(RejectedError) as caught:
        program(engine, code, ProgType.SOCKET_FILTER)
    log = caught.value.log
    assert len(log) > program_calls.LOG_START
    assert log.startswith(("0: R1=ctx", "func#0"))
    assert log.rstrip().splitlines()[-1].startswith("processed ")
    assert caught.value.diagnostic.kernel == "R5 !read_ok"


def test_the_kernel_decides_and_ours_explains(kernel: None) -> None:
    with pytest.raises(RejectedError) as caught:
        load(make_object("r0 = r5\nexit"), engine=KernelEngine(TARGET))
    assert caught.value.diagnostic.code != "V0900"
    assert caught.value.diagnostic.kernel == "R5 !read_ok"
    assert caught.value.diagnostic.help


def test_a_disagreement_is_told(kernel: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from skep.collection import judged
    from skep.model.programs import Outcome, Verdict

    monkeypatch.setattr(judged, "judge", lambda *_: Verdict(Outcome.ACCEPTED, (), 1))
    with pytest.raises(RejectedError) as caught:
        load(make_object("r0 = r5\nexit"), engine=KernelEngine(TARGET))
    assert caught.value.diagnostic.code == "V0900"
    assert any("disagree" in why for why in caught.value.diagnostic.why)

    def broken(*_: object) -> Verdict:
        raise ZeroDivisionError

    monkeypatch.setattr(judged, "judge", broken)
    with pytest.raises(RejectedError) as caught:
        load(make_object("r0 = r5\nexit"), engine=KernelEngine(TARGET))
    assert any("please report" in why for why in caught.value.diagnostic.why)


def test_programs_of_trampolines_are_loaded_or_refused_by_policy(kernel: None) -> None:
    spec = tracing("fentry/tcp_connect", AttachType.TRACE_FENTRY, "tcp_connect")
    engine = KernelEngine()
    code = None
    try:
        engine.load_linked(link(spec, "program", TARGET), {}).close()
    except EngineError as error:
        code = error.diagnostic.code
    engine.close()
    assert code in (None, "E0222")


def tracing(section: str, attach_type: AttachType, to: str) -> ObjectSpec:
    spec = make_object("r0 = 0\nexit", prog_type=ProgType.TRACING)
    made = replace(spec.programs["program"], section=section, attach_type=attach_type, attach_to=to)
    return replace(spec, programs={"program": made})


def test_what_it_attaches_to_must_be_there(kernel: None) -> None:
    engine = KernelEngine()
    for section, to, code in (("tp_btf/no_such_thing", "no_such_thing", "E0225"), ("tp_btf", "", "E0226")):
        with pytest.raises(SkepError) as caught:
            engine.load_linked(link(tracing(section, AttachType.TRACE_RAW_TP, to), "program", TARGET), {})
        assert caught.value.diagnostic.code == code
    engine.close()


# ---- lifetime ----


def test_closing_the_engine_closes_all(kernel: None) -> None:
    engine = KernelEngine(TARGET)
    table, live = engine.create_map(MapSpec("t", MapType.HASH, 4, 4, 4)), program(engine, PASS)
    engine.close()
    engine.close()
    for action in (lambda: table.lookup(u32(1)), lambda: live.run(PACKET), lambda: program(engine, PASS)):
        with pytest.raises(ClosedError):
            action()


def test_things_of_another_engine_are_refused(engine: KernelEngine) -> None:
    other = VmEngine()
    outer = engine.create_map(MapSpec("o", MapType.ARRAY_OF_MAPS, 4, 4, 1, inner=MapSpec("i", MapType.ARRAY, 4, 4, 1)))
    foreign = other.create_map(MapSpec("i", MapType.ARRAY, 4, 4, 1))
    with pytest.raises(UsageError):
        engine.set_inner(outer, u32(0), foreign)
    other.close()


def test_a_token_that_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kernel: None) -> None:
    for path in (str(tmp_path / "missing"), str(tmp_path)):
        monkeypatch.setenv("LIBBPF_BPF_TOKEN_PATH", path)
        engine = KernelEngine(TARGET)
        with pytest.raises(EngineError) as caught:
            engine.create_map(MapSpec("t", MapType.HASH, 4, 4, 4))
        assert caught.value.diagnostic.code == "E0233"
        engine.close()


def test_descriptors_are_never_0_1_or_2(kernel: None) -> None:
    pid = os.fork()
    if pid == 0:
        os.close(0)
        engine = KernelEngine(TARGET)
        number = engine.create_map(MapSpec("t", MapType.HASH, 4, 4, 4)).fd.number
        os._exit(0 if number > 2 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_killed_loader_leaves_nothing(kernel: None) -> None:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        engine = KernelEngine(TARGET)
        live = load(make_object(PASS, maps=[MapSpec("t", MapType.HASH, 4, 4, 4)]), engine=engine)
        numbers = live.programs["program"].handle.id, live.maps["t"].handle.id  # type: ignore[attr-defined]
        os.write(writing, struct.pack("=II", *numbers))
        os.kill(os.getpid(), signal.SIGKILL)
    program_id, map_id = struct.unpack("=II", os.read(reading, 8))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    os.close(reading)
    os.close(writing)
    # The kernel frees them after a grace period.
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        left = program_id in objects.ids(objects.Kind.PROGRAM), map_id in objects.ids(objects.Kind.MAP)
        if left == (False, False):
            return
        time.sleep(0.05)
    pytest.fail(f"still there: program, map: {left}")
