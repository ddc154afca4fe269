"""Network namespaces: sk_lookup and flow dissector programs (kernel/bpf/net_namespace.c)."""

from __future__ import annotations

import errno

from skep.abi.prog_types import AttachType
from skep.kernel.bpf import links
from skep.kernel.bpf.links import LinkRequest
from skep.kernel.links.handle import Attached, KernelLink, PlainAttachment, name_of_program
from skep.kernel.links.places import Attachable, inside, opened_netns
from skep.kernel.links.refusals import explained
from skep.model.hooks import FlowDissector, SkLookup


def attach_sk_lookup(program: Attachable, hook: SkLookup) -> Attached:
    """Attach to a namespace."""
    with explained(hook, name_of_program(program)), opened_netns(hook.netns) as target:
        return KernelLink(links.create(LinkRequest(program.fd.number, AttachType.SK_LOOKUP, target)), hook)


def attach_flow_dissector(program: Attachable, hook: FlowDissector) -> Attached:
    """Attach to a namespace; before 5.7 without a link, to the caller's namespace."""
    with explained(hook, name_of_program(program)), opened_netns(hook.netns) as target:
        try:
            return KernelLink(links.create(LinkRequest(program.fd.number, AttachType.FLOW_DISSECTOR, target)), hook)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
        return attach_without_link(program, hook)


def attach_without_link(program: Attachable, hook: FlowDissector) -> Attached:
    """BPF_PROG_ATTACH with target 0: the namespace of the thread that calls."""

    def put(new: int) -> None:
        with inside(hook.netns):
            links.attach(0, new, AttachType.FLOW_DISSECTOR)

    def remove(old: int) -> None:
        with inside(hook.netns):
            links.detach_program(0, old, AttachType.FLOW_DISSECTOR)

    put(program.fd.number)
    return PlainAttachment(program, hook, replace=lambda _, new: put(new), remove=remove)
