"""Maps: BTF-defined, with inner maps, values and pinning; legacy ones in their three layouts."""

from __future__ import annotations

import struct

import pytest

from skep.abi.map_types import MapType
from skep.errors import ElfError, SkepError, UnsupportedError
from skep.model.maps import Pinning, Slot
from skep.objfile import read_object
from tests.unit.objfile.build import CODE, DATA, EXIT, Raw, RawElf, compile_c

SOURCE = """
struct key { __u32 a; __u16 b; };
struct { __uint(type, 1); __uint(max_entries, 100); __type(key, struct key); __type(value, __u64);
         __uint(map_flags, 1); __uint(pinning, 1); __ulong(map_extra, 0x1234567890ULL); } hits SEC(".maps");
struct { __uint(type, 2); __uint(key_size, 4); __uint(value_size, 12); __uint(max_entries, 3); } sized SEC(".maps");
static struct { __uint(type, 27); __uint(max_entries, 4096); } events SEC(".maps");
struct inner { __uint(type, 2); __uint(max_entries, 7); __type(key, __u32); __type(value, __u32); };
struct inner inner_a SEC(".maps");
struct inner inner_b SEC(".maps");
struct { __uint(type, 12); __uint(max_entries, 4); __type(key, __u32); __array(values, struct inner); }
    outer SEC(".maps") = { .values = { [3] = &inner_b, [1] = &inner_a } };
int one(void *ctx);
struct { __uint(type, 3); __uint(max_entries, 2); __uint(key_size, 4); __array(values, int (void *)); }
    jumps SEC(".maps") = { .values = { [1] = (void *) &one } };
SEC("xdp") int one(void *ctx) { __u32 k = 0; return bpf_map_lookup_elem(&sized, &k) ? 1 : 2; }
SEC("xdp") int two(void *ctx) { __u32 k = 0; bpf_tail_call(ctx, &jumps, 1);
    return (long) bpf_map_lookup_elem(&events, &k); }
"""


@pytest.mark.parametrize("target", ["bpfel", "bpfeb"])
def test_btf_maps(target: str) -> None:
    spec = read_object(compile_c(SOURCE, target=target), "maps.bpf.o")
    assert spec.name == "maps"
    hits = spec.maps["hits"]
    assert (hits.type, hits.key_size, hits.value_size, hits.max_entries) == (MapType.HASH, 8, 8, 100)
    assert (hits.flags, hits.pinning, hits.map_extra) == (1, Pinning.BY_NAME, 0x1234567890)
    assert hits.btf is not None
    assert hits.btf[hits.key_type].name == "key"
    assert spec.maps["sized"].value_size == 12
    assert spec.maps["events"].type is MapType.RINGBUF
    outer = spec.maps["outer"]
    assert outer.inner is not None
    assert (outer.inner.type, outer.inner.max_entries, outer.value_size) == (MapType.ARRAY, 7, 4)
    assert outer.slots == (Slot(1, "inner_a"), Slot(3, "inner_b"))
    assert spec.maps["jumps"].slots == (Slot(1, "one"),)


def test_a_static_map_is_named_through_its_section() -> None:
    spec = read_object(compile_c(SOURCE), "maps.o")
    names = [insn.ref.name for insn in spec.functions["two"].insns if hasattr(insn.ref, "name")]
    assert names == ["jumps", "events"]


@pytest.mark.parametrize(
    ("declaration", "error", "code"),
    [
        ("__uint(type, 1); __uint(colour, 3);", UnsupportedError, "O0122"),
        ("__uint(type, 999);", UnsupportedError, "O0123"),
        ("__uint(max_entries, 1);", ElfError, "O0121"),
        ("__uint(type, 1); __type(key, __u32); __uint(key_size, 8);", ElfError, "O0121"),
        ("__uint(type, 1); int max_entries;", ElfError, "O0121"),
        ("__uint(type, 1); __uint(pinning, 9);", ElfError, "O0121"),
        ("__uint(type, 1); __array(values, int (void *));", ElfError, "O0121"),
    ],
)
def test_impossible_declarations(declaration: str, error: type[SkepError], code: str) -> None:
    data = compile_c(
        f'struct {{ {declaration} }} odd SEC(".maps"); SEC("xdp") int f(void *c) {{ return (long) &odd; }}'
    )
    with pytest.raises(error) as caught:
        read_object(data, "odd.o")
    assert caught.value.diagnostic.code == code
    assert "odd" in caught.value.diagnostic.what


