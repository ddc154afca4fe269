"""Comparisons of numbers: ``ip[2:2] - 20 > 100``. Bytes of a protocol come with the test that it is there."""

from __future__ import annotations

from skep.frontend.pcap import names
from skep.frontend.pcap.conditions import Condition, both, compare, equal, negate
from skep.frontend.pcap.lexer import Token, fault, missing
from skep.frontend.pcap.links import Layout
from skep.frontend.pcap.ports import first_fragment
from skep.frontend.pcap.protocols import ICMP6, LINK_PAYLOADS, link_payload, protocol_alone
from skep.frontend.pcap.syntax import Arithmetic, Calculation, Length, Number, PacketBytes, Relation
from skep.frontend.pcap.values import Constant, PacketLength, Value, binary, negative
from skep.isa.classic import opcodes as op

_SIZES = {1: op.B, 2: op.H, 4: op.W}
_OPERATORS = {
    "+": op.ADD, "-": op.SUB, "*": op.MUL, "/": op.DIV, "%": op.MOD, "&": op.AND, "|": op.OR, "^": op.XOR,
    "<<": op.LSH, ">>": op.RSH,
}  # fmt: skip
#: Sign -> (test, whether the opposite is meant).
_RELATIONS = {
    "=": (op.JEQ, False), "!=": (op.JEQ, True), ">": (op.JGT, False), "<=": (op.JGT, True), ">=": (op.JGE, False),
    "<": (op.JGE, True),
}  # fmt: skip
_IN_IPV4 = frozenset(("tcp", "udp", "sctp", "icmp", "igmp", "igrp", "pim", "vrrp", "carp"))
_AT_NETWORK = frozenset(("atalk", "aarp", "decnet", "ip", "arp", "rarp", "lat", "sca", "moprc", "mopdl", "ip6"))

Guarded = tuple[Value, Condition | None]


def relation(layout: Layout, tree: Relation) -> Condition:
    """A comparison; without the protocols it reads it is false, whatever the sign."""
    left, left_guard = _value(layout, tree.left)
    right, right_guard = _value(layout, tree.right)
    code, is_opposite = _RELATIONS[tree.operator.text]
    test = compare(code, left, right)
    if is_opposite:
        test = negate(test)
    return both(left_guard, right_guard, test)


def _value(layout: Layout, tree: Arithmetic) -> Guarded:
    match tree:
        case Number(value=number):
            return Constant(number), None
        case Length():
            return PacketLength(), None
        case Calculation(left=None, right=right):
            operand, guard = _value(layout, right)
            return negative(operand), guard
        case Calculation():
            return _calculation(layout, tree)
        case PacketBytes():
            return _packet_bytes(layout, tree)


def _calculation(layout: Layout, tree: Calculation) -> Guarded:
    """A chain ``a + b + c`` leans to the left and may be long: no recursion along it."""
    chain: list[Calculation] = []
    first: Arithmetic = tree
    while isinstance(first, Calculation) and first.left is not None:
        chain.append(first)
        first = first.left
    result, guard = _value(layout, first)
    for step in reversed(chain):
        right, right_guard = _value(layout, step.right)
        code = _OPERATORS[step.operator.text]
        _check_constant(code, right, step.operator)
        result = binary(code, result, right)
        guard = both(guard, right_guard) if guard is not None or right_guard is not None else None
    return result, guard


def _check_constant(code: int, right: Value, operator: Token) -> None:
    if not isinstance(right, Constant):
        return
    if code in (op.DIV, op.MOD) and right.value == 0:
        raise fault("H0405", "it divides by zero", operator)
    if code in (op.LSH, op.RSH) and right.value > 31:
        raise fault("H0405", f"it shifts by {right.value} bits, more than 31", operator)


def _packet_bytes(layout: Layout, tree: PacketBytes) -> Guarded:
    """``proto[index:size]`` with the test that the packet has that protocol."""
    name, token, size = tree.protocol.text, tree.protocol, _SIZES[tree.size]
    index, guard = _value(layout, tree.index)
    if name == "ether":
        return layout.at_frame(size, 0, index), guard
    if name in _AT_NETWORK:
        there = link_payload(layout, LINK_PAYLOADS[name], token)
        return layout.at_network(size, 0, index), both(guard, there)
    if name in _IN_IPV4:
        is_ip = link_payload(layout, names.IP, token)
        carries = both(protocol_alone(layout, token), first_fragment(layout))
        return layout.at_transport(size, 0, index), both(is_ip, guard, carries)
    if name == "icmp6":
        is_ip6 = link_payload(layout, names.IPV6, token)
        carries = equal(layout.at_network(op.B, 6), ICMP6)
        return layout.at_network(size, 40, index), both(guard, is_ip6, carries)
    raise missing(f"bytes of '{name}' cannot be addressed", token, help="use ether[...], ip[...], tcp[...] and others")
