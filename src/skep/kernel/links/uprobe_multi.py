"""Many functions of one file by one link (6.6; kernel/trace/bpf_trace.c)."""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Final

from skep.abi.prog_types import AttachType
from skep.diagnostics import Diagnostic
from skep.errors import EngineError, UsageError
from skep.kernel.bpf import links
from skep.kernel.bpf.links import LinkRequest
from skep.kernel.fd import Fd
from skep.kernel.links.executables import Executable, find_file
from skep.kernel.links.handle import Attached, KernelLink, name_of_program
from skep.kernel.links.patterns import is_pattern, select
from skep.kernel.links.places import Attachable
from skep.kernel.links.refusals import explained
from skep.model.hooks import UprobeMulti

F_RETURN: Final = 1


def attach_uprobe_multi(program: Attachable, hook: UprobeMulti) -> Attached:
    """Attach to all functions that the names and patterns mean, and to all given offsets."""
    path = find_file(hook.path)
    offsets = _offsets(hook)
    if hook.cookies and len(hook.cookies) != len(offsets):
        raise UsageError(
            Diagnostic("H0331", f"{len(hook.cookies)} cookies for {len(offsets)} places", help="give one for each")
        )
    session = program.linked.attach_type is AttachType.TRACE_UPROBE_SESSION
    attach_type = AttachType.TRACE_UPROBE_SESSION if session else AttachType.TRACE_UPROBE_MULTI

    def make(new: Attachable) -> Fd:
        name = ctypes.create_string_buffer(os.fsencode(path))
        places = (ctypes.c_uint64 * len(offsets))(*offsets)
        cookies = (ctypes.c_uint64 * len(offsets))(*hook.cookies) if hook.cookies else None
        tail = struct.pack(
            "=QQQQIII",
            ctypes.addressof(name),
            ctypes.addressof(places),
            0,
            ctypes.addressof(cookies) if cookies is not None else 0,
            len(offsets),
            F_RETURN if hook.returning else 0,
            hook.pid or 0,
        )
        return links.create(LinkRequest(new.fd.number, attach_type, tail=tail))

    with explained(hook, name_of_program(program)):
        return KernelLink(make(program), hook, make)


def _offsets(hook: UprobeMulti) -> list[int]:
    offsets = list(hook.offsets)
    if hook.symbols:
        executable = Executable(hook.path)
        patterns = [name for name in hook.symbols if is_pattern(name)]
        offsets += [executable.offset_of_symbol(name) for name in hook.symbols if not is_pattern(name)]
        if patterns:
            offsets += [executable.offset_of_symbol(name) for name in select(patterns, executable.functions)]
    if not offsets:
        raise EngineError(
            Diagnostic(
                "H0332",
                f"no function of '{hook.path}' matches {', '.join(hook.symbols) or 'nothing'}",
                help="nm -D lists its functions",
            )
        )
    return list(dict.fromkeys(offsets))
