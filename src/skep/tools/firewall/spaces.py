"""The five things a rule can ask for, each as a line of leaves: pieces of its values that no rule tells apart.

A *predicate* is what one rule asks of one dimension (a tuple of networks, of services, ...); equal ones are one. A
*leaf* is what a packet's value is looked up as; its *signature* says which predicates it answers. Leaves with the same
signature are the same to every rule.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import chain
from typing import Any

from skep.tools.firewall.rules import Direction, Network, Rule
from skep.tools.names import SERVICE_SLOTS

Signature = tuple[int, ...]


class Dimension(IntEnum):
    """enum dimension, firewall.h."""

    SOURCE = 0
    DESTINATION = 1
    SERVICE = 2
    SOURCE_PORT = 3
    PLACE = 4


@dataclass(slots=True)
class Space:
    """One dimension of a rule set.

    Attributes:
        predicates: of each rule, the number of its predicate (None: the rule does not ask).
        count: of predicates.
        signatures: the distinct ones; number 0 is the empty one.
        leaves: where each leaf lies -> the number of its signature. Networks for addresses; (table, low, high) for
            services and source ports; (interface, direction) for places.
    """

    predicates: list[int | None]
    count: int
    signatures: list[Signature] = field(default_factory=lambda: [()])
    leaves: dict[Any, int] = field(default_factory=dict)
    numbers: dict[Signature, int] = field(default_factory=lambda: {(): 0})

    def add(self, place: Hashable, signature: Signature) -> None:
        """A leaf answers these predicates."""
        number = self.numbers.get(signature)
        if number is None:
            number = self.numbers[signature] = len(self.signatures)
            self.signatures.append(signature)
        self.leaves[place] = number


def make_spaces(rules: Sequence[Rule]) -> tuple[Space, ...]:
    """The spaces of all dimensions, in their order."""
    return (
        _networks([rule.sources for rule in rules]),
        _networks([rule.destinations for rule in rules]),
        _services([rule.services for rule in rules]),
        _source_ports([rule.source_ports for rule in rules]),
        _places(rules),
    )


def _number(asked: Iterable[Hashable | None]) -> tuple[list[int | None], dict[Any, int]]:
    numbers: dict[Any, int] = {}
    return [None if each is None else numbers.setdefault(each, len(numbers)) for each in asked], numbers


def _networks(asked: Sequence[tuple[Network, ...] | None]) -> Space:
    predicates, numbers = _number(asked)
    space = Space(predicates, len(numbers))
    owners: dict[Network, list[int]] = defaultdict(list)
    for networks, number in numbers.items():
        for network in dict.fromkeys(networks):
            owners[network].append(number)
    # In this order every network comes after those that contain it.
    open_networks: list[tuple[Network, Signature]] = []
    for network in sorted(owners, key=lambda each: (each.family, each.address, each.length)):
        while open_networks and not open_networks[-1][0].contains(network):
            open_networks.pop()
        own = owners[network]
        outer = open_networks[-1][1] if open_networks else ()
        signature = tuple(sorted({*outer, *own})) if outer else tuple(own)
        open_networks.append((network, signature))
        space.add(network, signature)
    return space


def _lines(space: Space, ranges: Mapping[int, list[tuple[int, int, int]]]) -> Space:
    """Ranges (low, high, predicate) of each table, cut where one begins or ends."""
    for table, found in ranges.items():
        starts: dict[int, list[int]] = defaultdict(list)
        ends: dict[int, list[int]] = defaultdict(list)
        for low, high, number in found:
            starts[low].append(number)
            ends[high + 1].append(number)
        cuts = sorted({*starts, *ends})
        depth: dict[int, int] = defaultdict(int)
        for low, following in zip(cuts, chain(cuts[1:], (cuts[-1],)), strict=True):
            for number in ends.get(low, ()):
                depth[number] -= 1
                if not depth[number]:
                    del depth[number]
            for number in starts.get(low, ()):
                depth[number] += 1
            if depth:
                space.add((table, low, following - 1), tuple(sorted(depth)))
    return space


def _services(asked: Sequence[tuple[Hashable, ...] | None]) -> Space:
    predicates, numbers = _number(asked)
    ranges: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
    for services, number in numbers.items():
        for service in services:
            table = SERVICE_SLOTS.get(service.protocol, 0)
            low, high = (service.low, service.high) if table else (service.protocol, service.protocol)
            ranges[table].append((low, high, number))
    return _lines(Space(predicates, len(numbers)), ranges)


def _source_ports(asked: Sequence[tuple[tuple[int, int], ...] | None]) -> Space:
    predicates, numbers = _number(asked)
    found = [(low, high, number) for ports, number in numbers.items() for low, high in ports]
    return _lines(Space(predicates, len(numbers)), {0: found} if found else {})


def _places(rules: Sequence[Rule]) -> Space:
    asked = [
        None if rule.interfaces is None and rule.direction is None else (rule.interfaces, rule.direction)
        for rule in rules
    ]
    predicates, numbers = _number(asked)
    space = Space(predicates, len(numbers))
    names = {name for rule in rules for name in rule.interfaces or ()}
    for name in sorted({"", *names}) if numbers else ():
        for direction in Direction:
            answered = [
                number
                for (interfaces, way), number in numbers.items()
                if (interfaces is None or name in interfaces) and way in (None, direction)
            ]
            space.add((name, direction), tuple(answered))
    return space
