"""The helper table: complete, consistent, and numbered as the kernel's header numbers it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from skep.abi.helpers import HELPERS, THEMES, available, find_helper, may_call, signature_for
from skep.abi.helpers.row import parse_prototype
from skep.abi.prog_types import AttachType, ProgType
from skep.abi.signatures import ArgKind, MemoryUse, ReturnKind

SIZES = {ArgKind.SIZE, ArgKind.SIZE_OR_ZERO}


def _header() -> str:
    ziglang = pytest.importorskip("ziglang", reason="the kernel's header comes with the ziglang wheel")
    header = Path(ziglang.__file__).parent / "lib/libc/include/any-linux-any/linux/bpf.h"
    if not header.exists():
        pytest.skip(f"no {header}")
    return header.read_text()


def test_numbers_and_names_are_those_of_the_header() -> None:
    rows = {int(number): f"bpf_{name}" for name, number in re.findall(r"\bFN\((\w+), (\d+)", _header())}
    del rows[0]
    assert {number: row.name for number, row in HELPERS.items()} == rows


def test_every_helper_of_the_header_has_its_parameters() -> None:
    text = _header()
    docs = text[text.index("Start of BPF helper function descriptions") : text.index("___BPF_FUNC_MAPPER")]
    counts: dict[str, set[int]] = {}
    for name, params in re.findall(r"^ \* (?:[a-z]\w* )+\**\s?\**(bpf_\w+)\(([^)]*)\)", docs, re.M):
        counts.setdefault(name, set()).add(0 if params == "void" else params.count(",") + 1)
    for row in HELPERS.values():
        assert len(row.c_params) in counts[row.name], row.name


def test_no_duplicates() -> None:
    rows = [row for rows in THEMES.values() for row in rows]
    assert len(rows) == len({row.id for row in rows}) == len({row.name for row in rows}) == 211


def test_versions_never_decrease() -> None:
    versions = [HELPERS[number].since for number in sorted(HELPERS)]
    assert versions == sorted(versions)


@pytest.mark.parametrize("number", sorted(HELPERS))
def test_signature_is_consistent(number: int) -> None:
    row = HELPERS[number]
    assert row.args is not None
    assert len(row.args) <= 5
    variadic = any(name == "" for _, name in row.c_params)
    if row.name not in UNCHECKED_TAIL:
        assert len(row.args) == len(row.c_params) - variadic
    for index, arg in enumerate(row.args):
        if arg.kind in SIZES:
            assert row.args[index - 1].kind is ArgKind.MEMORY
        if arg.kind is ArgKind.MEMORY and arg.size is None:
            assert row.args[index + 1].kind in SIZES
        if arg.kind is ArgKind.BTF_OBJECT and row.name != "bpf_kptr_xchg":
            assert arg.btf_name
    if row.releases is not None:
        assert 1 <= row.releases <= len(row.args)
    if row.return_range is not None:
        assert row.returns is ReturnKind.INTEGER
        assert row.return_range[0] <= row.return_range[1]


#: The kernel does not look at the last arguments of these.
UNCHECKED_TAIL = {"bpf_get_branch_snapshot", "bpf_copy_from_user_task"}


def test_limits_name_a_size_argument() -> None:
    for row in HELPERS.values():
        if row.return_limit_arg is not None:
            assert row.args is not None
            assert row.args[row.return_limit_arg - 1].kind in SIZES, row.name


def test_find_helper() -> None:
    lookup = HELPERS[1]
    assert find_helper("map_lookup_elem") is find_helper("bpf_map_lookup_elem") is find_helper(1) is lookup
    assert find_helper("bpf_nothing") is None
    assert find_helper(0) is None
    assert find_helper(212) is None
    assert lookup.c_return == "void *"
    assert lookup.c_params == (("void *", "map"), ("const void *", "key"))
    assert lookup.packet_arguments
    assert lookup.returns is ReturnKind.MAP_VALUE_OR_NULL


def test_what_a_type_may_call() -> None:
    xdp = available(ProgType.XDP)
    assert find_helper("xdp_adjust_head") in xdp.values()
    assert find_helper("skb_load_bytes") not in xdp.values()
    assert not may_call(HELPERS[64], ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET4_BIND)
    assert may_call(HELPERS[64], ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET4_CONNECT)
    assert len(available(ProgType.LIRC_MODE2)) < 20
    assert set(available(ProgType.EXT)) == set(HELPERS)


def test_signatures_that_depend_on_the_caller() -> None:
    sk_assign = find_helper("sk_assign")
    assert sk_assign is not None
    at_lookup = signature_for(sk_assign.id, ProgType.SK_LOOKUP)
    assert at_lookup is not None
    assert at_lookup.args is not None
    assert at_lookup.args[1].kind is ArgKind.SOCKET
    assert at_lookup.args[1].nullable
    assert signature_for(sk_assign.id, ProgType.SCHED_CLS) == sk_assign
    assert signature_for(sk_assign.id, ProgType.XDP) is None


def test_references_are_released_by_someone() -> None:
    assert {row.name for row in HELPERS.values() if row.acquires} == {
        "bpf_sk_lookup_tcp",
        "bpf_sk_lookup_udp",
        "bpf_skc_lookup_tcp",
        "bpf_ringbuf_reserve",
        "bpf_kptr_xchg",
    }
    assert {row.name for row in HELPERS.values() if row.releases} >= {"bpf_sk_release", "bpf_ringbuf_submit"}


def test_memory_that_is_filled() -> None:
    probe_read = find_helper("probe_read_kernel")
    assert probe_read is not None
    assert probe_read.args is not None
    assert [arg.kind for arg in probe_read.args] == [ArgKind.MEMORY, ArgKind.SIZE_OR_ZERO, ArgKind.ANYTHING]
    assert probe_read.args[0].use is MemoryUse.WRITE
    assert probe_read.gpl_only


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("__u64 bpf_f(void)", ("__u64", "bpf_f", ())),
        ("void *bpf_f(const void *p)", ("void *", "bpf_f", (("const void *", "p"),))),
        (
            "long bpf_f(const char *fmt, __u32 n, ...)",
            ("long", "bpf_f", (("const char *", "fmt"), ("__u32", "n"), ("...", ""))),
        ),
    ],
)
def test_prototypes(text: str, expected: object) -> None:
    assert parse_prototype(text) == expected


@pytest.mark.parametrize("text", ["", "long f(void)", "long bpf_f(int)", "bpf_f(void)"])
def test_not_a_prototype(text: str) -> None:
    with pytest.raises(ValueError, match="not a"):
        parse_prototype(text)
