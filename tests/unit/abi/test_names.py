"""Names of types, both ways, and numbers against the kernel's header."""

from __future__ import annotations

import re
from enum import IntEnum
from pathlib import Path

import pytest

from skep.abi import names
from skep.abi.link_types import LinkType
from skep.abi.map_types import MapType
from skep.abi.prog_types import AttachType, ProgType

PROGRAMS = """socket_filter kprobe sched_cls sched_act tracepoint xdp perf_event cgroup_skb cgroup_sock lwt_in lwt_out
lwt_xmit sock_ops sk_skb cgroup_device sk_msg raw_tracepoint cgroup_sock_addr lwt_seg6local lirc_mode2 sk_reuseport
flow_dissector cgroup_sysctl raw_tracepoint_writable cgroup_sockopt tracing struct_ops ext lsm sk_lookup syscall
netfilter"""
MAPS = """hash array prog_array perf_event_array percpu_hash percpu_array stack_trace cgroup_array lru_hash
lru_percpu_hash lpm_trie array_of_maps hash_of_maps devmap sockmap cpumap xskmap sockhash cgroup_storage
reuseport_sockarray percpu_cgroup_storage queue stack sk_storage devmap_hash struct_ops ringbuf inode_storage
task_storage bloom_filter user_ringbuf cgrp_storage arena insn_array rhash"""
LINKS = """raw_tracepoint tracing cgroup iter netns xdp perf_event kprobe_multi struct_ops netfilter tcx uprobe_multi
netkit sockmap tracing_multi"""


@pytest.mark.parametrize(
    ("kind", "text", "table"),
    [
        (ProgType, PROGRAMS, names.PROG_TYPES),
        (MapType, MAPS, names.MAP_TYPES),
        (LinkType, LINKS, names.LINK_TYPES),
    ],
)
def test_names_in_order_of_their_numbers(kind: type[IntEnum], text: str, table: dict[str, IntEnum]) -> None:
    assert ["unspec", *text.split()] == [names.name_of(member) for member in kind]  # type: ignore[arg-type]
    assert {name: table[name] for name in text.split()} == dict(zip(text.split(), list(kind)[1:], strict=True))


def test_attach_types() -> None:
    assert names.find_attach_type("trace_fentry") is AttachType.TRACE_FENTRY
    assert names.find_attach_type("modify_return") is AttachType.MODIFY_RETURN
    assert names.find_attach_type("lsm_mac") is AttachType.LSM_MAC
    assert names.name_of(AttachType.TCX_INGRESS) == "tcx_ingress"
    assert len(names.ATTACH_TYPES) == len(AttachType)


def test_unknown_names() -> None:
    assert names.find_prog_type("XDP") is None
    assert names.find_map_type("") is None
    assert names.find_link_type("nothing") is None


@pytest.mark.parametrize(
    ("kind", "enum"),
    [
        (ProgType, "bpf_prog_type"),
        (MapType, "bpf_map_type"),
        (LinkType, "bpf_link_type"),
        (AttachType, "bpf_attach_type"),
    ],
)
def test_numbers_are_those_of_the_header(kind: type[IntEnum], enum: str) -> None:
    ziglang = pytest.importorskip("ziglang", reason="the kernel's header comes with the ziglang wheel")
    header = Path(ziglang.__file__).parent / "lib/libc/include/any-linux-any/linux/bpf.h"
    if not header.exists():
        pytest.skip(f"no {header}")
    found = re.search(rf"\benum {enum} \{{(.*?)\n\}};", header.read_text(), re.S)
    assert found is not None
    body = re.sub(r"/\*.*?\*/", "", found[1], flags=re.S)
    numbers: dict[str, int] = {}
    following = 0
    for item in body.split(","):
        name, _, value = (part.strip() for part in item.partition("="))
        if not name or "MAX_BPF" in name:
            continue
        following = numbers.get(value, int(value) if value.isdigit() else following)
        numbers[name] = following
        following += 1
    ours = {member.kernel_name: member.value for member in kind}  # type: ignore[attr-defined]
    assert {name: numbers.get(name) for name in ours} == ours
