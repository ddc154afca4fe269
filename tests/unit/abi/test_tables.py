"""Limits, return ranges, verdict names, map facts, features, kfuncs, errno: total, consistent, right where known."""

from __future__ import annotations

import errno as host_errno
import sys
from pathlib import Path

import pytest

from skep.abi import limits
from skep.abi.errno import ALIASES, Errno, errno_name
from skep.abi.features import FEATURES, PROG_TYPES, has_feature
from skep.abi.helpers import HELPERS, find_helper
from skep.abi.kfuncs import KFUNCS, KfuncFlag, find_kfunc
from skep.abi.map_facts import FACTS, HELPER_MAPS, Holds, kernel_sentence, may_use
from skep.abi.map_types import MapType as M
from skep.abi.prog_types import AttachType as A
from skep.abi.prog_types import ProgType as P
from skep.abi.return_ranges import ReturnRange, return_range
from skep.abi.signatures import ArgKind
from skep.abi.verdicts import verdict_name, verdicts_of


def test_map_facts_are_total() -> None:
    assert set(FACTS) == set(M) - {M.UNSPEC}


@pytest.mark.parametrize("map_type", sorted(FACTS), ids=lambda m: m.name)
def test_map_facts_are_consistent(map_type: M) -> None:
    facts = FACTS[map_type]
    least, most = facts.key_sizes
    assert most is None or least <= most
    assert facts.needs_inner == (facts.holds is Holds.MAPS)
    for helper in facts.helpers or ():
        assert helper in HELPERS
        if helper in HELPER_MAPS:
            assert map_type in HELPER_MAPS[helper], HELPERS[helper].name


def test_helper_maps_name_helpers_that_take_a_map() -> None:
    for helper, map_types in HELPER_MAPS.items():
        kinds = {arg.kind for arg in HELPERS[helper].args or ()}
        assert ArgKind.CONST_MAP in kinds, HELPERS[helper].name
        for map_type in map_types:
            allowed = FACTS[map_type].helpers
            assert allowed is None or helper in allowed, (HELPERS[helper].name, map_type.name)


@pytest.mark.parametrize(
    ("name", "map_type", "prog_type", "allowed"),
    [
        ("map_lookup_elem", M.HASH, P.XDP, True),
        ("map_lookup_elem", M.RINGBUF, P.XDP, False),
        ("map_lookup_elem", M.ARRAY_OF_MAPS, P.XDP, True),
        ("map_update_elem", M.ARRAY_OF_MAPS, P.XDP, False),
        ("tail_call", M.PROG_ARRAY, P.XDP, True),
        ("tail_call", M.ARRAY, P.XDP, False),
        ("ringbuf_reserve", M.RINGBUF, P.KPROBE, True),
        ("perf_event_output", M.RINGBUF, P.KPROBE, False),
        ("map_push_elem", M.QUEUE, P.XDP, True),
        ("map_pop_elem", M.BLOOM_FILTER, P.XDP, False),
        ("for_each_map_elem", M.LRU_HASH, P.XDP, True),
        ("for_each_map_elem", M.LPM_TRIE, P.XDP, False),
        ("map_update_elem", M.SOCKMAP, P.XDP, True),
        ("map_update_elem", M.SOCKMAP, P.KPROBE, False),
        ("map_delete_elem", M.SOCKMAP, P.SOCK_OPS, True),
        ("map_lookup_percpu_elem", M.HASH, P.XDP, False),
    ],
)
def test_which_helper_takes_which_map(name: str, map_type: M, prog_type: P, allowed: bool) -> None:
    helper = find_helper(name)
    assert helper is not None
    assert may_use(helper.id, map_type, prog_type) is allowed


def test_map_sentence() -> None:
    assert kernel_sentence(1, "bpf_map_lookup_elem", M.RINGBUF) == (
        "cannot pass map_type 27 into func bpf_map_lookup_elem#1"
    )


def test_limits_by_version() -> None:
    assert limits.max_insns((5, 1)) == 4096
    assert limits.max_insns((5, 2)) == 1_000_000
    assert limits.max_insns((6, 18), privileged=False) == 4096
    assert limits.max_processed_insns((6, 18)) == 1_000_000
    assert limits.max_processed_insns((4, 19)) == 131_072
    assert limits.max_processed_insns((3, 18)) == 32_768


