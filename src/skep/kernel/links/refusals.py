"""What it means when the kernel does not attach a program: errno to a Diagnostic that says what to do."""

from __future__ import annotations

import errno
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from skep.diagnostics import Diagnostic
from skep.errors import EngineError, SkepError, UnsupportedError
from skep.kernel.host import kernel_version, read_kconfig
from skep.model.hooks import Hook

ENOTSUPP = 524  # of the kernel only; has no name in errno
_CAPABILITIES = "CAP_BPF with CAP_NET_ADMIN (network) or CAP_PERFMON (tracing); root has them"

# Kind of hook -> (Linux version that brought it, configuration options it needs).
NEEDS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "Xdp": ("4.8", ("CONFIG_BPF_SYSCALL",)),
    "Tcx": ("6.6", ("CONFIG_NET_XGRESS",)),
    "TcClassic": ("4.5", ("CONFIG_NET_CLS_BPF", "CONFIG_NET_SCH_INGRESS")),
    "Netkit": ("6.7", ("CONFIG_NETKIT",)),
    "Cgroup": ("4.10", ("CONFIG_CGROUP_BPF",)),
    "SockOps": ("4.13", ("CONFIG_CGROUP_BPF",)),
    "LsmCgroup": ("6.0", ("CONFIG_CGROUP_BPF", "CONFIG_BPF_LSM")),
    "SkReuseport": ("4.19", ()),
    "SkMsg": ("4.17", ("CONFIG_BPF_STREAM_PARSER",)),
    "SkSkb": ("4.14", ("CONFIG_BPF_STREAM_PARSER",)),
    "SkLookup": ("5.9", ()),
    "FlowDissector": ("4.20", ()),
    "Netfilter": ("6.4", ("CONFIG_NETFILTER_BPF_LINK",)),
    "Tracepoint": ("4.7", ("CONFIG_BPF_EVENTS",)),
    "RawTracepoint": ("4.17", ("CONFIG_BPF_EVENTS",)),
    "TpBtf": ("5.5", ("CONFIG_BPF_EVENTS", "CONFIG_DEBUG_INFO_BTF")),
    "Kprobe": ("4.1", ("CONFIG_KPROBES", "CONFIG_KPROBE_EVENTS")),
    "Kretprobe": ("4.1", ("CONFIG_KPROBES", "CONFIG_KPROBE_EVENTS")),
    "KprobeMulti": ("5.18", ("CONFIG_KPROBES", "CONFIG_FPROBE")),
    "Ksyscall": ("4.1", ("CONFIG_KPROBES", "CONFIG_KPROBE_EVENTS")),
    "Uprobe": ("4.17", ("CONFIG_UPROBE_EVENTS",)),
    "Uretprobe": ("4.17", ("CONFIG_UPROBE_EVENTS",)),
    "UprobeMulti": ("6.6", ("CONFIG_UPROBES",)),
    "Usdt": ("4.17", ("CONFIG_UPROBE_EVENTS",)),
    "PerfEvent": ("4.9", ("CONFIG_PERF_EVENTS",)),
    "Fentry": ("5.5", ("CONFIG_DEBUG_INFO_BTF", "CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS")),
    "Fexit": ("5.5", ("CONFIG_DEBUG_INFO_BTF", "CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS")),
    "FmodRet": ("5.7", ("CONFIG_DEBUG_INFO_BTF", "CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS")),
    "Freplace": ("5.6", ("CONFIG_DEBUG_INFO_BTF",)),
    "Lsm": ("5.7", ("CONFIG_BPF_LSM",)),
    "Iter": ("5.8", ("CONFIG_DEBUG_INFO_BTF",)),
    "StructOps": ("5.6", ("CONFIG_DEBUG_INFO_BTF",)),
    "SocketFilter": ("3.19", ()),
    "Pcap": ("", ()),
}
_TRAMPOLINES = frozenset({"Fentry", "Fexit", "FmodRet", "Freplace", "Lsm", "LsmCgroup", "StructOps"})


def missing_options(kind: str) -> tuple[str, ...]:
    """Options that a kind of hook needs and that this kernel was built without; () also where it does not tell."""
    config = read_kconfig()
    return tuple(option for option in NEEDS[kind][1] if config and option not in config)


