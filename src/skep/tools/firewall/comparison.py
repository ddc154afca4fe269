"""Two rule sets over the same packets: what would change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import skep
from skep.tools.firewall.decisions import Decision
from skep.tools.firewall.firewall import MAX_TRACED, Firewall, interface_names
from skep.tools.firewall.rules import RuleSet


@dataclass(frozen=True, slots=True)
class Difference:
    """A packet (from 1, as in the capture) that one rule set passes and the other does not."""

    packet: int
    before: Decision
    after: Decision


@dataclass(frozen=True, slots=True)
class Comparison:
    """The differences; ``compared`` of ``packets`` packets were looked at."""

    packets: int
    compared: int
    differences: tuple[Difference, ...]


def capture_interfaces(rules: tuple[RuleSet, ...], interface: str | None) -> dict[str, int]:
    """Numbers for the interfaces that rules name; the capture comes from number 1, which is ``interface``."""
    names = interface_names(rules)
    numbers = {name: number for number, name in enumerate(names, 2)}
    if interface is not None:
        numbers[interface] = 1
    return numbers


def compare(before: RuleSet, after: RuleSet, pcap: Path, interface: str | None = None) -> Comparison:
    """Run both over a capture, by the capture's own clock.

    Raises:
        SkepError: a rule set that cannot be laid out, a capture that cannot be read.
    """
    interfaces = capture_interfaces((before, after), interface)
    total, first = _decide(before, pcap, interfaces)
    _, second = _decide(after, pcap, interfaces)
    differences = tuple(
        Difference(number, one, other)
        for number, (one, other) in enumerate(zip(first, second, strict=True), 1)
        if one.action is not other.action
    )
    return Comparison(total, len(first), differences)


def _decide(rules: RuleSet, pcap: Path, interfaces: Mapping[str, int]) -> tuple[int, list[Decision]]:
    with Firewall(rules, interfaces=interfaces, traced=MAX_TRACED) as firewall:
        run = firewall.run(skep.hooks.Pcap(pcap, clock="capture"))
        return run.packets, list(firewall.decisions())
