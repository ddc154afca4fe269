"""Which file attaches to which kind of hook."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from skep.diagnostics import Diagnostic
from skep.engine import ProgramHandle
from skep.errors import UsageError
from skep.kernel.links import (
    cgroup,
    iterator,
    kprobe,
    kprobe_multi,
    netfilter,
    netkit,
    netns,
    perf_event,
    raw_tracepoint,
    sockets,
    sockmap,
    struct_ops,
    tc,
    tcx,
    tracepoint,
    trampoline,
    uprobe,
    uprobe_multi,
    usdt,
    xdp,
)
from skep.kernel.links.handle import Attached, own
from skep.kernel.links.places import Attachable
from skep.model import hooks
from skep.model.hooks import Hook


def _no_capture(program: Attachable, hook: hooks.Pcap) -> Attached:
    raise UsageError(
        Diagnostic(
            "H0341",
            "the kernel runs no programs over capture files",
            help='load it with engine="vm", or attach it to an interface: skep.hooks.Xdp("eth0")',
        )
    )


ATTACH: Final[Mapping[type, Callable[[Attachable, Any], Attached]]] = {
    hooks.Pcap: _no_capture,
    hooks.Xdp: xdp.attach_xdp,
    hooks.Tcx: tcx.attach_tcx,
    hooks.TcClassic: tc.attach_tc,
    hooks.Netkit: netkit.attach_netkit,
    hooks.Cgroup: cgroup.attach_cgroup,
    hooks.SockOps: cgroup.attach_sock_ops,
    hooks.LsmCgroup: cgroup.attach_lsm_cgroup,
    hooks.SocketFilter: sockets.attach_socket_filter,
    hooks.SkReuseport: sockets.attach_sk_reuseport,
    hooks.SkMsg: sockmap.attach_sk_msg,
    hooks.SkSkb: sockmap.attach_sk_skb,
    hooks.SkLookup: netns.attach_sk_lookup,
    hooks.FlowDissector: netns.attach_flow_dissector,
    hooks.Netfilter: netfilter.attach_netfilter,
    hooks.Tracepoint: tracepoint.attach_tracepoint,
    hooks.RawTracepoint: raw_tracepoint.attach_raw_tracepoint,
    hooks.TpBtf: raw_tracepoint.attach_tp_btf,
    hooks.Kprobe: kprobe.attach_kprobe,
    hooks.Kretprobe: kprobe.attach_kretprobe,
    hooks.KprobeMulti: kprobe_multi.attach_kprobe_multi,
    hooks.Ksyscall: kprobe.attach_ksyscall,
    hooks.Uprobe: uprobe.attach_uprobe,
    hooks.Uretprobe: uprobe.attach_uretprobe,
    hooks.UprobeMulti: uprobe_multi.attach_uprobe_multi,
    hooks.Usdt: usdt.attach_usdt,
    hooks.PerfEvent: perf_event.attach_perf_event,
    hooks.Fentry: trampoline.attach_tracing,
    hooks.Fexit: trampoline.attach_tracing,
    hooks.FmodRet: trampoline.attach_tracing,
    hooks.Freplace: trampoline.attach_freplace,
    hooks.Lsm: trampoline.attach_tracing,
    hooks.Iter: iterator.attach_iter,
    hooks.StructOps: struct_ops.attach_struct_ops,
}


def attach(engine: object, program: ProgramHandle | Attachable, hook: Hook) -> Attached:
    """Put a program of ``engine`` on a hook.

    Raises:
        EngineError, UnsupportedError: the kernel says no; the diagnostic says why and what to do.
        UsageError: the hook's arguments do not make sense.
    """
    return ATTACH[type(hook)](own(program), hook)
