"""Ports: ``tcp dst port 443``, ``portrange 6000-6010``. IPv4 fragments but the first carry none."""

from __future__ import annotations

from collections.abc import Callable

from skep.frontend.pcap import names
from skep.frontend.pcap.addresses import towards
from skep.frontend.pcap.conditions import Condition, above, at_least, both, either, equal, has_bits, negate
from skep.frontend.pcap.lexer import Kind, Token, fault
from skep.frontend.pcap.links import Layout
from skep.frontend.pcap.protocols import SCTP, TCP, UDP, link_payload
from skep.frontend.pcap.syntax import Operand
from skep.frontend.pcap.values import Value
from skep.isa.classic import opcodes as op

FRAGMENT_OFFSET = 0x1FFF
_PROTOCOLS = {"": (TCP, UDP, SCTP), "tcp": (TCP,), "udp": (UDP,), "sctp": (SCTP,)}
_BY_NAME = {"tcp": (TCP,), "udp": (UDP,), "both": (TCP, UDP, SCTP)}


def first_fragment(layout: Layout) -> Condition:
    """Not a later fragment of an IPv4 packet."""
    return negate(has_bits(layout.at_network(op.H, 6), FRAGMENT_OFFSET))


def port(layout: Layout, operand: Operand) -> Condition:
    """A primitive of type port or portrange."""
    qualifiers, value = operand.qualifiers, operand.value
    if operand.mask is not None:
        raise fault("H0411", "a port has no mask", value, operand.mask)
    if qualifiers.protocol not in _PROTOCOLS:
        what = f"'{qualifiers.protocol}' has no ports"
        raise fault("H0411", what, qualifiers.first, value, help="ports are those of tcp, udp and sctp")
    numbers, protocols = _PROTOCOLS[qualifiers.protocol], None
    if qualifiers.type == "portrange" and value.kind is Kind.NAME:
        low, high, protocols = _range(value)
    else:
        low, protocols = _number(value, value.text)
        high = low
    if protocols is not None:
        common = tuple(number for number in numbers if number in protocols)
        if not common:
            known = {TCP: "tcp", UDP: "udp"}[protocols[0]]
            raise fault("H0411", f"the port '{value.text}' is one of {known}", value, help="give its number")
        numbers = common
    test = _is(low) if low == high else _between(low, high)
    return _ported(layout, operand, numbers, test)


def _number(token: Token, text: str) -> tuple[int, tuple[int, ...] | None]:
    """A port, and the protocols of a service that has a name."""
    if text.isdigit() or token.kind is Kind.NUMBER:
        number = token.number if text == token.text and token.kind is Kind.NUMBER else int(text[:9])
        if number > 65535:
            raise fault("H0411", f"{text} is not a port: they go up to 65535", token)
        return number, None
    if token.kind is not Kind.NAME:
        raise fault("H0411", f"'{token.text}' is not a port", token)
    if text not in names.SERVICES:
        raise fault("H0409", f"there is no service '{text}' in skep's table", token, help="give the port's number")
    number, kind = names.SERVICES[text]
    return number, _BY_NAME[kind]


def _range(token: Token) -> tuple[int, int, tuple[int, ...] | None]:
    """``80-90``; both ends may be names, which may have dashes too."""
    text = token.text
    cuts = [at for at, letter in enumerate(text) if letter == "-"]
    for at in cuts:
        ends = text[:at], text[at + 1 :]
        if all(end.isdigit() or end in names.SERVICES for end in ends):
            (low, first), (high, second) = (_number(token, end) for end in ends)
            protocols = first if second is None else second if first is None else None
            if first is not None and second is not None:
                protocols = tuple(number for number in first if number in second) or first
            return min(low, high), max(low, high), protocols
    if not cuts:
        number, protocols = _number(token, text)
        return number, number, protocols
    raise fault("H0411", f"'{text}' is not a range of ports", token, help="e.g. portrange 6000-6010")


Test = Callable[[Value], Condition]


def _is(number: int) -> Test:
    return lambda value: equal(value, number)


def _between(low: int, high: int) -> Test:
    return lambda value: both(at_least(value, low), negate(above(value, high)))


def _ported(layout: Layout, operand: Operand, protocols: tuple[int, ...], test: Test) -> Condition:
    direction, token = operand.qualifiers.direction, operand.value

    def ipv6(is_source: bool) -> Condition:
        return test(layout.at_network(op.H, 40 if is_source else 42))

    def ipv4(is_source: bool) -> Condition:
        return test(layout.at_transport(op.H, 0 if is_source else 2))

    def one_of(field: Value) -> Condition:
        return either(*(equal(field, number) for number in protocols))

    behind_ip6 = both(
        link_payload(layout, names.IPV6, token),
        one_of(layout.at_network(op.B, 6)),
        towards(direction, ipv6),
    )
    behind_ip = both(
        link_payload(layout, names.IP, token),
        one_of(layout.at_network(op.B, 9)),
        first_fragment(layout),
        towards(direction, ipv4),
    )
    return either(behind_ip6, behind_ip)
