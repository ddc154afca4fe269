"""``protochain``: a protocol behind any extension headers (RFC 8200 section 4, RFC 4302), up to a number of them.

libpcap does it with a loop, which classic BPF in the kernel cannot have; here it is unrolled. A holds the number of the
next header, X its distance from the network header.
"""

from __future__ import annotations

from skep.frontend.pcap import names
from skep.frontend.pcap.conditions import FALSE, Choice, Condition, Step, both, either
from skep.frontend.pcap.lexer import Kind, Token, fault
from skep.frontend.pcap.links import Layout
from skep.frontend.pcap.protocols import link_payload
from skep.isa.classic import opcodes as op
from skep.isa.classic.instruction import ClassicInstruction as Insn

MAX_HEADERS = 6  # extension headers that are looked through
_EXTENSIONS = (0, 60, 43, 44)  # hop-by-hop, destination options, routing, fragment
_AUTHENTICATION = 51
_CELL = op.MEMORY_WORDS - 1  # arithmetic takes them from the other end


def protochain(layout: Layout, protocol: str, first: Token, value: Token) -> Condition:
    """``ip6 protochain 6``; without ip or ip6 either of them."""
    if protocol not in ("", "ip", "ip6"):
        raise fault("H0406", f"'{protocol}' has no chain of protocols", first, value, help="use ip or ip6")
    if value.kind is Kind.NUMBER:
        number = value.number
    elif value.text in names.IP_PROTOCOLS:
        number = names.IP_PROTOCOLS[value.text]
    else:
        raise fault("H0409", f"there is no protocol '{value.text}' in skep's table", value, help="give its number")
    versions = []
    base = layout.payload + layout.network
    if protocol != "ip":
        start = (Insn(op.LDX | op.IMM, 0, 0, 40), Insn(op.LD | op.ABS | op.B, 0, 0, base + 6))
        versions.append(both(link_payload(layout, names.IPV6, value), _chain(base, number, start, _EXTENSIONS)))
    if protocol != "ip6":
        start = (Insn(op.LDX | op.MSH | op.B, 0, 0, base), Insn(op.LD | op.ABS | op.B, 0, 0, base + 9))
        versions.append(both(link_payload(layout, names.IP, value), _chain(base, number, start, ())))
    return either(*versions)


def _chain(base: int, wanted: int, start: tuple[Insn, ...], extensions: tuple[int, ...]) -> Condition:
    rest: Condition = FALSE
    for _ in range(MAX_HEADERS):
        behind = either(Step(_next_header(base, add=2, times=4), wanted), rest)
        longer: Condition = Choice(Step((), _AUTHENTICATION), behind, FALSE)
        if extensions:
            behind = either(Step(_next_header(base, add=1, times=8), wanted), rest)
            longer = Choice(either(*(Step((), number) for number in extensions)), behind, longer)
        rest = longer
    return either(Step(start, wanted), rest)


def _next_header(base: int, add: int, times: int) -> tuple[Insn, ...]:
    """Go on to the next header: the length in the second byte counts ``times`` bytes, less ``add``."""
    return (
        Insn(op.LD | op.IND | op.B, 0, 0, base),
        Insn(op.ST, 0, 0, _CELL),
        Insn(op.LD | op.IND | op.B, 0, 0, base + 1),
        Insn(op.ALU | op.ADD | op.K, 0, 0, add),
        Insn(op.ALU | op.MUL | op.K, 0, 0, times),
        Insn(op.ALU | op.ADD | op.X),
        Insn(op.MISC | op.TAX),
        Insn(op.LD | op.MEM, 0, 0, _CELL),
    )
