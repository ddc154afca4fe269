"""Iterators: a program that runs for each object when its link is read (kernel/bpf/bpf_iter.c, 5.8)."""

from __future__ import annotations

import ctypes
import struct
from contextlib import ExitStack
from typing import Final

from skep.abi.prog_types import AttachType
from skep.diagnostics import Diagnostic
from skep.errors import UsageError
from skep.kernel.bpf import links
from skep.kernel.bpf.call import address, data_buffer
from skep.kernel.bpf.links import LinkRequest
from skep.kernel.links.handle import Attached, IteratorLink, name_of_program
from skep.kernel.links.places import Attachable, descriptor, open_folder
from skep.kernel.links.refusals import explained
from skep.model.hooks import Iter

ORDERS: Final = {"self": 1, "descendants_pre": 2, "descendants_post": 3, "ancestors_up": 4}
_INFO: Final = 16  # bytes of union bpf_iter_link_info


def attach_iter(program: Attachable, hook: Iter) -> Attached:
    """Make the link; IteratorLink.read() runs it."""
    with ExitStack() as stack:
        info = _encode(hook, stack)
        buffer: ctypes.Array[ctypes.c_char] | None = data_buffer(info) if info else None
        tail = struct.pack("=QI", address(buffer), len(info))
        with explained(hook, name_of_program(program)):
            request = LinkRequest(program.fd.number, AttachType.TRACE_ITER, tail=tail)
            return IteratorLink(links.create(request), hook)


def _encode(hook: Iter, stack: ExitStack) -> bytes:
    """union bpf_iter_link_info; empty where the iterator visits everything."""
    if hook.map is not None:
        return struct.pack("=I", descriptor(hook.map, "map")).ljust(_INFO, b"\0")
    if hook.cgroup is not None:
        if hook.order not in ORDERS:
            raise UsageError(
                Diagnostic("H0329", f"there is no order '{hook.order}'", help=f"orders: {', '.join(ORDERS)}")
            )
        folder = stack.enter_context(open_folder(hook.cgroup, "cgroup"))
        return struct.pack("=IIQ", ORDERS[hook.order], folder.number, 0)
    if hook.pid is not None or hook.tid is not None:
        return struct.pack("=III", hook.tid or 0, hook.pid or 0, 0).ljust(_INFO, b"\0")
    return b""
