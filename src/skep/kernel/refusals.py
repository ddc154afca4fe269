"""What the kernel's numbers mean and what to do about them: errno of bpf(2) to Diagnostics."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Final

from skep.abi.capabilities import PERFMON_TYPES
from skep.abi.features import FEATURES, PROG_TYPES, Feature, Version
from skep.abi.map_facts import FACTS, MapFacts
from skep.abi.names import name_of
from skep.abi.prog_types import AttachType, ProgType
from skep.diagnostics import Diagnostic
from skep.errors import EngineError, MapError, UnsupportedError
from skep.kernel import host
from skep.kernel.bpf.call import BpfCallError
from skep.model.maps import MapSpec

_PROBE: Final = "skep feature probe shows what this kernel can do"
ENOTSUPP: Final = 524  # the kernel's own, without a name in errno.h
_MEMCG: Final = FEATURES["memcg_accounting"].since
_CAP_BPF: Final = FEATURES["cap_bpf"].since
_MAX_BYTES: Final = 1 << 31

#: Types that need no CAP_NET_ADMIN (is_net_admin_prog_type).
_NO_NET_ADMIN: Final = PERFMON_TYPES | {ProgType.SOCKET_FILTER, ProgType.SYSCALL, ProgType.SK_REUSEPORT}
#: Programs that hang on a trampoline: some kernels and policies refuse just these.
_TRAMPOLINES: Final = frozenset(
    {AttachType.TRACE_FENTRY, AttachType.TRACE_FEXIT, AttachType.MODIFY_RETURN, AttachType.LSM_MAC}
)


def errno_name(number: int) -> str:
    """``EPERM``; ENOTSUPP is the kernel's own."""
    return "ENOTSUPP" if number == ENOTSUPP else errno.errorcode.get(number, str(number))


def _release(version: Version) -> str:
    return f"{version[0]}.{version[1]}"


def missing_capabilities(prog_type: ProgType | None, *, administer: bool = False) -> list[str]:
    """The capabilities that this process lacks: for a program of this type, or (None) for maps and BTF.

    ``administer``: to list and open what others made, only CAP_SYS_ADMIN counts.
    """
    held = host.capabilities()
    if "CAP_SYS_ADMIN" in held:
        return []
    if administer:
        return ["CAP_SYS_ADMIN"]
    if host.kernel_version()[:2] < _CAP_BPF:
        return ["CAP_SYS_ADMIN"]
    wanted = ["CAP_BPF"]
    if prog_type in PERFMON_TYPES:
        wanted.append("CAP_PERFMON")
    if prog_type is not None and prog_type not in _NO_NET_ADMIN:
        wanted.append("CAP_NET_ADMIN")
    return [name for name in wanted if name not in held]


def not_permitted(
    what: str, prog_type: ProgType | None, program: str | None = None, why: str = "", *, administer: bool = False
) -> Diagnostic:
    """EPERM: E0220 a capability is missing, E0221 the memory limit of old kernels, E0222 a policy."""
    missing = missing_capabilities(prog_type, administer=administer)
    if missing:
        names = " and ".join(missing)
        advice = f"run as root, or give the process {names}  (setcap or capsh; in containers --cap-add)"
        if host.read_setting("kernel/unprivileged_bpf_disabled") not in (None, "0"):
            reason = "kernel.unprivileged_bpf_disabled forbids bpf(2) to processes without capabilities"
        else:
            reason = f"the process lacks {names}"
        return Diagnostic(
            "E0220", f"{what}: {names} is missing", program=program, why=(reason,), help=advice, kernel="EPERM"
        )
    if host.kernel_version()[:2] < _MEMCG:
        reason = f"kernels before {_release(_MEMCG)} count BPF memory against RLIMIT_MEMLOCK"
        return Diagnostic(
            "E0221", f"{what}: the limit of locked memory is too low", program=program, why=(reason,),
            help="raise it: ulimit -l unlimited", kernel="EPERM",
        )  # fmt: skip
    reasons = ("this process has the capabilities, and the kernel's verifier wrote nothing",) + ((why,) if why else ())
    return Diagnostic(
        "E0222", f"{what}: refused by a policy of this system", program=program, why=reasons,
        help="look for lockdown (/sys/kernel/security/lockdown), an LSM, seccomp of a container, or the kernel's build",
        kernel="EPERM",
    )  # fmt: skip


