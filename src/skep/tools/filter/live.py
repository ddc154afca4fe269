"""One filter over live packets: in this process, or before them in the kernel."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

import skep
from skep.engine import PacketRun
from skep.frontend.pcap import ClassicProgram, translate
from skep.isa.classic import opcodes as op
from skep.isa.classic.instruction import ClassicInstruction

_EVERYTHING = 0xFFFFFFFF
_TAG_PRESENT = (op.ANCILLARY + op.VLAN_TAG_PRESENT) & 0xFFFFFFFF


def kernel_filter(program: ClassicProgram) -> ClassicProgram:
    """What the kernel runs of a filter, before packets are copied into the ring.

    Cards take VLAN tags out of packets, and the kernel's filters see them without. The ring has them back, so packets
    with a tag all pass here, and are judged there.
    """
    tagged = (
        ClassicInstruction(op.LD | op.W | op.ABS, k=_TAG_PRESENT),
        ClassicInstruction(op.JMP | op.JEQ | op.K, jt=1, k=0),
        ClassicInstruction(op.RET | op.K, k=_EVERYTHING),
        ClassicInstruction(op.LD | op.IMM, k=0),  # the filter starts with A as it would alone
    )
    return replace(program, insns=(*tagged, *program.insns))


def run_filter_live(
    program: ClassicProgram,
    hook: skep.hooks.PacketSocket,
    *,
    in_kernel: bool = False,
    count: int | None = None,
    duration: float | None = None,
    started: Callable[[skep.Link], None] | None = None,
) -> PacketRun:
    """Run a filter over the packets of an interface until a limit, ``link.stop()``, or the interface is gone.

    Args:
        program: for the interface's link type.
        hook: the interface, and where matching packets go.
        in_kernel: the filter is also a socket filter in the kernel (root): packets that do not match are never copied
            to this process, nor counted. What matches is the same.
        count: matching packets.
        duration: seconds.
        started: told the link as soon as packets are received.

    Raises:
        EngineError: H0603: no right to a packet socket, or E02xx: to load the program into the kernel.
    """
    with ExitStack() as stack:
        if in_kernel:
            before = stack.enter_context(skep.load(translate(kernel_filter(program)), engine="kernel"))
            hook = replace(hook, in_kernel=before.programs["filter"])
        live = stack.enter_context(skep.load(translate(program)))
        link = stack.enter_context(live.programs["filter"].attach(hook))
        if started is not None:
            started(link)
        return link.run(duration=duration, passed=count)
