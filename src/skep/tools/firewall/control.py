"""What a running firewall can be asked through its control socket."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skep.tools.control import Verb
from skep.tools.firewall.firewall import Firewall
from skep.tools.firewall.layout import named_interfaces
from skep.tools.firewall.rulefile import read_rules
from skep.tools.firewall.rules import RuleSet
from skep.tools.firewall.words import parse_network


def interface_numbers(rules: RuleSet) -> dict[str, int]:
    """The numbers of the interfaces that rules speak of, of those that exist."""
    there = {name: number for number, name in socket.if_nameindex()}
    return {name: there[name] for name in named_interfaces(rules) if name in there}


class Control:
    """The verbs of a running firewall."""

    def __init__(self, firewall: Firewall, rule_file: Path) -> None:
        self.firewall = firewall
        self.rule_file = rule_file

    @property
    def verbs(self) -> Mapping[str, Verb]:
        """What can be asked, by name."""
        return {
            "deny": lambda request: self.firewall.deny(parse_network(request["network"])),
            "allow": lambda request: self.firewall.allow(parse_network(request["network"])),
            "forget": lambda request: self.firewall.forget(parse_network(request["network"])),
            "cut": lambda request: self.firewall.forget_connections(),
            "reload": self.reload,
            "counters": lambda request: counts(self.firewall),
        }

    def reload(self, request: Mapping[str, Any] | None = None) -> int:
        """Put the rule file in force again, or the one that the request names. Returns the number of rules."""
        file = Path((request or {}).get("file") or self.rule_file)
        rules = read_rules(file)
        self.firewall.replace(rules, interface_numbers(rules))
        self.rule_file = file
        return len(rules.rules)

    def reread(self) -> str:
        """Reload; what to tell the user."""
        return f"{self.rule_file}: {self.reload()} rules in force"


def counts(firewall: Firewall) -> dict[str, Any]:
    """All counters as plain values: reasons, events, rules, live entries."""
    return {
        "reasons": {name: count.plain() for name, count in firewall.reasons().items()},
        "events": {name: count.plain() for name, count in firewall.events().items()},
        "rules": [
            {"line": rule.line, "name": rule.name or rule.text, **count.plain()}
            for rule, count in zip(firewall.rules.rules, firewall.counters(), strict=True)
        ],
        "live": [
            {"network": str(network), "action": action.name.lower(), **count.plain()}
            for network, (action, count) in firewall.live_entries().items()
        ],
    }
