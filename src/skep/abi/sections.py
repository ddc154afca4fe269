"""Section names of programs: what ``SEC("...")`` says about a program.

The rows and their order are those of libbpf's section_defs[] (1.8); the first match wins. Old objects used names that
libbpf 1.0 no longer takes: those are in :data:`LEGACY`, tried last.
"""

from __future__ import annotations

from dataclasses import dataclass

from skep.abi.prog_types import AttachType as A
from skep.abi.prog_types import ProgType as P


@dataclass(frozen=True, slots=True)
class SectionRow:
    """One kind of section name.

    Attributes:
        pattern: the name; with a trailing ``+`` it may be followed by ``/`` and what to attach to.
        attach_type: expected_attach_type; None: none is set.
        attach_type_optional: old kernels do not know expected_attach_type for it; it may be dropped there.
        btf_target: the target is looked up in the kernel's BTF when the program is loaded.
        attach: libbpf's way to attach it automatically, "" if there is none.
    """

    pattern: str
    prog_type: P
    attach_type: A | None = None
    sleepable: bool = False
    frags: bool = False
    attach_type_optional: bool = False
    btf_target: bool = False
    attach: str = ""

    @property
    def name(self) -> str:
        """The pattern without its ``+``."""
        return self.pattern.removesuffix("+")

    def extras_in(self, section: str) -> str | None:
        """What follows the name in a section name that matches ("" if nothing); None if it does not match."""
        if section == self.name:
            return ""
        if self.pattern.endswith("+") and section.startswith(self.name + "/"):
            return section[len(self.name) + 1 :] or None
        return None


@dataclass(frozen=True, slots=True)
class SectionMatch:
    """What a section name says.

    Attributes:
        attach_to: the part after the type, e.g. ``syscalls/sys_enter_openat``; "" if none.
        row: the row that matched.
        legacy: libbpf >= 1.0 refuses this name.
    """

    prog_type: P
    attach_type: A | None
    attach_to: str
    sleepable: bool
    frags: bool
    row: SectionRow
    legacy: bool = False


R = SectionRow
_TRACING_MULTI = "attach_tracing_multi"