def test_return_ranges() -> None:
    assert return_range(P.XDP) is None
    assert return_range(P.KPROBE, A.TRACE_KPROBE_MULTI) is None
    assert return_range(P.KPROBE, A.TRACE_KPROBE_SESSION) == ReturnRange(0, 1)
    assert return_range(P.CGROUP_SKB, A.CGROUP_INET_EGRESS) == ReturnRange(0, 3)
    assert return_range(P.CGROUP_SKB) == ReturnRange(0, 1)
    assert return_range(P.CGROUP_SOCK_ADDR, A.CGROUP_UDP4_RECVMSG) == ReturnRange(1, 1)


def test_verdict_names() -> None:
    assert verdict_name(P.XDP, 2) == "XDP_PASS"
    assert verdict_name(P.SCHED_CLS, 0xFFFF_FFFF) == "TC_ACT_UNSPEC"
    assert verdict_name(P.SCHED_CLS, -1, A.TCX_INGRESS) == "TCX_NEXT"
    assert verdict_name(P.XDP, 17) == "17"
    assert verdict_name(P.SOCKET_FILTER, 64) == "64"
    assert verdict_name(P.CGROUP_SKB, 1) == "ALLOW"
    assert list(verdicts_of(P.XDP)) == [0, 1, 2, 3, 4]
    assert not verdicts_of(P.KPROBE)


def test_verdicts_fit_the_return_ranges() -> None:
    for prog_type in P:
        names, allowed = verdicts_of(prog_type), return_range(prog_type)
        if names and allowed is not None:
            assert set(names) == set(range(allowed.low, allowed.high + 1)), prog_type.name


def test_features() -> None:
    assert has_feature("bounded_loops", (5, 3))
    assert not has_feature("bounded_loops", (5, 2, 21))
    assert has_feature("isa_v4", (6, 6, 0))
    with pytest.raises(KeyError):
        has_feature("nothing", (6, 6))
    assert all((3, 18) <= feature.since <= (7, 2) and feature.what for feature in FEATURES.values())
    assert set(PROG_TYPES) == set(P) - {P.UNSPEC}


def test_features_agree_with_the_helpers_that_they_are() -> None:
    for feature, helper in {"bpf_loop": "loop", "callbacks": "for_each_map_elem", "timers": "timer_init"}.items():
        row = find_helper(helper)
        assert row is not None
        assert FEATURES[feature].since == row.since


def test_kfuncs() -> None:
    assert len(KFUNCS) >= 200
    lookup = find_kfunc("bpf_task_from_pid")
    assert lookup is not None
    assert lookup.flags == KfuncFlag.ACQUIRE | KfuncFlag.RET_NULL
    assert find_kfunc("bpf_nothing") is None
    for kfunc in KFUNCS.values():
        assert kfunc.hidden_argument == kfunc.name.endswith("_impl")
        both = KfuncFlag.ACQUIRE in kfunc.flags and KfuncFlag.RELEASE in kfunc.flags
        assert both == (kfunc.name == "bpf_ct_insert_entry")  # it changes one reference for another


def test_kfuncs_exist_in_this_kernel() -> None:
    vmlinux = Path("/sys/kernel/btf/vmlinux")
    release = Path("/proc/sys/kernel/osrelease")
    if not vmlinux.exists() or not release.exists():
        pytest.skip("no /sys/kernel/btf/vmlinux: not Linux, or a kernel without BTF")
    version = tuple(int(part) for part in release.read_text().split(".")[:2])
    strings = set(vmlinux.read_bytes().split(b"\0"))
    optional = ("bpf_skb_ct_", "bpf_xdp_ct_", "bpf_ct_", "bpf_xdp_metadata_", "bpf_crypto_", "bbr_", "crash_kexec")
    for kfunc in KFUNCS.values():
        if kfunc.since <= version and not kfunc.name.startswith(optional):
            assert kfunc.name.encode() in strings, kfunc.name


def test_errno() -> None:
    assert errno_name(2) == errno_name(-2) == "ENOENT"
    assert errno_name(524) == "ENOTSUPP"
    assert errno_name(4000) == "4000"
    assert Errno.E2BIG == 7
    assert ALIASES["EWOULDBLOCK"] is Errno.EAGAIN
    assert len(set(Errno)) == len(Errno.__members__)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other numbers")
def test_errno_agrees_with_linux() -> None:
    for member in Errno:
        assert getattr(host_errno, member.name, member.value) == member.value
