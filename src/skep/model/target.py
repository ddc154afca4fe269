"""Facts about the place where a program will run: what is host-dependent enters the pure stations here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from skep.abi.map_types import MapType
from skep.btf.types import Btf


@dataclass(frozen=True, slots=True)
class Target:
    """What linker and verifier may know of the place to run.

    Attributes:
        name: for messages: ``vm``, ``linux 6.18``.
        kernel_version: (major, minor, patch); for the vm, the kernel whose rules it follows.
        btf: types of the kernel (CO-RE, kfuncs, ksyms); None: not known.
        module_btf: split BTF by module name.
        kconfig: ``CONFIG_X`` -> value as in /proc/config.gz (``y``, ``m``, a number or a quoted string).
        kallsyms: addresses of kernel symbols.
        refused_helpers: helpers (by number) that mean nothing here -> the reason, for the user.
        map_types: map types that can be created here; None: all of the kernel's.
        byte_order: "little" or "big".
        privileged: who loads has CAP_BPF and CAP_PERFMON, as root has. False: CAP_BPF alone (with CAP_NET_ADMIN for
            networking): no address may leave the program, not even under speculation. Loading with no capability at
            all, which most systems forbid (kernel.unprivileged_bpf_disabled), has more rules, which skep does not know.
    """

    name: str
    kernel_version: tuple[int, int, int]
    byte_order: str = "little"
    btf: Btf | None = field(default=None, repr=False)
    module_btf: Mapping[str, Btf] = field(default_factory=dict, repr=False)
    kconfig: Mapping[str, str] = field(default_factory=dict, repr=False)
    kallsyms: Mapping[str, int] = field(default_factory=dict, repr=False)
    refused_helpers: Mapping[int, str] = field(default_factory=dict, repr=False)
    map_types: frozenset[MapType] | None = None
    privileged: bool = True
