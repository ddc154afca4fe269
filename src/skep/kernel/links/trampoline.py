"""Programs called through a trampoline: fentry, fexit, fmod_ret, freplace, lsm (kernel/bpf/trampoline.c, 5.5)."""

from __future__ import annotations

import ctypes
import errno
import struct

from skep.abi.prog_types import AttachType
from skep.btf.reader import parse_btf
from skep.btf.types import Func
from skep.diagnostics import Diagnostic
from skep.errors import EngineError
from skep.kernel.bpf import links, objects
from skep.kernel.bpf.attr import BtfInfo, ProgInfo
from skep.kernel.bpf.call import address
from skep.kernel.bpf.links import LinkRequest
from skep.kernel.bpf.objects import Kind
from skep.kernel.fd import Fd
from skep.kernel.links.handle import Attached, KernelLink, Make, name_of_program
from skep.kernel.links.places import Attachable, descriptor
from skep.kernel.links.refusals import explained
from skep.model.hooks import Fentry, Fexit, FmodRet, Freplace, Lsm


def attach_tracing(program: Attachable, hook: Fentry | Fexit | FmodRet | Lsm) -> Attached:
    """Attach where the program was loaded for."""

    def make(new: Attachable) -> Fd:
        return link_tracing(new, hook.cookie)

    with explained(hook, name_of_program(program)):
        return KernelLink(make(program), hook, make)


def link_tracing(program: Attachable, cookie: int = 0) -> Fd:
    """A link to the target that the program knows; by BPF_RAW_TRACEPOINT_OPEN on kernels before 5.19."""
    attach_type = program.linked.attach_type or AttachType.TRACE_FENTRY
    try:
        tail = struct.pack("=IxxxxQ", 0, cookie)
        return links.create(LinkRequest(program.fd.number, attach_type, tail=tail))
    except OSError as error:
        if error.errno != errno.EINVAL or cookie:
            raise
    return links.open_raw_tracepoint("", program.fd.number)


def attach_freplace(program: Attachable, hook: Freplace) -> Attached:
    """Replace a function of another program. The kernel cannot replace the replacement: update() is refused there."""
    with explained(hook, name_of_program(program)):
        return KernelLink(_freplace(hook)(program), hook, _freplace(hook))


def _freplace(hook: Freplace) -> Make:
    def make(new: Attachable) -> Fd:
        if hook.program is None:
            return links.open_raw_tracepoint("", new.fd.number)
        target = descriptor(hook.program, "program")
        tail = struct.pack("=I", find_function(target, hook.function or new.linked.attach_to))
        # freplace programs have no expected attach type: 0 is what the kernel compares with.
        return links.create(LinkRequest(new.fd.number, 0, target, tail=tail))

    return make


def find_function(program: int, name: str) -> int:
    """The BTF id of a function of a loaded program.

    Raises:
        EngineError: H0328, it has no types or no such function.
    """
    info = objects.read_info(program, ProgInfo())
    functions: list[str] = []
    if info.btf_id:
        with objects.open_id(Kind.BTF, int(info.btf_id)) as fd:
            size = int(objects.read_info(fd.number, BtfInfo()).btf_size)
            buffer = ctypes.create_string_buffer(size)
            objects.read_info(fd.number, BtfInfo(btf=address(buffer), btf_size=size))
        btf = parse_btf(buffer.raw[:size])
        found = btf.find(name, Func)
        if found is not None:
            return found
        functions = [entry.name for entry in btf if isinstance(entry, Func)]
    raise EngineError(
        Diagnostic(
            "H0328",
            f"the program to extend has no function '{name}'",
            why=(f"its functions: {', '.join(functions) or 'unknown: it was loaded without types'}",),
            help="only global (not static) functions can be replaced",
        )
    )
