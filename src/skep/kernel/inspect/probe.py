"""``skep feature probe``: what this kernel can do, each answer from doing it."""

from __future__ import annotations

import struct
from typing import Any, Final

from skep.abi.helpers import HELPERS
from skep.abi.map_types import MapType
from skep.abi.names import name_of
from skep.abi.prog_types import AttachType, ProgType
from skep.errors import EngineError
from skep.kernel import host, probes
from skep.kernel.bpf import programs
from skep.kernel.bpf.call import BpfCallError
from skep.kernel.bpf.programs import LoadRequest
from skep.kernel.memlock import with_memory
from skep.kernel.refusals import not_permitted
from skep.kernel.target import kernel_types
from skep.kernel.target_file import kernel_helpers

_SETTINGS: Final = {
    "unprivileged_bpf_disabled": "kernel/unprivileged_bpf_disabled",
    "bpf_jit_enable": "net/core/bpf_jit_enable",
    "bpf_jit_harden": "net/core/bpf_jit_harden",
    "bpf_jit_kallsyms": "net/core/bpf_jit_kallsyms",
    "bpf_jit_limit": "net/core/bpf_jit_limit",
}
_CONFIG: Final = (
    "CONFIG_BPF", "CONFIG_BPF_SYSCALL", "CONFIG_HAVE_EBPF_JIT", "CONFIG_BPF_JIT", "CONFIG_BPF_JIT_ALWAYS_ON",
    "CONFIG_DEBUG_INFO_BTF", "CONFIG_DEBUG_INFO_BTF_MODULES", "CONFIG_CGROUPS", "CONFIG_CGROUP_BPF",
    "CONFIG_SOCK_CGROUP_DATA", "CONFIG_BPF_EVENTS", "CONFIG_KPROBE_EVENTS", "CONFIG_UPROBE_EVENTS", "CONFIG_TRACING",
    "CONFIG_FTRACE_SYSCALLS", "CONFIG_FUNCTION_ERROR_INJECTION", "CONFIG_BPF_KPROBE_OVERRIDE", "CONFIG_NET",
    "CONFIG_XDP_SOCKETS", "CONFIG_LWTUNNEL_BPF", "CONFIG_NET_ACT_BPF", "CONFIG_NET_CLS_BPF", "CONFIG_NET_CLS_ACT",
    "CONFIG_NET_SCH_INGRESS", "CONFIG_XFRM", "CONFIG_IP_ROUTE_CLASSID", "CONFIG_IPV6_SEG6_BPF", "CONFIG_BPF_LIRC_MODE2",
    "CONFIG_BPF_STREAM_PARSER", "CONFIG_NETFILTER_XT_MATCH_BPF", "CONFIG_TEST_BPF", "CONFIG_HZ", "CONFIG_BPF_LSM",
)  # fmt: skip
_MOV_R0, _EXIT = bytes.fromhex("b700000000000000"), bytes.fromhex("9500000000000000")
_LARGE: Final = 4097
_NO_HELPER: Final = ("invalid func ", "unknown func ", "program of this type cannot use helper ", "not supported")


def probe_kernel(*, helpers: bool = False) -> dict[str, Any]:
    """Everything, in bpftool's shape: ``system_config syscall_config program_types map_types [helpers] misc skep``.

    ``helpers``: ask for each helper in each program type, some thousand loads.

    Raises:
        EngineError: E022x, this process may not load programs.
    """
    if not programs.is_allowed():
        # Without rights every answer would be no, whatever the kernel can do.
        raise EngineError(not_permitted("this kernel cannot be probed", None))
    config = host.read_kconfig()
    kinds = [t for t in ProgType if t is not ProgType.UNSPEC]
    have = {t: probes.has_prog_type(t) for t in kinds}
    answer: dict[str, Any] = {
        "system_config": {name: _number(host.read_setting(path)) for name, path in _SETTINGS.items()}
        | {name: config.get(name) for name in _CONFIG},
        "syscall_config": {"have_bpf_syscall": True},
        "program_types": {f"have_{name_of(t)}_prog_type": found for t, found in have.items()},
        "map_types": {
            f"have_{name_of(t)}_map_type": probes.has_map_type(t) for t in MapType if t is not MapType.UNSPEC
        },
    }
    if helpers:
        answer["helpers"] = {
            f"{name_of(t)}_available_helpers": available_helpers(t) if found else [] for t, found in have.items()
        }
    answer["misc"] = _misc()
    answer["skep"] = {f"have_{name}": probes.has(name) for name in probes.features()} | {
        "helpers": len(kernel_helpers(kernel_types().vmlinux)),
        "kernel_version": ".".join(map(str, host.kernel_version())),
    }
    return answer


def available_helpers(prog_type: ProgType) -> list[str]:
    """The helpers that programs of a type may call, by calling each and reading the complaint."""
    if prog_type in (ProgType.TRACING, ProgType.LSM, ProgType.EXT, ProgType.STRUCT_OPS):
        return []  # they need a target to load at all
    return [helper.name for number, helper in sorted(HELPERS.items()) if _may_call(prog_type, number)]


def _may_call(prog_type: ProgType, number: int) -> bool:
    code = struct.pack("<BBhi", 0x85, 0, 0, number) + _MOV_R0 + _EXIT
    attach = {
        ProgType.CGROUP_SOCK_ADDR: AttachType.CGROUP_INET4_CONNECT,
        ProgType.CGROUP_SOCKOPT: AttachType.CGROUP_GETSOCKOPT,
        ProgType.SK_LOOKUP: AttachType.SK_LOOKUP,
        ProgType.NETFILTER: AttachType.NETFILTER,
    }.get(prog_type, 0)
    flags = 1 << 4 if prog_type is ProgType.SYSCALL else 0
    request = LoadRequest(prog_type, code, expected_attach_type=int(attach), flags=flags)
    try:
        with_memory(lambda: programs.load(request))[0].close()
    except BpfCallError as error:
        return bool(error.log) and not any(words in error.log for words in _NO_HELPER)
    return True


def _misc() -> dict[str, bool]:
    jump = struct.pack("<BBhi", 0x05, 0, 0, 0)
    return {
        "have_large_insn_limit": _loads(_MOV_R0 * _LARGE + _EXIT),
        "have_bounded_loops": _loads(
            struct.pack("<BBhi", 0xB7, 0, 0, 10) + struct.pack("<BBhi", 0x07, 0, 0, -1)
            + struct.pack("<BBhi", 0x55, 0, -2, 0) + _EXIT
        ),
        "have_v2_isa_extension": _loads(_MOV_R0 + struct.pack("<BBhi", 0xA5, 0, 0, 1) + _EXIT),
        "have_v3_isa_extension": _loads(_MOV_R0 + struct.pack("<BBhi", 0xA6, 0, 0, 1) + _EXIT),
        "have_v4_isa_extension": _loads(_MOV_R0 + struct.pack("<BBhi", 0xD7, 0, 0, 32) + _EXIT),
        "have_jump": _loads(_MOV_R0 + jump + _EXIT),
    }  # fmt: skip


def _loads(code: bytes) -> bool:
    try:
        with_memory(lambda: programs.load(LoadRequest(ProgType.SOCKET_FILTER, code)))[0].close()
    except BpfCallError:
        return False
    return True


def _number(text: str | None) -> int | str | None:
    return int(text) if text is not None and text.lstrip("-").isdigit() else text