# fmt: off
SECTIONS: tuple[SectionRow, ...] = (
    R("socket", P.SOCKET_FILTER),
    R("sk_reuseport/migrate", P.SK_REUSEPORT, attach_type=A.SK_REUSEPORT_SELECT_OR_MIGRATE),
    R("sk_reuseport", P.SK_REUSEPORT, attach_type=A.SK_REUSEPORT_SELECT),
    R("kprobe+", P.KPROBE, attach="attach_kprobe"),
    R("uprobe+", P.KPROBE, attach="attach_uprobe"),
    R("uprobe.s+", P.KPROBE, sleepable=True, attach="attach_uprobe"),
    R("kretprobe+", P.KPROBE, attach="attach_kprobe"),
    R("uretprobe+", P.KPROBE, attach="attach_uprobe"),
    R("uretprobe.s+", P.KPROBE, sleepable=True, attach="attach_uprobe"),
    R("kprobe.multi+", P.KPROBE, attach_type=A.TRACE_KPROBE_MULTI, attach="attach_kprobe_multi"),
    R("kretprobe.multi+", P.KPROBE, attach_type=A.TRACE_KPROBE_MULTI, attach="attach_kprobe_multi"),
    R("kprobe.session+", P.KPROBE, attach_type=A.TRACE_KPROBE_SESSION, attach="attach_kprobe_session"),
    R("uprobe.multi+", P.KPROBE, attach_type=A.TRACE_UPROBE_MULTI, attach="attach_uprobe_multi"),
    R("uretprobe.multi+", P.KPROBE, attach_type=A.TRACE_UPROBE_MULTI, attach="attach_uprobe_multi"),
    R("uprobe.session+", P.KPROBE, attach_type=A.TRACE_UPROBE_SESSION, attach="attach_uprobe_multi"),
    R("uprobe.multi.s+", P.KPROBE, attach_type=A.TRACE_UPROBE_MULTI, sleepable=True, attach="attach_uprobe_multi"),
    R("uretprobe.multi.s+", P.KPROBE, attach_type=A.TRACE_UPROBE_MULTI, sleepable=True, attach="attach_uprobe_multi"),
    R("uprobe.session.s+", P.KPROBE, attach_type=A.TRACE_UPROBE_SESSION, sleepable=True, attach="attach_uprobe_multi"),
    R("ksyscall+", P.KPROBE, attach="attach_ksyscall"),
    R("kretsyscall+", P.KPROBE, attach="attach_ksyscall"),
    R("usdt+", P.KPROBE, attach="attach_usdt"),
    R("usdt.s+", P.KPROBE, sleepable=True, attach="attach_usdt"),
    R("tc/ingress", P.SCHED_CLS, attach_type=A.TCX_INGRESS),
    R("tc/egress", P.SCHED_CLS, attach_type=A.TCX_EGRESS),
    R("tcx/ingress", P.SCHED_CLS, attach_type=A.TCX_INGRESS),
    R("tcx/egress", P.SCHED_CLS, attach_type=A.TCX_EGRESS),
    R("tc", P.SCHED_CLS),
    R("classifier", P.SCHED_CLS),
    R("action", P.SCHED_ACT),
    R("netkit/primary", P.SCHED_CLS, attach_type=A.NETKIT_PRIMARY),
    R("netkit/peer", P.SCHED_CLS, attach_type=A.NETKIT_PEER),
    R("tracepoint+", P.TRACEPOINT, attach="attach_tp"),
    R("tp+", P.TRACEPOINT, attach="attach_tp"),
    R("tracepoint.s+", P.TRACEPOINT, sleepable=True, attach="attach_tp"),
    R("tp.s+", P.TRACEPOINT, sleepable=True, attach="attach_tp"),
    R("raw_tracepoint+", P.RAW_TRACEPOINT, attach="attach_raw_tp"),
    R("raw_tp+", P.RAW_TRACEPOINT, attach="attach_raw_tp"),
    R("raw_tracepoint.s+", P.RAW_TRACEPOINT, sleepable=True, attach="attach_raw_tp"),
    R("raw_tp.s+", P.RAW_TRACEPOINT, sleepable=True, attach="attach_raw_tp"),
    R("raw_tracepoint.w+", P.RAW_TRACEPOINT_WRITABLE, attach="attach_raw_tp"),
    R("raw_tp.w+", P.RAW_TRACEPOINT_WRITABLE, attach="attach_raw_tp"),
    R("tp_btf+", P.TRACING, attach_type=A.TRACE_RAW_TP, btf_target=True, attach="attach_trace"),
    R("tp_btf.s+", P.TRACING, attach_type=A.TRACE_RAW_TP, sleepable=True, btf_target=True, attach="attach_trace"),
    R("fentry+", P.TRACING, attach_type=A.TRACE_FENTRY, btf_target=True, attach="attach_trace"),
    R("fmod_ret+", P.TRACING, attach_type=A.MODIFY_RETURN, btf_target=True, attach="attach_trace"),
    R("fexit+", P.TRACING, attach_type=A.TRACE_FEXIT, btf_target=True, attach="attach_trace"),
    R("fentry.s+", P.TRACING, attach_type=A.TRACE_FENTRY, sleepable=True, btf_target=True, attach="attach_trace"),
    R("fmod_ret.s+", P.TRACING, attach_type=A.MODIFY_RETURN, sleepable=True, btf_target=True, attach="attach_trace"),
    R("fexit.s+", P.TRACING, attach_type=A.TRACE_FEXIT, sleepable=True, btf_target=True, attach="attach_trace"),
    R("fsession+", P.TRACING, attach_type=A.TRACE_FSESSION, btf_target=True, attach="attach_trace"),
    R("fsession.s+", P.TRACING, attach_type=A.TRACE_FSESSION, sleepable=True, btf_target=True, attach="attach_trace"),
    R("fsession.multi+", P.TRACING, attach_type=A.TRACE_FSESSION_MULTI, attach=_TRACING_MULTI),
    R("fsession.multi.s+", P.TRACING, attach_type=A.TRACE_FSESSION_MULTI, sleepable=True, attach=_TRACING_MULTI),
    R("fentry.multi+", P.TRACING, attach_type=A.TRACE_FENTRY_MULTI, attach=_TRACING_MULTI),
    R("fexit.multi+", P.TRACING, attach_type=A.TRACE_FEXIT_MULTI, attach=_TRACING_MULTI),
    R("fentry.multi.s+", P.TRACING, attach_type=A.TRACE_FENTRY_MULTI, sleepable=True, attach=_TRACING_MULTI),
    R("fexit.multi.s+", P.TRACING, attach_type=A.TRACE_FEXIT_MULTI, sleepable=True, attach=_TRACING_MULTI),
    R("freplace+", P.EXT, btf_target=True, attach="attach_trace"),
    R("lsm+", P.LSM, attach_type=A.LSM_MAC, btf_target=True, attach="attach_lsm"),
    R("lsm.s+", P.LSM, attach_type=A.LSM_MAC, sleepable=True, btf_target=True, attach="attach_lsm"),
    R("lsm_cgroup+", P.LSM, attach_type=A.LSM_CGROUP, btf_target=True),
    R("iter+", P.TRACING, attach_type=A.TRACE_ITER, btf_target=True, attach="attach_iter"),
    R("iter.s+", P.TRACING, attach_type=A.TRACE_ITER, sleepable=True, btf_target=True, attach="attach_iter"),
    R("syscall", P.SYSCALL, sleepable=True),
    R("xdp.frags/devmap", P.XDP, attach_type=A.XDP_DEVMAP, frags=True),
    R("xdp/devmap", P.XDP, attach_type=A.XDP_DEVMAP),
    R("xdp.frags/cpumap", P.XDP, attach_type=A.XDP_CPUMAP, frags=True),
    R("xdp/cpumap", P.XDP, attach_type=A.XDP_CPUMAP),
    R("xdp.frags", P.XDP, attach_type=A.XDP, frags=True),
    R("xdp", P.XDP, attach_type=A.XDP, attach_type_optional=True),
    R("perf_event", P.PERF_EVENT),
    R("lwt_in", P.LWT_IN),
    R("lwt_out", P.LWT_OUT),
    R("lwt_xmit", P.LWT_XMIT),
    R("lwt_seg6local", P.LWT_SEG6LOCAL),
    R("sockops", P.SOCK_OPS, attach_type=A.CGROUP_SOCK_OPS, attach_type_optional=True),
    R("sk_skb/stream_parser", P.SK_SKB, attach_type=A.SK_SKB_STREAM_PARSER, attach_type_optional=True),
    R("sk_skb/stream_verdict", P.SK_SKB, attach_type=A.SK_SKB_STREAM_VERDICT, attach_type_optional=True),
    R("sk_skb/verdict", P.SK_SKB, attach_type=A.SK_SKB_VERDICT, attach_type_optional=True),
    R("sk_skb", P.SK_SKB),
    R("sk_msg", P.SK_MSG, attach_type=A.SK_MSG_VERDICT, attach_type_optional=True),
    R("lirc_mode2", P.LIRC_MODE2, attach_type=A.LIRC_MODE2, attach_type_optional=True),
    R("flow_dissector", P.FLOW_DISSECTOR, attach_type=A.FLOW_DISSECTOR, attach_type_optional=True),
    R("cgroup_skb/ingress", P.CGROUP_SKB, attach_type=A.CGROUP_INET_INGRESS, attach_type_optional=True),
    R("cgroup_skb/egress", P.CGROUP_SKB, attach_type=A.CGROUP_INET_EGRESS, attach_type_optional=True),
    R("cgroup/skb", P.CGROUP_SKB),
    R("cgroup/sock_create", P.CGROUP_SOCK, attach_type=A.CGROUP_INET_SOCK_CREATE),
    R("cgroup/sock_release", P.CGROUP_SOCK, attach_type=A.CGROUP_INET_SOCK_RELEASE),
    R("cgroup/sock", P.CGROUP_SOCK, attach_type=A.CGROUP_INET_SOCK_CREATE, attach_type_optional=True),
    R("cgroup/post_bind4", P.CGROUP_SOCK, attach_type=A.CGROUP_INET4_POST_BIND),
    R("cgroup/post_bind6", P.CGROUP_SOCK, attach_type=A.CGROUP_INET6_POST_BIND),
    R("cgroup/bind4", P.CGROUP_SOCK_ADDR, attach_type=A.CGROUP_INET4_BIND),
    R("cgroup/bind6", P.CGROUP_SOCK_ADDR, attach_type=A.CGROUP_INET6_BIND),
    R("cgroup/connect4", P.CGROUP_SOCK_ADDR, attach_type=A.CGROUP_INET4_CONNECT),
    R("cgroup/connect6", P.CGROUP_SOCK_ADDR, attach_type=A.CGROUP_INET6_CONNECT),
    R("cgroup/connect_unix", P.CGROUP_SOCK_ADDR, attach_type=A.CGROUP_UNIX_CONNECT),
    R("cgroup/sendmsg4", P.CGROUP_SOCK_ADDR, attach_type=A.CGROUP_UDP4_SENDMSG),
    R("cgroup/sendmsg6", P.CGROUP_SOCK_ADDR, attach_type=A.CGROUP_UDP6_SENDMSG),
    R("cgroup/sendmsg_unix", P.CGROUP_SOCK_ADDR, attach_type=A.CGROUP_UNIX_SENDMSG),
    R("cgroup/recvmsg4", P.CGROUP_SOCK_ADDR, attach_type=A.CGROUP_UDP4_RECVMSG),
    R("cgroup/recvmsg6", P.CGROUP_SOCK_ADDR, attach_type=A.CGROUP_UDP6_RECVMSG),
    R("cgroup/recvmsg_unix", P.CGROUP_SOCK_ADDR, attach_type=A.CGROUP_UNIX_RECVMSG),
    R("cgroup/getpeername4", P.CGROUP_SOCK_ADDR, attach_type=A.CGROUP_INET4_GETPEERNAME),
    R("cgroup/getpeername6", P.CGROUP_SOCK_ADDR, attach_type=A.CGROUP_INET6_GETPEERNAME),
    R("cgroup/getpeername_unix", P.CGROUP_SOCK_ADDR, attach_type=A.CGROUP_UNIX_GETPEERNAME),
    R("cgroup/getsockname4", P.CGROUP_SOCK_ADDR, attach_type=A.CGROUP_INET4_GETSOCKNAME),
    R("cgroup/getsockname6", P.CGROUP_SOCK_ADDR, attach_type=A.CGROUP_INET6_GETSOCKNAME),
    R("cgroup/getsockname_unix", P.CGROUP_SOCK_ADDR, attach_type=A.CGROUP_UNIX_GETSOCKNAME),
    R("cgroup/sysctl", P.CGROUP_SYSCTL, attach_type=A.CGROUP_SYSCTL),
    R("cgroup/getsockopt", P.CGROUP_SOCKOPT, attach_type=A.CGROUP_GETSOCKOPT),
    R("cgroup/setsockopt", P.CGROUP_SOCKOPT, attach_type=A.CGROUP_SETSOCKOPT),
    R("cgroup/dev", P.CGROUP_DEVICE, attach_type=A.CGROUP_DEVICE, attach_type_optional=True),
    R("struct_ops+", P.STRUCT_OPS),
    R("struct_ops.s+", P.STRUCT_OPS, sleepable=True),
    R("sk_lookup", P.SK_LOOKUP, attach_type=A.SK_LOOKUP),
    R("netfilter", P.NETFILTER, attach_type=A.NETFILTER),
)

