"""Sockmaps: parsers and verdicts of the sockets in a map; a link since 6.10 (net/core/sock_map.c)."""

from __future__ import annotations

import errno
import os

from skep.abi.names import find_attach_type
from skep.abi.prog_types import AttachType
from skep.kernel.bpf import links
from skep.kernel.bpf.links import LinkRequest
from skep.kernel.fd import Fd
from skep.kernel.links.handle import Attached, KernelLink, PlainAttachment, name_of_program
from skep.kernel.links.places import Attachable, descriptor
from skep.kernel.links.refusals import explained
from skep.model.hooks import SkMsg, SkSkb


def attach_sk_msg(program: Attachable, hook: SkMsg) -> Attached:
    """Judge what the map's sockets send."""
    return _attach(program, hook, AttachType.SK_MSG_VERDICT)


def attach_sk_skb(program: Attachable, hook: SkSkb) -> Attached:
    """Judge what the map's sockets receive."""
    named = find_attach_type(hook.attach_type) if hook.attach_type is not None else None
    return _attach(program, hook, named or program.linked.attach_type or AttachType.SK_SKB_VERDICT)


def attach_without_link(program: Attachable, hook: SkMsg | SkSkb, attach_type: AttachType) -> Attached:
    """BPF_PROG_ATTACH: for kernels before 6.10. The map keeps the program until it is detached."""
    target = Fd(os.dup(descriptor(hook.map, "map")), "map")  # the user's may be closed before
    try:
        links.attach(target.number, program.fd.number, attach_type)
    except OSError:
        target.close()
        raise
    return PlainAttachment(
        program,
        hook,
        replace=lambda _, new: links.attach(target.number, new, attach_type),
        remove=lambda old: links.detach_program(target.number, old, attach_type),
        release=target.close,
    )


def _attach(program: Attachable, hook: SkMsg | SkSkb, attach_type: AttachType) -> Attached:
    target = descriptor(hook.map, "map")
    with explained(hook, name_of_program(program)):
        try:
            return KernelLink(links.create(LinkRequest(program.fd.number, attach_type, target)), hook)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
        return attach_without_link(program, hook, attach_type)
