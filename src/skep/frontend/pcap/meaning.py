"""From what was written to what is asked: one condition on the packet's bytes.

Primitives are taken from left to right, because `vlan`, `mpls` and `pppoes` move the place where all later ones look,
wherever they stand in the expression (pcap-filter(7) says so).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from skep.frontend.pcap import names
from skep.frontend.pcap.addresses import BROADCAST, ether_address, host_or_net
from skep.frontend.pcap.arithmetic import relation
from skep.frontend.pcap.chains import protochain
from skep.frontend.pcap.conditions import (
    Condition,
    Junction,
    above,
    at_least,
    both,
    either,
    equal,
    has_bits,
    negate,
)
from skep.frontend.pcap.lexer import Token, fault, missing
from skep.frontend.pcap.links import LAYOUTS, LinkLayer
from skep.frontend.pcap.ports import port
from skep.frontend.pcap.protocols import link_payload, numbered_protocol, protocol_alone
from skep.frontend.pcap.syntax import Direction, Expression, Group, Not, Operand, Primitive, Protocol, Relation
from skep.frontend.pcap.values import MASK, Constant, PacketLength, binary
from skep.isa.classic import opcodes as op

_SLL_OUTGOING = 4


class Meaning:
    """Gives expressions their meaning, and keeps where in the packet the next primitive looks."""

    def __init__(self, link: LinkLayer, netmask: int | None = None) -> None:
        """``netmask``: of the network the packets are from, for `ip broadcast`; None: not known."""
        self.layout = LAYOUTS[link]
        self.netmask = netmask

    def condition(self, tree: Expression) -> Condition:
        """What the expression asks."""
        match tree:
            case Group(is_and, children):
                return Junction(is_and, tuple(map(self.condition, children)))
            case Not(child):
                return negate(self.condition(child))
            case Relation():
                return relation(self.layout, tree)
            case Protocol(token):
                return protocol_alone(self.layout, token)
            case Operand():
                return self._operand(tree)
            case Primitive():
                return _PRIMITIVES[tree.token.text](self, tree)

    def _operand(self, tree: Operand) -> Condition:
        kind, value = tree.qualifiers.type, tree.value
        if kind in ("port", "portrange"):
            return port(self.layout, tree)
        if kind == "proto":
            return numbered_protocol(self.layout, tree.qualifiers.protocol, tree.qualifiers.first, value)
        if kind == "protochain":
            return protochain(self.layout, tree.qualifiers.protocol, tree.qualifiers.first, value)
        if kind == "gateway":
            raise missing(
                "'gateway' needs the host's tables", tree.qualifiers.first, value, help="ether host ... and ..."
            )
        return host_or_net(self.layout, tree)

    # ---- primitives ----

    def _less(self, tree: Primitive) -> Condition:
        return negate(above(PacketLength(), _argument(tree)))

    def _greater(self, tree: Primitive) -> Condition:
        return at_least(PacketLength(), _argument(tree))

    def _byte(self, tree: Primitive) -> Condition:
        operator, token = tree.extra
        field, number = self.layout.at_frame(op.B, _argument(tree)), token.number
        if operator.text in ("&", "|"):
            code = op.AND if operator.text == "&" else op.OR
            return negate(equal(binary(code, field, Constant(number)), 0))
        if operator.text == "=":
            return equal(field, number)
        return above(field, number) if operator.text == ">" else negate(at_least(field, number))

    def _broadcast(self, tree: Primitive) -> Condition:
        protocol = tree.protocol.text if tree.protocol else ""
        if protocol in ("", "ether"):
            self._needs_ethernet(tree.token)
            return ether_address(self.layout, BROADCAST, Direction.DST)
        if protocol != "ip":
            raise fault(
                "H0406", f"'{protocol}' has no broadcasts", tree.token, help="use ether broadcast or ip broadcast"
            )
        if self.netmask is None:
            why = ("which addresses are broadcasts depends on the network's mask",)
            raise fault("H0412", "'ip broadcast' needs the network's mask", tree.token, help="--netmask", why=why)
        hosts = ~self.netmask & MASK
        target = self.layout.at_network(op.W, 16)
        is_ip = link_payload(self.layout, names.IP, tree.token)
        return both(is_ip, either(equal(target, 0, hosts), equal(target, hosts, hosts)))

    def _multicast(self, tree: Primitive) -> Condition:
        protocol = tree.protocol.text if tree.protocol else ""
        if protocol in ("", "ether"):
            self._needs_ethernet(tree.token)
            return has_bits(self.layout.at_frame(op.B, 0), 1)
        if protocol == "ip":
            return both(
                link_payload(self.layout, names.IP, tree.token), at_least(self.layout.at_network(op.B, 16), 224)
            )
        if protocol == "ip6":
            return both(link_payload(self.layout, names.IPV6, tree.token), equal(self.layout.at_network(op.B, 24), 255))
        raise fault("H0406", f"'{protocol}' has no multicasts", tree.token, help="use ether, ip or ip6 multicast")

    def _needs_ethernet(self, token: Token) -> None:
        if self.layout.link is not LinkLayer.ETHERNET:
            what = f"a link of type {self.layout.link.name} has no '{token.text}' of its own"
            raise fault("H0406", what, token, help=f"use ip {token.text}")

    def _direction(self, tree: Primitive) -> Condition:
        if self.layout.link is not LinkLayer.LINUX_SLL:
            what = f"'{tree.token.text}' is not written in captures of this link type"
            raise missing(what, tree.token, help="only a live interface (or a cooked capture) knows the direction")
        outgoing = equal(self.layout.at_frame(op.H, 0), _SLL_OUTGOING)
        return outgoing if tree.token.text == "outbound" else negate(outgoing)

    def _vlan(self, tree: Primitive) -> Condition:
        if self.layout.labels:
            raise fault("H0406", "no VLAN tag comes behind an MPLS label", tree.token)
        if self.layout.link is not LinkLayer.ETHERNET:
            raise fault("H0406", f"a link of type {self.layout.link.name} has no VLAN tags", tree.token)
        tags = (names.VLAN, names.QINQ, names.OLD_QINQ)
        tagged = either(*(link_payload(self.layout, tag, tree.token) for tag in tags))
        if tree.argument is not None:
            number = _limited(tree.argument, 0xFFF, "VLAN identifiers")
            tagged = both(tagged, equal(self.layout.at_network(op.H, 0), number, 0xFFF))
        self.layout = self.layout.behind_tag()
        return tagged

    def _mpls(self, tree: Primitive) -> Condition:
        if self.layout.labels:
            labelled = equal(self.layout.at_network(op.B, -2), 0, 1)  # another label follows the last
        elif self.layout.link is LinkLayer.ETHERNET:
            labelled = link_payload(self.layout, names.MPLS, tree.token)
        elif self.layout.link is LinkLayer.PPP:
            labelled = equal(self.layout.at_type(op.H), 0x0281)
        else:
            raise fault("H0406", f"a link of type {self.layout.link.name} has no MPLS labels", tree.token)
        if tree.argument is not None:
            number = _limited(tree.argument, 0xFFFFF, "MPLS labels")
            labelled = both(labelled, equal(self.layout.at_network(op.W, 0), number << 12, 0xFFFFF000))
        self.layout = self.layout.behind_label()
        return labelled

    def _pppoed(self, tree: Primitive) -> Condition:
        return link_payload(self.layout, names.PPPOE_DISCOVERY, tree.token)

    def _pppoes(self, tree: Primitive) -> Condition:
        session = link_payload(self.layout, names.PPPOE_SESSION, tree.token)
        if tree.argument is not None:
            number = _limited(tree.argument, 0xFFFF, "PPPoE sessions")
            session = both(session, equal(self.layout.at_network(op.W, 0), number, 0xFFFF))
        self.layout = self.layout.behind_pppoe()
        return session

    def _geneve(self, tree: Primitive) -> Condition:
        help = "find it by its port: udp dst port 6081"
        raise missing("'geneve' is not supported: its headers have no fixed length", tree.token, help=help)


def _argument(tree: Primitive) -> int:
    assert tree.argument is not None, "the parser sees to it"
    return tree.argument.number


def _limited(token: Token, most: int, what: str) -> int:
    if token.number > most:
        raise fault("H0405", f"{token.text} is too large: {what} go up to {most}", token)
    return token.number


_PRIMITIVES: Mapping[str, Callable[[Meaning, Primitive], Condition]] = {
    "less": Meaning._less,
    "greater": Meaning._greater,
    "byte": Meaning._byte,
    "broadcast": Meaning._broadcast,
    "multicast": Meaning._multicast,
    "inbound": Meaning._direction,
    "outbound": Meaning._direction,
    "vlan": Meaning._vlan,
    "mpls": Meaning._mpls,
    "pppoed": Meaning._pppoed,
    "pppoes": Meaning._pppoes,
    "geneve": Meaning._geneve,
}
