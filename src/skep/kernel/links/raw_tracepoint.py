"""Raw and typed tracepoints (4.17, 5.5; kernel/trace/bpf_trace.c)."""

from __future__ import annotations

import errno

from skep.kernel.bpf import links
from skep.kernel.fd import Fd
from skep.kernel.links.handle import Attached, KernelLink, name_of_program
from skep.kernel.links.places import Attachable
from skep.kernel.links.refusals import explained
from skep.kernel.links.trampoline import link_tracing
from skep.model.hooks import RawTracepoint, TpBtf


def attach_raw_tracepoint(program: Attachable, hook: RawTracepoint) -> Attached:
    """Attach by the tracepoint's name, without its category."""

    def make(new: Attachable) -> Fd:
        return links.open_raw_tracepoint(hook.name, new.fd.number, hook.cookie)

    with explained(hook, name_of_program(program)):
        return KernelLink(make(program), hook, make)


def attach_tp_btf(program: Attachable, hook: TpBtf) -> Attached:
    """Attach where the program was loaded for."""

    def make(new: Attachable) -> Fd:
        try:
            return links.open_raw_tracepoint("", new.fd.number, hook.cookie)
        except OSError as error:
            if error.errno != errno.EINVAL or not hook.cookie:
                raise
            return link_tracing(new, hook.cookie)

    with explained(hook, name_of_program(program)):
        return KernelLink(make(program), hook, make)