def too_old(what: str, feature: Feature | None, since: Version, program: str | None = None) -> Diagnostic:
    """E0223: the kernel is older than the feature."""
    running = host.kernel_version()
    reason = f"{feature.what}: since Linux {_release(since)}" if feature else f"it came with Linux {_release(since)}"
    return Diagnostic(
        "E0223", f"{what}: this kernel ({_release(running[:2])}) is too old", program=program, why=(reason,),
        help=f"run it on Linux {_release(since)} or later, or on the vm engine",
    )  # fmt: skip


def load_refused(
    error: BpfCallError, program: str, prog_type: ProgType, attach_type: AttachType | None
) -> EngineError | UnsupportedError:
    """A program that the kernel refused before its verifier looked at it (the log is empty)."""
    what = f"the kernel does not load program '{program}' of type {name_of(prog_type)}"
    since = PROG_TYPES.get(prog_type, (0, 0))
    number = error.number
    if number == errno.EPERM:
        is_trampoline = prog_type is ProgType.LSM or attach_type in _TRAMPOLINES
        why = "programs on trampolines (fentry, fexit, fmod_ret, lsm) can be switched off by themselves" * is_trampoline
        return EngineError(not_permitted(what, prog_type, program, why))
    if number in (errno.EINVAL, errno.EOPNOTSUPP, ENOTSUPP) and host.kernel_version()[:2] < since:
        return UnsupportedError(too_old(what, None, since, program))
    reason, advice = _LOAD_REASONS.get(
        number, ("the kernel says no more than its number", "skep feature probe shows what this kernel can do")
    )
    return EngineError(
        Diagnostic("E0224", what, program=program, why=(reason,), help=advice, kernel=errno_name(number))
    )


_LOAD_REASONS: Final[Mapping[int, tuple[str, str]]] = {
    errno.E2BIG: (
        "more instructions than this kernel takes (4096 before 5.2, a million since), or an attribute is too new",
        "make the program smaller, or split it with tail calls",
    ),
    errno.ENOSPC: ("its log does not fit a buffer of 1 GiB", "simplify the program"),
    errno.ENOMEM: ("the kernel has no memory left for it", "free memory, or raise the cgroup's limit"),
    errno.EINVAL: (
        "the type, attach type or flags are not known to this kernel, or not configured (CONFIG_*)",
        "skep feature probe shows which program types this kernel has",
    ),
    errno.EOPNOTSUPP: ("this kernel does not have it", _PROBE),
    ENOTSUPP: ("this kernel does not have it", _PROBE),
    errno.ENOENT: ("what it attaches to does not exist in this kernel", "look for the name: skep btf dump"),
    errno.EAGAIN: ("a signal interrupted the verifier again and again", "try again"),
}  # fmt: skip


def map_refused(error: BpfCallError, spec: MapSpec) -> MapError | UnsupportedError:
    """A map that could not be made."""
    kind = name_of(spec.type)
    what = f"map '{spec.name}' ({kind}) cannot be created"
    facts = FACTS.get(spec.type)
    number = error.number
    if number == errno.EPERM:
        return MapError(not_permitted(what, None), number)
    if number in (errno.EINVAL, ENOTSUPP, errno.EOPNOTSUPP) and facts and host.kernel_version()[:2] < facts.since:
        return UnsupportedError(too_old(what, None, facts.since))
    why = _why_not(spec, facts) if facts is not None else []
    if number in (errno.E2BIG, errno.ENOMEM) or (number == errno.EINVAL and _bytes_of(spec) >= _MAX_BYTES):
        why = why or [f"it would take {_bytes_of(spec):,} bytes"]
        return MapError(
            Diagnostic("M0122", f"{what}: it is too large", why=tuple(why),
                       help="make max_entries or the value smaller", kernel=errno_name(number)),
            number,
        )  # fmt: skip
    advice = "correct the declaration" if why else "skep feature probe shows which map types this kernel has"
    return MapError(
        Diagnostic("M0121", what, why=tuple(why) or ("the kernel does not take these sizes or flags",), help=advice,
                   kernel=errno_name(number)),
        number,
    )  # fmt: skip


