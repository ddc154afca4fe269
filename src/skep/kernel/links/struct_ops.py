"""struct_ops: a map whose value is a table of functions, put into force by a link (6.4; bpf_struct_ops.c)."""

from __future__ import annotations

from skep.abi.prog_types import AttachType
from skep.kernel.bpf import links
from skep.kernel.bpf.links import LinkRequest
from skep.kernel.links.handle import Attached, KernelLink, name_of_program
from skep.kernel.links.places import Attachable, descriptor
from skep.kernel.links.refusals import explained
from skep.model.hooks import StructOps


def attach_struct_ops(program: Attachable, hook: StructOps) -> Attached:
    """Put the map's table into force; ``program`` is one of its functions."""
    with explained(hook, name_of_program(program)):
        return KernelLink(links.create(LinkRequest(descriptor(hook.map, "map"), AttachType.STRUCT_OPS)), hook)