def refusal(hook: Hook, program: str, error: OSError) -> SkepError:
    """The error for a kernel that did not attach ``program`` to ``hook``."""
    kind = type(hook).__name__
    missing = missing_options(kind)
    what = f"cannot attach program '{program}' to {hook}: {_text(error)}"
    if missing:
        return UnsupportedError(
            Diagnostic(
                "H0306",
                what,
                why=(f"this kernel ({platform.release()}) was built without {' and '.join(missing)}",),
                help=f"use a kernel with {' and '.join(missing)}{_instead(kind)}",
            )
        )
    version = kernel_version()[:2]
    if error.errno in _UNKNOWN_HERE and version < _since(kind):
        why = f"{kind} exists since Linux {NEEDS[kind][0]}; this is {'.'.join(map(str, version))}"
        help = f"use {_BEFORE[kind]}" if kind in _BEFORE else "choose another hook, or a newer kernel"
        return UnsupportedError(Diagnostic("H0308", what, why=(why,), help=help))
    row = _REASONS.get(error.errno or 0)
    code, why, help = row(kind) if row else ("H0307", "", "")
    kind_of_error = UnsupportedError if code == "H0308" else EngineError
    return kind_of_error(Diagnostic(code, what, why=(why,) if why else (), help=help or None))


@contextmanager
def explained(hook: Hook, program: str) -> Iterator[None]:
    """Turn OSErrors of attaching into Diagnostics."""
    try:
        yield
    except OSError as error:
        raise refusal(hook, program, error) from error


#: What kernels say to something that they have never heard of.
_UNKNOWN_HERE = frozenset({errno.EINVAL, errno.EOPNOTSUPP, ENOTSUPP, errno.ENOSYS, errno.E2BIG})
#: What does the same on kernels that do not have a hook.
_BEFORE = {
    "Tcx": "TcClassic: the same programs, by netlink",
    "Netkit": "veth devices and TcClassic",
    "KprobeMulti": "Kprobe, for each function",
    "UprobeMulti": "Uprobe, for each symbol",
    "Netfilter": "TcClassic or Xdp",
    "LsmCgroup": "Lsm, asking for bpf_get_current_cgroup_id()",
}


def _since(kind: str) -> tuple[int, ...]:
    return tuple(map(int, NEEDS[kind][0].split("."))) if NEEDS[kind][0] else (0,)


def _text(error: OSError) -> str:
    number = error.errno or 0
    name = "ENOTSUPP" if number == ENOTSUPP else errno.errorcode.get(number, str(number))
    said = "not supported" if number == ENOTSUPP else os.strerror(number)
    return f"{said} ({name})"


def _instead(kind: str) -> str:
    if kind in ("Kprobe", "Kretprobe", "KprobeMulti", "Ksyscall"):
        return "; a tracepoint (tp/..., raw_tp/...) may tell the same"
    if kind in ("Fentry", "Fexit", "FmodRet"):
        return "; a kprobe or tracepoint may tell the same"
    return ""


Reason = tuple[str, str, str]  # code, why, help


def _not_permitted(kind: str) -> Reason:
    if os.geteuid() != 0:
        return "H0309", "the kernel requires privileges", f"needs {_CAPABILITIES}"
    if kind in _TRAMPOLINES:
        return (
            "H0308",
            "this kernel's policy refuses programs that are reached through a trampoline, even to root",
            "use a tracepoint (tp/..., raw_tp/..., tp_btf/...) or another kernel",
        )
    return "H0309", "a security policy (lockdown, container, seccomp) refuses it even to root", f"needs {_CAPABILITIES}"


def _not_supported(kind: str) -> Reason:
    since = NEEDS[kind][0]
    return "H0308", f"this place has no such hook; {kind} exists since Linux {since}", "choose another hook"


def _always(code: str, why: str, help: str) -> Callable[[str], Reason]:
    return lambda kind: (code, why, help)


_REASONS: Mapping[int, Callable[[str], Reason]] = {
    errno.EPERM: _not_permitted,
    errno.EACCES: _not_permitted,
    errno.EOPNOTSUPP: _not_supported,
    ENOTSUPP: _not_supported,
    errno.ENOSYS: _not_supported,
    errno.ENODEV: _always(
        "H0302", "the interface or event is not there (any more)", "`ip link` lists interfaces; has it vanished?"
    ),
    errno.ENOENT: _always("H0310", "the target does not exist", "check its name"),
    errno.ESRCH: _always("H0310", "the target or process does not exist", "check its name or pid"),
    errno.EBUSY: _always(
        "H0311", "another program sits there already", "detach it first, update its link, or choose another priority"
    ),
    errno.EEXIST: _always("H0311", "another program sits there already", "detach it first, or update its link instead"),
    errno.ESTALE: _always("H0312", "the hook has changed since its revision was read", "read it again and retry"),
    errno.EINVAL: lambda kind: (
        "H0313",
        f"the program does not fit this hook, or this kernel lacks it ({kind} exists since Linux {NEEDS[kind][0]})",
        "check SEC() of the program and the arguments of the hook",
    ),
    errno.EILSEQ: _always("H0313", "the target's code has changed since it was looked up", "attach again"),
    errno.ENOLINK: _always("H0314", "the place that it was attached to is gone", "attach it to another one"),
    errno.ENOMEM: _always("H0315", "no memory", "detach something"),
}
