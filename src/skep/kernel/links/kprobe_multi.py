"""Many kernel functions by one link (5.18; kernel/trace/bpf_trace.c, through fprobe)."""

from __future__ import annotations

import ctypes
import struct
from typing import Final

from skep.abi.prog_types import AttachType
from skep.diagnostics import Diagnostic
from skep.errors import EngineError, UsageError
from skep.kernel.bpf import links
from skep.kernel.bpf.links import LinkRequest
from skep.kernel.fd import Fd
from skep.kernel.links.handle import Attached, KernelLink, name_of_program
from skep.kernel.links.kprobe import traceable_functions
from skep.kernel.links.mounts import tracefs
from skep.kernel.links.patterns import is_pattern, select
from skep.kernel.links.places import Attachable
from skep.kernel.links.refusals import explained, missing_options, refusal
from skep.model.hooks import KprobeMulti

F_RETURN: Final = 1


def attach_kprobe_multi(program: Attachable, hook: KprobeMulti) -> Attached:
    """Attach to all functions that the names and patterns mean."""
    if missing_options("KprobeMulti"):
        raise refusal(hook, name_of_program(program), OSError(95, "no kprobes"))
    functions = _functions(hook)
    if hook.cookies and len(hook.cookies) != len(functions):
        raise UsageError(
            Diagnostic("H0331", f"{len(hook.cookies)} cookies for {len(functions)} functions", help="give one for each")
        )
    linked_type = program.linked.attach_type
    session = linked_type is AttachType.TRACE_KPROBE_SESSION

    def make(new: Attachable) -> Fd:
        names = [ctypes.create_string_buffer(name.encode()) for name in functions]
        pointers = (ctypes.c_uint64 * len(names))(*map(ctypes.addressof, names))
        cookies = (ctypes.c_uint64 * len(names))(*hook.cookies) if hook.cookies else None
        tail = struct.pack(
            "=IIQQQ",
            F_RETURN if hook.returning else 0,
            len(names),
            ctypes.addressof(pointers),
            0,
            ctypes.addressof(cookies) if cookies is not None else 0,
        )
        attach_type = AttachType.TRACE_KPROBE_SESSION if session else AttachType.TRACE_KPROBE_MULTI
        return links.create(LinkRequest(new.fd.number, attach_type, tail=tail))

    with explained(hook, name_of_program(program)):
        return KernelLink(make(program), hook, make)


def _functions(hook: KprobeMulti) -> list[str]:
    if not any(map(is_pattern, hook.functions)):
        return list(hook.functions)
    found = select(hook.functions, traceable_functions(tracefs()))
    if not found:
        raise EngineError(
            Diagnostic(
                "H0332",
                f"no function of this kernel matches {', '.join(hook.functions)}",
                help="see available_filter_functions in tracefs",
            )
        )
    return found
