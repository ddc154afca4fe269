"""XDP: a link since 5.9, before that a setting of the interface through rtnetlink (net/core/dev.c, rtnetlink.c)."""

from __future__ import annotations

import errno
import struct
from collections.abc import Mapping
from typing import Final

from skep.abi.prog_types import AttachType
from skep.kernel.bpf import links
from skep.kernel.bpf.links import LinkRequest
from skep.kernel.links.handle import Attached, KernelLink, PlainAttachment, name_of_program
from skep.kernel.links.netlink import NetlinkSocket, nested, number
from skep.kernel.links.places import Attachable, ifindex, inside
from skep.kernel.links.refusals import explained
from skep.model.hooks import Xdp, XdpMode

FLAG_IF_NOEXIST, FLAG_REPLACE = 1 << 0, 1 << 4
MODE_FLAGS: Final[Mapping[XdpMode, int]] = {
    XdpMode.AUTO: 0,
    XdpMode.GENERIC: 1 << 1,
    XdpMode.NATIVE: 1 << 2,
    XdpMode.OFFLOAD: 1 << 3,
}
RTM_SETLINK: Final = 19
IFLA_XDP: Final = 43
IFLA_XDP_FD, IFLA_XDP_FLAGS, IFLA_XDP_EXPECTED_FD = 1, 3, 8


def attach_xdp(program: Attachable, hook: Xdp) -> Attached:
    """Attach to an interface, by a link where the kernel has one."""
    with explained(hook, name_of_program(program)), inside(hook.netns):
        flags = MODE_FLAGS[XdpMode(hook.mode)]
        try:
            request = LinkRequest(program.fd.number, AttachType.XDP, ifindex(hook.interface), flags)
            return KernelLink(links.create(request), hook)
        except OSError as error:
            # EINVAL: no XDP links (before 5.9), or a wrong program; the older way tells which.
            if error.errno != errno.EINVAL:
                raise
        return attach_by_netlink(program, hook)


def attach_by_netlink(program: Attachable, hook: Xdp) -> Attached:
    """Attach without a link: for kernels before 5.9. Must be called inside the interface's namespace."""
    index = ifindex(hook.interface)
    mode = MODE_FLAGS[XdpMode(hook.mode)]
    rtnetlink = NetlinkSocket()  # stays in this namespace, wherever the thread goes

    def put(fd: int, flags: int, expected: int | None = None) -> None:
        settings = [number(IFLA_XDP_FD, fd), number(IFLA_XDP_FLAGS, mode | flags)]
        if expected is not None:
            settings.append(number(IFLA_XDP_EXPECTED_FD, expected))
        header = struct.pack("=BxHiII", 0, 0, index, 0, 0)
        rtnetlink.request(RTM_SETLINK, header + nested(IFLA_XDP, *settings))

    try:
        put(program.fd.number, FLAG_IF_NOEXIST)
    except BaseException:
        rtnetlink.close()
        raise
    return PlainAttachment(
        program,
        hook,
        replace=lambda old, new: put(new, FLAG_REPLACE, old),
        remove=lambda old: put(-1, FLAG_REPLACE, old),
        release=rtnetlink.close,
    )