def _bytes_of(spec: MapSpec) -> int:
    return spec.max_entries * (spec.key_size + spec.value_size)


def _why_not(spec: MapSpec, facts: MapFacts) -> list[str]:
    """The rules of the type that this map breaks."""
    kind, why = name_of(spec.type), []
    least, most = facts.key_sizes
    if spec.key_size < least or (most is not None and spec.key_size > most):
        wanted = f"{least}" if least == most else f"at least {least}" if most is None else f"{least} to {most}"
        why.append(f"the key of a {kind} has {wanted} bytes, not {spec.key_size}")
    if facts.value_sizes is None and spec.value_size == 0:
        why.append("the value has 0 bytes")
    if facts.value_sizes is not None and spec.value_size not in facts.value_sizes:
        sizes = ", ".join(map(str, sorted(facts.value_sizes)[:4]))
        why.append(f"the value of a {kind} has {sizes} bytes, not {spec.value_size}")
    if facts.no_entries and spec.max_entries:
        why.append(f"max_entries of a {kind} must be 0")
    if not facts.no_entries and spec.max_entries == 0:
        why.append("max_entries is 0")
    if facts.page_sized and (spec.max_entries & (spec.max_entries - 1) or spec.max_entries % 4096):
        why.append(f"max_entries of a {kind} is bytes: a power of two, and whole pages; not {spec.max_entries}")
    if facts.needs_no_prealloc and not spec.flags & 1:
        why.append(f"a {kind} needs the flag BPF_F_NO_PREALLOC")
    if facts.needs_inner and spec.inner is None:
        why.append("the declaration does not say which maps it holds")
    if facts.needs_btf and not (spec.btf and spec.key_type and spec.value_type):
        why.append(f"a {kind} needs BTF types of key and value: compile with -g and declare them with __type()")
    return why


_ELEMENT_REASONS: Final[Mapping[int, tuple[str, str]]] = {
    errno.E2BIG: ("it is full, or the index is not below {n}", "make max_entries larger, or delete something first"),
    errno.ENOSPC: ("it is full: it holds {n} entries", "make max_entries larger, or delete something first"),
    errno.EEXIST: ("the key is there already (NOEXIST was asked for)", "use flags=ANY to replace the value"),
    errno.ENOENT: ("the key is not there (EXIST was asked for)", "use flags=ANY to add it"),
    errno.EPERM: ("it is frozen, or its flags forbid it to user space", "look at its flags: skep map show"),
    errno.ENOMEM: ("there is no memory for another element", "make max_entries larger, or raise the memory limit"),
    errno.EBUSY: ("it is being changed at this moment, or mapped into memory", "try again"),
    errno.EBADF: ("the value is no open descriptor of the right kind", "put a live map, program or socket in"),
    ENOTSUPP: ("this map type does not offer that to user space", "let a program do it"),
    errno.EOPNOTSUPP: ("this map type does not offer that to user space", "let a program do it"),
    errno.EINVAL: ("this operation, flag or key means nothing for this map type", "see docs: map types"),
}  # fmt: skip


def element_refused(error: BpfCallError, spec: MapSpec) -> MapError:
    """An operation on an element that failed; M0202 as on the vm."""
    number = error.number
    what, advice = _ELEMENT_REASONS.get(number, (errno_name(number), "see the kernel's documentation of this map type"))
    name = f"map '{spec.name}': {what.format(n=spec.max_entries)}"
    return MapError(Diagnostic("M0202", name, help=advice, kernel=errno_name(number)), number)
