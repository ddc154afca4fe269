"""tcx: ordered programs at traffic control, each a link (6.6; kernel/bpf/tcx.c)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from skep.abi.prog_types import AttachType
from skep.kernel.bpf import links
from skep.kernel.bpf.links import LinkRequest
from skep.kernel.links.anchors import encode_anchor
from skep.kernel.links.handle import Attached, KernelLink, name_of_program
from skep.kernel.links.places import Attachable, ifindex, inside
from skep.kernel.links.refusals import explained
from skep.model.hooks import Direction, Tcx

ATTACH_TYPES: Final[Mapping[Direction, AttachType]] = {
    Direction.INGRESS: AttachType.TCX_INGRESS,
    Direction.EGRESS: AttachType.TCX_EGRESS,
}


def attach_tcx(program: Attachable, hook: Tcx) -> Attached:
    """Attach at the anchor's place."""
    flags, tail = encode_anchor(hook.anchor)
    with explained(hook, name_of_program(program)), inside(hook.netns):
        attach_type = ATTACH_TYPES[Direction(hook.direction)]
        return KernelLink(
            links.create(LinkRequest(program.fd.number, attach_type, ifindex(hook.interface), flags, tail)), hook
        )
