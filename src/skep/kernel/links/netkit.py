"""netkit: programs of a netkit device, each a link (6.7; drivers/net/netkit.c)."""

from __future__ import annotations

from skep.abi.prog_types import AttachType
from skep.kernel.bpf import links
from skep.kernel.bpf.links import LinkRequest
from skep.kernel.links.anchors import encode_anchor
from skep.kernel.links.handle import Attached, KernelLink, name_of_program
from skep.kernel.links.places import Attachable, ifindex, inside
from skep.kernel.links.refusals import explained
from skep.model.hooks import Netkit


def attach_netkit(program: Attachable, hook: Netkit) -> Attached:
    """Attach to the primary device, for its own packets or those of its peer."""
    flags, tail = encode_anchor(hook.anchor)
    attach_type = AttachType.NETKIT_PEER if hook.peer else AttachType.NETKIT_PRIMARY
    with explained(hook, name_of_program(program)), inside(hook.netns):
        return KernelLink(
            links.create(LinkRequest(program.fd.number, attach_type, ifindex(hook.interface), flags, tail)), hook
        )
