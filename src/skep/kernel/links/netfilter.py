"""Netfilter: a program at one of the five hooks (6.4; net/netfilter/nf_bpf_link.c)."""

from __future__ import annotations

import errno
import struct
from typing import Final

from skep.abi.prog_types import AttachType
from skep.diagnostics import Diagnostic
from skep.engine import ProgramHandle
from skep.errors import UnsupportedError, UsageError
from skep.kernel.bpf import links
from skep.kernel.bpf.links import LinkRequest
from skep.kernel.links.handle import Attached, KernelLink, name_of_program
from skep.kernel.links.places import Attachable, inside
from skep.kernel.links.refusals import explained
from skep.model.hooks import Netfilter

FAMILIES: Final = {"ipv4": 2, "ipv6": 10}
HOOKS: Final = {"prerouting": 0, "input": 1, "forward": 2, "output": 3, "postrouting": 4}
_DEFRAGMENT: Final = 1


class NetfilterLink(KernelLink):
    """The kernel can neither replace its program nor have two programs of one priority."""

    def update(self, program: ProgramHandle) -> None:
        """Not possible without a gap: UnsupportedError H0322."""
        raise UnsupportedError(
            Diagnostic(
                "H0322",
                "the program of a netfilter link cannot be replaced",
                why=("the kernel refuses it, and a second program of the same priority too",),
                help="attach the new program with another priority, then close this link: no packet passes by both",
            )
        )


def attach_netfilter(program: Attachable, hook: Netfilter) -> Attached:
    """Attach in a network namespace."""
    if hook.family not in FAMILIES or hook.hook not in HOOKS:
        raise UsageError(
            Diagnostic(
                "H0323",
                f"there is no netfilter hook {hook.family} {hook.hook}",
                help=f"family: {', '.join(FAMILIES)}; hook: {', '.join(HOOKS)}",
            )
        )
    flags = _DEFRAGMENT if hook.defragment else 0
    tail = struct.pack("=IIiI", FAMILIES[hook.family], HOOKS[hook.hook], hook.priority, flags)
    with explained(hook, name_of_program(program)), inside(hook.netns):
        try:
            made = links.create(LinkRequest(program.fd.number, AttachType.NETFILTER, tail=tail))
        except OSError as error:
            if error.errno == errno.ERANGE:
                raise OSError(errno.EINVAL, "priority") from None
            raise
    return NetfilterLink(made, hook)
