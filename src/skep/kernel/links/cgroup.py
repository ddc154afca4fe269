"""Cgroups: a link since 5.7, before that BPF_PROG_ATTACH with BPF_F_ALLOW_MULTI (kernel/bpf/cgroup.c)."""

from __future__ import annotations

import errno

from skep.abi.names import find_attach_type
from skep.abi.prog_types import AttachType, ProgType
from skep.diagnostics import Diagnostic
from skep.errors import UsageError
from skep.kernel.bpf import links
from skep.kernel.bpf.links import F_ALLOW_MULTI, F_REPLACE, LinkRequest
from skep.kernel.fd import Fd
from skep.kernel.links.anchors import encode_anchor
from skep.kernel.links.handle import Attached, KernelLink, PlainAttachment, name_of_program
from skep.kernel.links.places import Attachable, open_folder
from skep.kernel.links.refusals import explained
from skep.model.hooks import Cgroup, LsmCgroup, SockOps

#: What a program type means where neither the section nor the user says it.
DEFAULTS = {
    ProgType.CGROUP_SOCK: AttachType.CGROUP_INET_SOCK_CREATE,
    ProgType.CGROUP_DEVICE: AttachType.CGROUP_DEVICE,
    ProgType.CGROUP_SYSCTL: AttachType.CGROUP_SYSCTL,
    ProgType.SOCK_OPS: AttachType.CGROUP_SOCK_OPS,
}


def attach_cgroup(program: Attachable, hook: Cgroup) -> Attached:
    """Attach for the hook's attach type, or the one of the program's section."""
    return _attach(program, hook, _attach_type(program, hook))


def attach_sock_ops(program: Attachable, hook: SockOps) -> Attached:
    """Attach for TCP events."""
    return _attach(program, hook, AttachType.CGROUP_SOCK_OPS)


def attach_lsm_cgroup(program: Attachable, hook: LsmCgroup) -> Attached:
    """Attach a security hook; there is only the link."""
    return _attach(program, hook, AttachType.LSM_CGROUP)


def attach_without_link(program: Attachable, hook: Cgroup | SockOps, attach_type: AttachType, folder: Fd) -> Attached:
    """BPF_PROG_ATTACH: for kernels before 5.7. Owns ``folder`` when it returns."""
    links.attach(folder.number, program.fd.number, attach_type, F_ALLOW_MULTI)

    def replace(old: int, new: int) -> None:
        try:
            links.attach(folder.number, new, attach_type, F_ALLOW_MULTI | F_REPLACE, old)
        except OSError as error:
            if error.errno != errno.EINVAL:  # BPF_F_REPLACE is 5.6
                raise
            links.attach(folder.number, new, attach_type, F_ALLOW_MULTI)
            links.detach_program(folder.number, old, attach_type)

    return PlainAttachment(
        program,
        hook,
        replace=replace,
        remove=lambda old: links.detach_program(folder.number, old, attach_type),
        release=folder.close,
    )


def _attach(program: Attachable, hook: Cgroup | SockOps | LsmCgroup, attach_type: AttachType) -> Attached:
    anchor = hook.anchor if isinstance(hook, Cgroup) else None
    flags, tail = encode_anchor(anchor) if anchor is not None else (0, b"")
    folder = open_folder(hook.path, "cgroup")
    keep = False
    try:
        with explained(hook, name_of_program(program)):
            try:
                request = LinkRequest(program.fd.number, attach_type, folder.number, flags, tail)
                return KernelLink(links.create(request), hook)
            except OSError as error:
                if error.errno != errno.EINVAL or anchor is not None or isinstance(hook, LsmCgroup):
                    raise
            made = attach_without_link(program, hook, attach_type, folder)
            keep = True
            return made
    finally:
        if not keep:
            folder.close()


def _attach_type(program: Attachable, hook: Cgroup) -> AttachType:
    if hook.attach_type is not None:
        found = find_attach_type(hook.attach_type)
        if found is None:
            raise UsageError(
                Diagnostic(
                    "H0320",
                    f"there is no attach type '{hook.attach_type}'",
                    help="e.g. cgroup_inet4_connect, cgroup_inet_ingress, cgroup_device",
                )
            )
        return found
    linked = program.linked
    found = linked.attach_type if linked.attach_type is not None else DEFAULTS.get(linked.prog_type)
    if found is None:
        raise UsageError(
            Diagnostic(
                "H0321",
                f"the section '{linked.section}' of program '{linked.name}' does not say for which event of a cgroup",
                help='give attach_type=, e.g. "cgroup_inet_ingress", or write SEC("cgroup_skb/ingress")',
            )
        )
    return found
