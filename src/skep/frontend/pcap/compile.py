"""pcap-filter(7) to classic BPF: the one function of this room for expressions."""

from __future__ import annotations

from dataclasses import dataclass, field

from skep.diagnostics import Diagnostic
from skep.errors import CompileError
from skep.frontend.pcap.conditions import TRUE
from skep.frontend.pcap.emit import emit
from skep.frontend.pcap.graph import ACCEPT, REJECT, Graph
from skep.frontend.pcap.lexer import MAX_TEXT
from skep.frontend.pcap.links import LinkLayer
from skep.frontend.pcap.meaning import Meaning
from skep.frontend.pcap.optimise import optimise
from skep.frontend.pcap.parser import parse
from skep.isa.classic.check import check
from skep.isa.classic.instruction import ClassicInstruction

SNAPLEN = 262144  # bytes to keep of a packet that matches: tcpdump's default


@dataclass(frozen=True, slots=True)
class ClassicProgram:
    """A filter as classic BPF.

    Attributes:
        link: the link type that it is for; None: not known (it was read, not compiled).
        expression: what it was compiled from; "" if it was read.
    """

    insns: tuple[ClassicInstruction, ...] = field(repr=False)
    link: LinkLayer | None = None
    expression: str = ""


def compile_expression(
    expression: str,
    *,
    link: LinkLayer = LinkLayer.ETHERNET,
    keep: int = SNAPLEN,
    netmask: int | None = None,
    optimised: bool = True,
) -> ClassicProgram:
    """Compile an expression.

    Args:
        expression: as tcpdump takes it; empty: every packet matches.
        link: what the packets start with.
        keep: what the program returns for packets that match, bytes.
        netmask: of the packets' network, for `ip broadcast`; None: not known.
        optimised: False leaves every test in, as `tcpdump -O` does.

    Raises:
        CompileError: H0401-H0406, H0409-H0412: what is wrong, and where; H0408: no packet can match.
        UnsupportedError: H0407: a part of the language that skep has not, by name.
    """
    if len(expression) > MAX_TEXT:
        raise CompileError(Diagnostic("H0401", f"the expression has more than {MAX_TEXT} characters"))
    tree = parse(expression)
    graph = Graph(TRUE if tree is None else Meaning(link, netmask).condition(tree))
    if optimised:
        optimise(graph)
    if graph.start == REJECT and keep:
        why = (f"it contradicts itself, or asks for what a link of type {link.name} does not carry",)
        raise CompileError(Diagnostic("H0408", "the expression rejects all packets", why=why))
    insns = emit(graph, keep)
    assert graph.start != ACCEPT or len(insns) == 1
    check(insns)
    return ClassicProgram(insns, link, expression)
