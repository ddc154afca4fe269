"""Where a program attaches by itself: from its section name, as libbpf does (SECTIONS.md: extras grammar).

The table is total over the ways that :mod:`skep.abi.sections` names; where a section names no place, the error says
which hook to give.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from skep.abi.prog_types import ProgType
from skep.abi.sections import SectionMatch, match
from skep.diagnostics import Diagnostic
from skep.errors import UnsupportedError, UsageError
from skep.model import hooks
from skep.model.hooks import Hook
from skep.model.programs import LinkedProgram

_OFFSET: Final = re.compile(r"(?P<name>[^+]+?)(?:\+(?P<offset>0x[0-9a-fA-F]+|[0-9]+))?")
_GLOB: Final = re.compile(r"[a-zA-Z0-9_.*?]+")


def hook_for(program: LinkedProgram) -> Hook:
    """The hook that a program's section names.

    Raises:
        UsageError: H0351, it names none: the diagnostic says which hook to give; H0352, it is written wrongly.
        UnsupportedError: H0353, skep cannot attach to it.
    """
    found = match(program.section)
    if found is None or not found.row.attach:
        raise _no_place(program, found)
    if not found.attach_to and found.row.attach not in _BARE:
        raise _no_place(program, found)
    return AUTO_ATTACH[found.row.attach](found)


def attaches_itself(section: str) -> bool:
    """Whether a section names the place to attach to."""
    found = match(section)
    return found is not None and bool(found.row.attach) and (bool(found.attach_to) or found.row.attach in _BARE)


def _is_return(found: SectionMatch) -> bool:
    return found.row.name.startswith(("kretprobe", "uretprobe", "kretsyscall"))


def _kprobe(found: SectionMatch) -> Hook:
    name, offset = _name_and_offset(found, found.attach_to)
    if not _is_return(found):
        return hooks.Kprobe(name, offset)
    if offset:
        raise _malformed(found, "a kretprobe has no offset: a function returns from all its places")
    return hooks.Kretprobe(name)


def _kprobe_multi(found: SectionMatch) -> Hook:
    return hooks.KprobeMulti((_glob(found, found.attach_to),), returning=_is_return(found))


def _ksyscall(found: SectionMatch) -> Hook:
    return hooks.Ksyscall(found.attach_to, returning=_is_return(found))


def _uprobe(found: SectionMatch) -> Hook:
    path, colon, symbol = found.attach_to.rpartition(":")
    if not colon or not path or not symbol:
        raise _malformed(found, "write uprobe/PATH:FUNCTION or uprobe/PATH:FUNCTION+OFFSET")
    if symbol.startswith("0x"):
        try:
            name, offset = "", int(symbol, 16)
        except ValueError:
            raise _malformed(found, f"'{symbol}' is no number") from None
    else:
        name, offset = _name_and_offset(found, symbol)
    if _is_return(found):
        return hooks.Uretprobe(path, name, offset)
    return hooks.Uprobe(path, name, offset)


def _uprobe_multi(found: SectionMatch) -> Hook:
    path, colon, symbol = found.attach_to.rpartition(":")
    if not colon or not path or not symbol:
        raise _malformed(found, "write uprobe.multi/PATH:FUNCTIONS")
    return hooks.UprobeMulti(path, (_glob(found, symbol),), returning=_is_return(found))


def _usdt(found: SectionMatch) -> Hook:
    words = found.attach_to.rsplit(":", 2)
    if len(words) != 3 or not all(words):
        raise _malformed(found, "write usdt/PATH:PROVIDER:NAME")
    path, provider, name = words
    return hooks.Usdt(path, provider, name)


def _tracepoint(found: SectionMatch) -> Hook:
    category, slash, name = found.attach_to.partition("/")
    if not slash or not category or not name or "/" in name:
        raise _malformed(found, "write tp/CATEGORY/NAME")
    return hooks.Tracepoint(category, name)


def _raw_tracepoint(found: SectionMatch) -> Hook:
    return hooks.RawTracepoint(found.attach_to)


_TRACING: Final[Mapping[str, Callable[[], Hook]]] = {
    "tp_btf": hooks.TpBtf,
    "fentry": hooks.Fentry,
    "fexit": hooks.Fexit,
    "fmod_ret": hooks.FmodRet,
    "freplace": hooks.Freplace,
}


def _trace(found: SectionMatch) -> Hook:
    kind = found.row.name.removesuffix(".s")
    if kind not in _TRACING:
        return _newer(found)
    return _TRACING[kind]()


def _lsm(found: SectionMatch) -> Hook:
    return hooks.Lsm()


def _iter(found: SectionMatch) -> Hook:
    return hooks.Iter()


def _newer(found: SectionMatch) -> Hook:
    raise UnsupportedError(
        Diagnostic(
            "H0353",
            f'skep cannot attach SEC("{found.row.name}") yet',
            why=("it is newer than the kernels that skep is tested on",),
            help="write an fentry and an fexit program, or kprobe.multi for many functions",
        )
    )


AUTO_ATTACH: Final[Mapping[str, Callable[[SectionMatch], Hook]]] = MappingProxyType(
    {
        "attach_kprobe": _kprobe,
        "attach_kprobe_multi": _kprobe_multi,
        "attach_kprobe_session": _kprobe_multi,
        "attach_ksyscall": _ksyscall,
        "attach_uprobe": _uprobe,
        "attach_uprobe_multi": _uprobe_multi,
        "attach_usdt": _usdt,
        "attach_tp": _tracepoint,
        "attach_raw_tp": _raw_tracepoint,
        "attach_trace": _trace,
        "attach_tracing_multi": _newer,
        "attach_lsm": _lsm,
        "attach_iter": _iter,
    }
)
_BARE: Final = frozenset({"attach_tracing_multi"})  # refused with or without a target

#: What to give to attach() for types of programs whose sections name no place.
WANTED: Final[Mapping[ProgType, str]] = MappingProxyType(
    {
        ProgType.XDP: 'skep.hooks.Xdp("eth0")',
        ProgType.SCHED_CLS: 'skep.hooks.Tcx("eth0", "ingress")',
        ProgType.SCHED_ACT: 'no hook: skep attaches SEC("tc") programs, which can do all that actions do',
        ProgType.SOCKET_FILTER: "skep.hooks.SocketFilter(socket)",
        ProgType.SK_REUSEPORT: "skep.hooks.SkReuseport(socket)",
        ProgType.CGROUP_SKB: 'skep.hooks.Cgroup("/sys/fs/cgroup/...")',
        ProgType.CGROUP_SOCK: 'skep.hooks.Cgroup("/sys/fs/cgroup/...")',
        ProgType.CGROUP_SOCK_ADDR: 'skep.hooks.Cgroup("/sys/fs/cgroup/...")',
        ProgType.CGROUP_SOCKOPT: 'skep.hooks.Cgroup("/sys/fs/cgroup/...")',
        ProgType.CGROUP_SYSCTL: 'skep.hooks.Cgroup("/sys/fs/cgroup/...")',
        ProgType.CGROUP_DEVICE: 'skep.hooks.Cgroup("/sys/fs/cgroup/...")',
        ProgType.SOCK_OPS: 'skep.hooks.SockOps("/sys/fs/cgroup/...")',
        ProgType.SK_SKB: "skep.hooks.SkSkb(map)",
        ProgType.SK_MSG: "skep.hooks.SkMsg(map)",
        ProgType.SK_LOOKUP: "skep.hooks.SkLookup()",
        ProgType.FLOW_DISSECTOR: "skep.hooks.FlowDissector()",
        ProgType.NETFILTER: 'skep.hooks.Netfilter("ipv4", "prerouting", priority=-100)',
        ProgType.PERF_EVENT: 'skep.hooks.PerfEvent("cpu-clock", frequency=99)',
        ProgType.KPROBE: 'skep.hooks.Kprobe("FUNCTION"), Uprobe("PATH", "FUNCTION") or Usdt("PATH", PROVIDER, NAME)',
        ProgType.TRACEPOINT: 'skep.hooks.Tracepoint("CATEGORY", "NAME")',
        ProgType.RAW_TRACEPOINT: 'skep.hooks.RawTracepoint("NAME")',
        ProgType.RAW_TRACEPOINT_WRITABLE: 'skep.hooks.RawTracepoint("NAME")',
        ProgType.TRACING: 'a target in its section: SEC("fentry/FUNCTION"), SEC("tp_btf/NAME"), SEC("iter/TARGET")',
        ProgType.LSM: 'a target in its section: SEC("lsm/HOOK"); lsm_cgroup: skep.hooks.LsmCgroup("/sys/fs/cgroup/..")',
        ProgType.EXT: "skep.hooks.Freplace(program, function)",
        ProgType.STRUCT_OPS: "no hook of its own: the table that names it is attached, obj.maps[NAME].attach()",
        ProgType.SYSCALL: "no hook: user space runs it with Program.run(ctx=...)",
        ProgType.LWT_IN: "no hook: a route uses it (ip route ... encap bpf in pinned PATH)",
        ProgType.LWT_OUT: "no hook: a route uses it (ip route ... encap bpf out pinned PATH)",
        ProgType.LWT_XMIT: "no hook: a route uses it (ip route ... encap bpf xmit pinned PATH)",
        ProgType.LWT_SEG6LOCAL: "no hook: a route uses it (ip route ... encap seg6local action End.BPF)",
        ProgType.LIRC_MODE2: "no hook: skep does not attach to infrared receivers (ir-keytable does)",
        ProgType.UNSPEC: "its type first: the section name says nothing",
    }
)


def _no_place(program: LinkedProgram, found: SectionMatch | None) -> UsageError:
    section = program.section
    return UsageError(
        Diagnostic(
            "H0351",
            f"program '{program.name}' does not say where to attach it",
            why=(f'SEC("{section}") names no place' if found is not None else f'SEC("{section}") is not known',),
            help=f"it needs {WANTED[program.prog_type]}",
        )
    )


def _malformed(found: SectionMatch, help: str) -> UsageError:
    return UsageError(
        Diagnostic(
            "H0352", f'SEC("{found.row.name}/{found.attach_to}") names no place that can be understood', help=help
        )
    )


def _name_and_offset(found: SectionMatch, text: str) -> tuple[str, int]:
    parts = _OFFSET.fullmatch(text)
    if parts is None:
        raise _malformed(found, "write FUNCTION or FUNCTION+OFFSET")
    return parts["name"], int(parts["offset"] or "0", 0)


def _glob(found: SectionMatch, text: str) -> str:
    if not _GLOB.fullmatch(text):
        raise _malformed(found, "patterns are made of letters, digits, '_', '.', '*' and '?'")
    return text
