"""Kernel functions: kprobes through perf events (4.17; kernel/trace/trace_kprobe.c), and system calls by their name."""

from __future__ import annotations

import errno
import os
import platform
from pathlib import Path
from typing import Final

from skep.diagnostics import Diagnostic
from skep.errors import EngineError
from skep.kernel.fd import Fd
from skep.kernel.host import read_kallsyms
from skep.kernel.links.handle import Attached, name_of_program
from skep.kernel.links.perf import Event, attach_event, open_event, source_bit, source_type
from skep.kernel.links.places import Attachable
from skep.model.hooks import Hook, Kprobe, Kretprobe, Ksyscall

# What the kernel calls its system call functions since 4.17 (CONFIG_ARCH_HAS_SYSCALL_WRAPPER).
_WRAPPERS: Final = {
    "x86_64": "__x64_sys_", "i686": "__ia32_sys_", "aarch64": "__arm64_sys_", "s390x": "__s390x_sys_",
    "riscv64": "__riscv_sys_", "ppc64le": "sys_",
}  # fmt: skip


def attach_kprobe(program: Attachable, hook: Kprobe) -> Attached:
    """Attach to an instruction of a function, or to an address (0x...)."""
    return _attach(program, hook, hook.function, hook.offset, hook.cookie, returning=False)


def attach_kretprobe(program: Attachable, hook: Kretprobe) -> Attached:
    """Attach to the return of a function."""
    return _attach(program, hook, hook.function, 0, hook.cookie, returning=True)


def attach_ksyscall(program: Attachable, hook: Ksyscall) -> Attached:
    """Attach to the function behind a system call."""
    return _attach(program, hook, syscall_function(hook.name), 0, hook.cookie, returning=hook.returning)


def syscall_function(name: str) -> str:
    """The kernel's function for a system call on this machine (``openat`` -> ``__x64_sys_openat``)."""
    wrapped = _WRAPPERS.get(platform.machine(), "sys_") + name
    known = read_kallsyms()
    if known and wrapped not in known:
        for other in (f"__se_sys_{name}", f"sys_{name}"):
            if other in known:
                return other
    return wrapped


def _attach(program: Attachable, hook: Hook, function: str, offset: int, cookie: int, *, returning: bool) -> Attached:
    def make() -> Fd:
        kind = source_type("kprobe")
        if kind is None:
            raise OSError(errno.EOPNOTSUPP, "no kprobes")
        config = 1 << source_bit("kprobe", "retprobe") if returning else 0
        if function.startswith("0x"):
            return open_event(Event(kind, config, config2=int(function, 16) + offset))
        return open_event(Event(kind, config, name=function, config2=offset))

    try:
        return attach_event(program, hook, make, cookie)
    except EngineError as error:
        if not isinstance(error.__cause__, OSError) or error.__cause__.errno not in (errno.ENOENT, errno.EINVAL):
            raise
        raise _no_function(program, hook, function, error.__cause__) from None


def _no_function(program: Attachable, hook: Hook, function: str, error: OSError) -> EngineError:
    known = read_kallsyms()
    if function in known or not known:
        why = "the kernel does not allow a probe there (inlined, marked notrace, or not at an instruction)"
        return EngineError(
            Diagnostic(
                "H0330",
                f"cannot attach program '{name_of_program(program)}' to {hook}: {os.strerror(error.errno or 0)}",
                why=(why,),
                help="see /sys/kernel/tracing/available_filter_functions for functions that can be traced",
            )
        )
    similar = sorted(name for name in known if name.startswith(function))[:5]
    return EngineError(
        Diagnostic(
            "H0310",
            f"this kernel has no function '{function}'",
            why=("it may be inlined, renamed or in a module that is not loaded",),
            help=f"there are: {', '.join(similar)}" if similar else "see /proc/kallsyms",
        )
    )


def traceable_functions(tracefs: Path) -> list[str]:
    """Functions that ftrace can trace, without those of modules."""
    lines = (tracefs / "available_filter_functions").read_text().splitlines()
    return [line for line in lines if "[" not in line]
