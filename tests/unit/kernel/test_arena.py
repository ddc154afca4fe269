"""Arenas on the running Linux: variables, lists that programs build and Python reads, and the other way round."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

import skep
from skep.abi.map_types import MapType
from skep.collection.arena import Arena
from skep.collection.object import Object
from skep.engine import SharedArena
from skep.errors import LinkError, MapError, SkepError, UsageError
from skep.kernel.engine import KernelEngine
from skep.kernel.host import kernel_version
from skep.kernel.maps.arena import SEGV_ON_FAULT, ArenaMap
from skep.model.maps import MapSpec
from skep.model.objects import ObjectSpec

pytestmark = pytest.mark.kernel
SOURCE = Path(__file__).with_name("arena.bpf.c")
MMAPABLE = 1 << 10
PAGE = 4096


@pytest.fixture(scope="module", params=["v3", "v4"])
def spec(request: pytest.FixtureRequest) -> ObjectSpec:
    return skep.compile(SOURCE, target_cpu=request.param)


@pytest.fixture
def arenas(kernel: None) -> None:
    """A kernel that has them."""
    if kernel_version()[:2] < (6, 9):
        pytest.skip("arenas exist since Linux 6.9")


@pytest.fixture
def live(arenas: None, spec: ObjectSpec) -> Iterator[Object]:
    with skep.load(spec, engine="kernel", variables={"runs": 6}) as made:
        yield made


def arena_of(live: Object) -> Arena:
    found = live.maps["arena"]
    assert isinstance(found, Arena)
    return found


def test_a_list_that_a_program_made(live: Object) -> None:
    assert live.programs["fill"].run(b"").retval == 0
    items = list(arena_of(live).walk(live.variables["head"].value, "arena_item"))
    assert [item.value for item in items] == [i * i for i in range(9, -1, -1)]
    assert live.variables["runs"].value == 7


def test_a_list_that_python_made(live: Object) -> None:
    arena = arena_of(live)
    first, second = arena.address + 20 * PAGE, arena.address + 21 * PAGE
    arena.store(first, "arena_item", {"next": second, "value": 30})
    arena.store(second, "arena_item", {"next": 0, "value": 12})
    live.variables["head"].value = first
    assert live.programs["add"].run(b"").retval == 0
    assert live.variables["sums"].value == [0, 42, 0, 0]


def test_numpy_sees_it_in_place(live: Object) -> None:
    pytest.importorskip("numpy")
    live.programs["fill"].run(b"")
    arena = arena_of(live)
    first = live.variables["head"].value - 9 * 16
    items = arena.array(first, "arena_item", 10)
    assert items["value"].tolist() == [i * i for i in range(10)]
    items["value"] = 1
    live.programs["add"].run(b"")
    assert live.variables["sums"].value[1] == 10


def test_pages_of_variables_are_not_given_out(live: Object) -> None:
    """Variables that are all zero have their page, too."""
    arena = arena_of(live)
    live.programs["fill"].run(b"")
    assert arena.offset_of(live.variables["head"].value) >= PAGE


def test_pointers_that_lead_elsewhere(live: Object) -> None:
    arena = arena_of(live)
    assert arena.offset_of(arena.address + 8) == 8
    assert arena.offset_of((arena.address + 8) & 0xFFFFFFFF) == 8
    for pointer in (0, arena.address - 1, arena.address + arena.size):
        with pytest.raises(MapError, match="does not point into arena"):
            arena.offset_of(pointer)
    with pytest.raises(MapError):
        arena.load(arena.address + arena.size - 8, "arena_item")
    with pytest.raises(UsageError, match="no type"):
        arena.load(arena.address, "nothing")


def test_views_keep_the_memory(arenas: None, spec: ObjectSpec) -> None:
    with skep.load(spec, engine="kernel") as live:
        view = arena_of(live).memory()
        view[5 * PAGE] = 77
    gc.collect()
    assert view[5 * PAGE] == 77


def test_the_vm_says_what_to_do(spec: ObjectSpec) -> None:
    with pytest.raises(SkepError, match='engine="kernel"'):
        skep.load(spec)


# ---- the handle alone ----


@pytest.fixture
def engine(arenas: None) -> Iterator[KernelEngine]:
    made = KernelEngine()
    yield made
    made.close()


def test_handle(engine: KernelEngine) -> None:
    made = engine.create_map(MapSpec("a", MapType.ARENA, max_entries=2, flags=MMAPABLE))
    assert isinstance(made, ArenaMap)
    assert isinstance(made, SharedArena)
    assert made.memory()[:8] == bytes(8)
    assert made.read(0, 4) == bytes(4)
    with pytest.raises(MapError, match="are not in arena"):
        made.read(2 * PAGE - 1, 2)


def test_an_address_of_ones_own(engine: KernelEngine) -> None:
    place = 0x100_0000_0000
    made = engine.create_map(MapSpec("a", MapType.ARENA, max_entries=2, flags=MMAPABLE, map_extra=place))
    assert isinstance(made, ArenaMap)
    assert made.address == place
    with pytest.raises(MapError, match="cannot be mapped"):
        engine.create_map(MapSpec("b", MapType.ARENA, max_entries=2, flags=MMAPABLE, map_extra=place))


def test_missing_pages_do_not_end_the_process(engine: KernelEngine) -> None:
    made = engine.create_map(MapSpec("a", MapType.ARENA, max_entries=2, flags=MMAPABLE | SEGV_ON_FAULT))
    assert isinstance(made, ArenaMap)
    assert made.read(0, 8) is None
    with pytest.raises(MapError, match="SEGV_ON_FAULT"):
        made.memory()
    with pytest.raises(MapError, match="SEGV_ON_FAULT"):
        engine.create_map(MapSpec("b", MapType.ARENA, max_entries=2, flags=MMAPABLE | SEGV_ON_FAULT, contents=bytes(8)))


@pytest.mark.parametrize("change", [{"flags": 0}, {"max_entries": 0}, {"key_size": 4}, {"map_extra": 12}])
def test_what_the_kernel_refuses(engine: KernelEngine, change: dict[str, int]) -> None:
    good = MapSpec("a", MapType.ARENA, max_entries=2, flags=MMAPABLE)
    with pytest.raises(MapError):
        engine.create_map(good.replace(**change))


def test_variables_need_one_arena(arenas: None, tmp_path: Path) -> None:
    text = SOURCE.read_text()
    lonely = tmp_path / "lonely.bpf.c"
    lonely.write_text('#include "vmlinux.h"\n#include <bpf/bpf_helpers.h>\n#include <bpf/bpf_arena.h>\n'
                      'int __arena x = 1;\nSEC("syscall") int f(void *c) { return x; }\n')  # fmt: skip
    with pytest.raises(LinkError, match="declares no arena"):
        skep.load(skep.compile(lonely), engine="kernel")
    two = tmp_path / "two.bpf.c"
    declaration = text[text.index("struct {") : text.index("arena SEC")]
    two.write_text(text.replace("struct arena_item {", declaration + 'other SEC(".maps");\nstruct arena_item {', 1))
    with pytest.raises(LinkError, match="several arenas"):
        skep.load(skep.compile(two), engine="kernel")
