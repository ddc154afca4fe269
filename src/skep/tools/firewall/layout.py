"""The bytes of the maps: structs of firewall.h. Sizes are checked against the program's types in the tests."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from skep.tools.firewall.classes import LEAVES, NO_RULE, TABLES, Compiled
from skep.tools.firewall.rules import Action, FragmentPolicy, Network, Rule, RuleSet
from skep.tools.firewall.spaces import Dimension
from skep.tools.names import SOURCE_PORT_SLOT

SERVICE_SLOTS = 9
PORTS = 65_536
LEAF = struct.Struct(f"={2 + TABLES}I")
COMBINATION = struct.Struct("=6I")
PLACE = struct.Struct("=3I")
RULE = struct.Struct("=2Q2I")
ACTIVE = struct.Struct("=2I")
COUNTER = struct.Struct("=2Q")
LIVE_ENTRY = struct.Struct("=2Q2I")
DECISION = struct.Struct("=16s16s2H4B2I")
U32 = struct.Struct("=I")
POLICY_HEAD = struct.Struct(f"=6I{TABLES}I")
POLICY_TAIL = struct.Struct("=7Q")

STATEFUL, DENY_NON_IP, DENY_NDP, USES_SOURCE_PORT, USES_PLACE, USES_CLOCK = 1, 2, 4, 8, 16, 32
FRAGMENTS: Mapping[FragmentPolicy, int] = {FragmentPolicy.TRACK: 0, FragmentPolicy.DENY: 1, FragmentPolicy.ALLOW: 2}
_TIMEOUTS = ("tcp_opening", "tcp", "tcp_closing", "udp", "icmp", "other", "fragment")

NO_LEAF = (NO_RULE, 0, (0,) * TABLES)


@dataclass(slots=True)
class Image:
    """Keys and values for the maps of one slot, by map name; arrays by index."""

    slot: int
    entries: dict[str, dict[bytes, bytes]] = field(default_factory=dict)

    def of(self, name: str) -> dict[bytes, bytes]:
        """The entries of one map."""
        return self.entries.setdefault(name, {})


def network_key(network: Network, slot: int) -> bytes:
    """struct network4 or network6."""
    return struct.pack("=II", 32 + network.length, slot) + network.packed


def live_key(network: Network) -> bytes:
    """struct live4 or live6."""
    return U32.pack(network.length) + network.packed


def make_image(compiled: Compiled, slot: int, rule_room: int, interfaces: Mapping[str, int]) -> Image:
    """All that a slot needs; ``interfaces`` gives the number of each name that a rule mentions."""
    image = Image(slot)
    leaves = [_leaves_of(compiled, dimension) for dimension in Dimension]
    for dimension, name in ((Dimension.SOURCE, "sources"), (Dimension.DESTINATION, "targets")):
        encoded = [LEAF.pack(rule, tables, *classes) for rule, tables, classes in leaves[dimension]]
        tries = {4: image.of(name + "4"), 6: image.of(name + "6")}
        for network, signature in compiled.spaces[dimension].leaves.items():
            assert isinstance(network, Network)
            tries[network.family][network_key(network, slot)] = encoded[signature]
    _put_small_spaces(image, compiled, leaves, interfaces)
    combinations = image.of("combinations")
    for number, table in enumerate(compiled.tables):
        where = number * 2 + slot
        for key, rule in table.entries.items():
            combinations[COMBINATION.pack(where, *key)] = U32.pack(rule)
    rules = image.of("rules")
    for number, written in enumerate(compiled.rules.rules):
        rules[U32.pack(slot * rule_room + number)] = _rule(written)
    image.of("policies")[U32.pack(slot)] = _policy(compiled, [group[0] for group in leaves])
    return image


def _rule(rule: Rule) -> bytes:
    if rule.rate is None:
        return RULE.pack(0, 0, rule.action, 0)
    return RULE.pack(rule.rate.interval_ns, rule.rate.burst_ns, rule.action, 0)


def _leaves_of(compiled: Compiled, dimension: int) -> list[tuple[int, int, tuple[int, ...]]]:
    """(first single rule, tables, classes) of each signature of a dimension."""
    singles = compiled.singles[dimension]
    result = []
    for signature, rule in enumerate(singles):
        mask, classes = 0, [0] * TABLES
        for number, table in enumerate(compiled.tables):
            class_of = table.classes[dimension]
            classes[number] = class_of.get(signature, 0) if class_of is not None else 0
            if classes[number] or table.open_dimensions[dimension]:
                mask |= 1 << number
        if dimension == Dimension.PLACE:
            rule = min(rule, compiled.catch_all)
        result.append((rule, mask, tuple(classes)))
    return result


def _put_small_spaces(
    image: Image,
    compiled: Compiled,
    leaves: list[list[tuple[int, int, tuple[int, ...]]]],
    interfaces: Mapping[str, int],
) -> None:
    """Services, source ports and places: their leaves lie in one array, one behind the other."""
    array = image.of("leaves")
    base = {}
    used = 0
    for dimension in (Dimension.SERVICE, Dimension.SOURCE_PORT, Dimension.PLACE):
        base[dimension] = used
        for rule, tables, classes in leaves[dimension]:
            array[U32.pack(image.slot * LEAVES + used)] = LEAF.pack(rule, tables, *classes)
            used += 1
    ports = [[base[Dimension.SERVICE]] * PORTS for _ in range(SOURCE_PORT_SLOT)]
    ports.append([base[Dimension.SOURCE_PORT]] * PORTS)
    for dimension in (Dimension.SERVICE, Dimension.SOURCE_PORT):
        for (table, low, high), signature in compiled.spaces[dimension].leaves.items():
            row = ports[SOURCE_PORT_SLOT if dimension == Dimension.SOURCE_PORT else table]
            row[low : high + 1] = [base[dimension] + signature] * (high + 1 - low)
    for table, row in enumerate(ports):
        image.of("services")[U32.pack(image.slot * SERVICE_SLOTS + table)] = struct.pack(f"={PORTS}H", *row)
    places = image.of("places")
    for (name, direction), signature in compiled.spaces[Dimension.PLACE].leaves.items():
        key = PLACE.pack(image.slot, interfaces[name] if name else 0, direction)
        places[key] = U32.pack(base[Dimension.PLACE] + signature)


def _policy(compiled: Compiled, absent: list[tuple[int, int, tuple[int, ...]]]) -> bytes:
    rules = compiled.rules
    flags = (
        (STATEFUL if rules.stateful else 0)
        | (DENY_NON_IP if rules.non_ip is Action.DENY else 0)
        | (DENY_NDP if rules.ndp is Action.DENY else 0)
        | (USES_SOURCE_PORT if compiled.spaces[Dimension.SOURCE_PORT].count else 0)
        | (USES_PLACE if compiled.spaces[Dimension.PLACE].count else 0)
        | (USES_CLOCK if rules.stateful or any(rule.rate for rule in rules.rules) else 0)
    )
    first = [table.rules[0] for table in compiled.tables]
    first += [NO_RULE] * (TABLES - len(first))
    head = POLICY_HEAD.pack(1, flags, *rules.defaults, FRAGMENTS[rules.fragments], 0, *first)
    leaves = b"".join(LEAF.pack(rule, tables, *classes) for rule, tables, classes in absent)
    return head + leaves + POLICY_TAIL.pack(*(rules.timeouts[name] * 1_000_000_000 for name in _TIMEOUTS))


def decisions(memory: memoryview, count: int) -> Iterator[tuple[bytes, bytes, int, int, int, int, int, int, int, int]]:
    """The trace: source, destination, ports, protocol, family, action, reason, rule, length of each packet."""
    return DECISION.iter_unpack(memory[: count * DECISION.size])


def named_interfaces(rules: RuleSet) -> list[str]:
    """The interfaces that rules speak of."""
    return sorted({name for rule in rules.rules for name in rule.interfaces or ()})