def test_maps_without_btf_are_refused_with_the_way_out() -> None:
    data = compile_c(SOURCE, "-g0")
    with pytest.raises(ElfError) as caught:
        read_object(data, "maps.o")
    assert caught.value.diagnostic.code == "O0120"
    assert "-g" in (caught.value.diagnostic.help or "")


def legacy(*definitions: tuple[str, tuple[int, ...]], code: str = "xdp") -> bytes:
    data, symbols = b"", [("entry", 0, 8, 2, 1, 2)]
    for name, words in definitions:
        body = struct.pack(f"<{len(words)}I", *words)
        symbols.append((name, len(data), len(body), 1, 1, 1))
        data += body
    return RawElf([Raw("maps", data, flags=DATA), Raw(code, EXIT, flags=CODE)], symbols).build()


def test_legacy_map_is_read_with_a_note() -> None:
    spec = read_object(legacy(("counts", (1, 4, 8, 1024, 1))), "old.o")
    counts = spec.maps["counts"]
    assert (counts.type, counts.key_size, counts.value_size, counts.max_entries, counts.flags) == (1, 4, 8, 1024, 1)
    assert "libbpf >= 1.0 refuses" in counts.notes[0]
    assert "libbpf >= 1.0 refuses" in spec.notes[0]


def test_legacy_samples_layout_names_the_inner_map_by_position() -> None:
    spec = read_object(legacy(("inner", (2, 4, 4, 1, 0, 0, 0)), ("outer", (12, 4, 4, 1, 0, 0, 0))), "old.o")
    assert spec.maps["outer"].inner == spec.maps["inner"]


def test_legacy_samples_layout_numa_node() -> None:
    spec = read_object(legacy(("local", (1, 4, 4, 1, 4, 0, 1))), "old.o")
    assert spec.maps["local"].numa_node == 1
    assert spec.maps["local"].pinning is Pinning.NONE


def test_iproute2_layout_pins_nests_and_fills_the_prog_array() -> None:
    data = legacy(
        ("calls", (3, 4, 4, 8, 0, 2, 2, 0, 0)),
        ("inner", (2, 4, 4, 1, 0, 7, 0, 0, 0)),
        ("outer", (13, 4, 4, 9, 0, 8, 1, 7, 0)),
        code="2/5",
    )
    spec = read_object(data, "tc.o")
    assert spec.maps["calls"].pinning is Pinning.BY_NAME
    assert spec.maps["calls"].slots == (Slot(5, "entry"),)
    assert spec.maps["outer"].inner is not None
    assert spec.maps["outer"].inner.name == "inner"


@pytest.mark.parametrize("words", [(1, 4, 8, 1), (999, 4, 8, 1, 0)])
def test_broken_legacy_maps(words: tuple[int, ...]) -> None:
    with pytest.raises(ElfError, match="counts"):
        read_object(legacy(("counts", words)), "old.o")


@pytest.mark.parametrize(("value", "size"), [(100, 0), (4, 20), (20, 20)])
def test_legacy_symbols_outside_their_section(value: int, size: int) -> None:
    body = struct.pack("<5I", 1, 4, 8, 1, 0)
    symbols = [("counts", value, size, 0, 1, 1), ("entry", 0, 8, 2, 1, 2)]
    data = RawElf([Raw("maps", body, flags=DATA), Raw("xdp", EXIT, flags=CODE)], symbols).build()
    with pytest.raises(ElfError, match="'counts' takes"):
        read_object(data, "old.o")


def test_legacy_section_without_symbols_or_bytes() -> None:
    data = RawElf([Raw("maps", flags=DATA), Raw("xdp", EXIT, flags=CODE)], [("entry", 0, 8, 2, 1, 2)]).build()
    assert read_object(data, "old.o").maps == {}


def test_sizes_that_the_kernel_leaves_no_choice_about() -> None:
    source = """
    struct event { __u64 a, b; };
    struct { __uint(type, 27); __uint(max_entries, 4096); __type(value, struct event); } ring SEC(".maps");
    struct { __uint(type, 4); __type(value, struct event); } perf SEC(".maps");
    struct { __uint(type, 3); __uint(max_entries, 8); } jumps SEC(".maps");
    """
    spec = read_object(compile_c(source), "fixed.o")
    sizes = {name: (found.key_size, found.value_size) for name, found in spec.maps.items()}
    assert sizes == {"ring": (0, 0), "perf": (4, 4), "jumps": (4, 4)}
    for name in ("ring", "perf"):
        found = spec.maps[name]
        assert found.btf is not None
        assert found.btf[found.value_type].name == "event"
    assert read_object(legacy(("outer", (12, 4, 0, 1, 0))), "old.o").maps["outer"].value_size == 4