#: Names of old objects, by their beginning (libbpf before 1.0 matched so; ``tc_`` and ``tc/`` are iproute2's).
LEGACY: tuple[SectionRow, ...] = (
    R("socket", P.SOCKET_FILTER),
    R("classifier", P.SCHED_CLS),
    R("tc_", P.SCHED_CLS),
    R("tc/", P.SCHED_CLS),
    R("action", P.SCHED_ACT),
    R("xdp.frags/", P.XDP, attach_type=A.XDP, frags=True, attach_type_optional=True),
    R("xdp_devmap/", P.XDP, attach_type=A.XDP_DEVMAP),
    R("xdp_cpumap/", P.XDP, attach_type=A.XDP_CPUMAP),
    R("xdp", P.XDP, attach_type=A.XDP, attach_type_optional=True),
    R("perf_event", P.PERF_EVENT),
    R("lwt_in", P.LWT_IN),
    R("lwt_out", P.LWT_OUT),
    R("lwt_xmit", P.LWT_XMIT),
    R("lwt_seg6local", P.LWT_SEG6LOCAL),
    R("sockops", P.SOCK_OPS, attach_type=A.CGROUP_SOCK_OPS, attach_type_optional=True),
    R("sk_skb/stream_parser", P.SK_SKB, attach_type=A.SK_SKB_STREAM_PARSER, attach_type_optional=True),
    R("sk_skb/stream_verdict", P.SK_SKB, attach_type=A.SK_SKB_STREAM_VERDICT, attach_type_optional=True),
    R("sk_skb", P.SK_SKB),
    R("sk_msg", P.SK_MSG, attach_type=A.SK_MSG_VERDICT, attach_type_optional=True),
    R("lirc_mode2", P.LIRC_MODE2, attach_type=A.LIRC_MODE2, attach_type_optional=True),
    R("flow_dissector", P.FLOW_DISSECTOR, attach_type=A.FLOW_DISSECTOR, attach_type_optional=True),
    R("cgroup_skb/ingress", P.CGROUP_SKB, attach_type=A.CGROUP_INET_INGRESS, attach_type_optional=True),
    R("cgroup_skb/egress", P.CGROUP_SKB, attach_type=A.CGROUP_INET_EGRESS, attach_type_optional=True),
    R("cgroup/skb", P.CGROUP_SKB),
    R("cgroup/sock", P.CGROUP_SOCK, attach_type=A.CGROUP_INET_SOCK_CREATE, attach_type_optional=True),
    R("cgroup/dev", P.CGROUP_DEVICE, attach_type=A.CGROUP_DEVICE, attach_type_optional=True),
    R("cgroup/sysctl", P.CGROUP_SYSCTL, attach_type=A.CGROUP_SYSCTL),
    R("sk_reuseport", P.SK_REUSEPORT, attach_type=A.SK_REUSEPORT_SELECT),
    R("sk_lookup", P.SK_LOOKUP, attach_type=A.SK_LOOKUP),
)
# fmt: on


def match(section: str) -> SectionMatch | None:
    """What a section name says about the program in it. A leading ``?`` (not loaded unless asked for) is skipped.

    None: the name says nothing (``2/1``, ``filter``, ``from-netdev``): the user has to tell the type.
    """
    section = section.removeprefix("?")
    for row in SECTIONS:
        extras = row.extras_in(section)
        if extras is not None:
            return _found(row, extras)
    for row in LEGACY:
        if section.startswith(row.name):
            return _found(row, "", legacy=True)
    return None


def _found(row: SectionRow, extras: str, legacy: bool = False) -> SectionMatch:
    return SectionMatch(row.prog_type, row.attach_type, extras, row.sleepable, row.frags, row, legacy)
