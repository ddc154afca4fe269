"""Rule files: YAML to a RuleSet. Every error names the line; all errors of a file come at once (up to 20)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from skep.errors import InputError
from skep.tools.firewall import words
from skep.tools.firewall.pauses import without_collection
from skep.tools.firewall.rules import (
    TIMEOUTS,
    Action,
    Direction,
    FragmentPolicy,
    Network,
    Rate,
    Rule,
    RuleSet,
    Service,
)
from skep.tools.names import WITH_PORTS, protocol_name
from skep.tools.words import parse_interface, text_of
from skep.tools.yaml_reader import BOOLEANS, YamlReader, read_text
from skep.tools.yaml_text import YamlList, YamlMap, read_yaml

FILE_KEYS = ("default", "stateful", "non_ip", "ndp", "fragments", "timeouts", "rules")
RULE_KEYS = ("from", "to", "proto", "port", "sport", "icmp", "interface", "direction", "rate", "burst", "name")
ACTIONS = {"allow": Action.ALLOW, "deny": Action.DENY}
DIRECTIONS = {"in": Direction.IN, "out": Direction.OUT}


def read_rules(path: Path) -> RuleSet:
    """Read a rule file.

    Raises:
        InputError: it cannot be read, or not understood; one diagnostic for each finding.
    """
    text = read_text(path, "a rule file")
    return parse_rules(text, str(path))


def parse_rules(text: str, file: str = "<rules>") -> RuleSet:
    """Understand the text of a rule file; as :func:`read_rules`."""
    with without_collection():
        return _Reader(file, text).read(read_yaml(text, file))


class _Reader(YamlReader):
    """One walk over one rule file."""

    def __init__(self, file: str, text: str) -> None:
        super().__init__(file, text)
        self.networks: dict[str, Network] = {}

    def read(self, document: Any) -> RuleSet:
        if not isinstance(document, YamlMap):
            self.find("F0110", "a rule file is a mapping with 'default:' and 'rules:'", 1, "see docs/tools/firewall.md")
            raise InputError(self.findings)
        self.known(document, FILE_KEYS, "in a rule file")
        if "default" not in document:
            help = "write default: deny, or default: {in: deny, out: allow}"
            self.find("F0111", "what happens to packets that no rule matches is not said", 1, help)
        rules = tuple(self.rules(document))
        defaults = self.value(document, "default", self.defaults, (Action.DENY, Action.DENY))
        result = RuleSet(
            rules,
            defaults,
            self.value(document, "stateful", lambda item: self.word(item, BOOLEANS), False),
            self.value(document, "non_ip", lambda item: self.word(item, ACTIONS), Action.ALLOW),
            self.value(document, "ndp", lambda item: self.word(item, ACTIONS), Action.ALLOW),
            self.value(
                document, "fragments", lambda item: FragmentPolicy(self.word(item, _FRAGMENTS)), FragmentPolicy.TRACK
            ),
            self.timeouts(document, TIMEOUTS),
            self.file,
        )
        self.finish()
        return result

    # ---- the policy ----

    def defaults(self, item: Any) -> tuple[Action, Action]:
        if isinstance(item, YamlMap):
            self.known(item, tuple(DIRECTIONS), "under default")
            if set(item) != set(DIRECTIONS):
                raise ValueError("it says nothing about one direction; write {in: deny, out: allow}")
            return self.word(item["in"], ACTIONS), self.word(item["out"], ACTIONS)
        action = self.word(item, ACTIONS)
        return action, action

    # ---- rules ----

    def rules(self, document: YamlMap) -> Iterable[Rule]:
        items = document.get("rules")
        if items is None or items == "":
            return
        if not isinstance(items, YamlList):
            self.find("F0114", "rules: a list belongs here", document.lines["rules"], "start each rule with '- '")
            return
        for item, line in zip(items, items.lines, strict=True):
            rule = self.rule(item, line)
            if rule is not None:
                yield rule

    def rule(self, item: Any, line: int) -> Rule | None:
        help = "write - allow: {...} or - deny: {...}"
        if not isinstance(item, YamlMap) or len(item) != 1:
            self.find("F0115", "a rule has one key: allow or deny", line, help)
            return None
        ((verb, body),) = item.items()
        if verb not in ACTIONS:
            self.find("F0115", f"a rule does not begin with '{verb}'", line, help)
            return None
        text = self.lines[line - 1].strip().removeprefix("- ")
        if body == "any":
            return Rule(ACTIONS[verb], line=line, text=text)
        if not isinstance(body, YamlMap):
            self.find("F0115", f"behind {verb}: a mapping or the word any", line, help)
            return None
        self.known(body, RULE_KEYS, "in a rule")
        if not body:
            self.find("F0115", "a rule that asks for nothing matches everything", line, f"then write {verb}: any")
        before = len(self.findings)
        rule = Rule(
            ACTIONS[verb],
            self.value(body, "from", self.network_list, None),
            self.value(body, "to", self.network_list, None),
            self.services(body, line),
            self.source_ports(body, line),
            self.value(body, "interface", _interfaces, None),
            self.value(body, "direction", lambda value: self.word(value, DIRECTIONS), None),
            self.rate(body, ACTIONS[verb], line),
            self.value(body, "name", text_of, ""),
            line,
            text,
        )
        if len(self.findings) > before:
            return None
        self.check_families(rule, line)
        return rule

    def network_list(self, item: Any) -> tuple[Network, ...]:
        known = self.networks
        found = []
        for text in _texts(item):
            network = known.get(text)
            if network is None:
                network = known[text] = words.parse_network(text)
            found.append(network)
        return tuple(found)

    def services(self, body: YamlMap, line: int) -> tuple[Service, ...] | None:
        if "proto" not in body:
            for key in ("port", "sport", "icmp"):
                if key in body:
                    help = f"add proto: {'icmp' if key == 'icmp' else 'tcp, or proto: [tcp, udp]'}"
                    self.find("F0116", f"'{key}' without 'proto'", body.lines[key], help)
            return None
        protocols: tuple[int, ...] = self.value(body, "proto", _protocols, ())
        if "icmp" in body:
            return self.icmp_services(body, protocols)
        if "port" in body:
            wrong = [protocol_name(number) for number in protocols if number not in WITH_PORTS]
            if wrong:
                self.find("F0116", f"{', '.join(wrong)} has no ports", body.lines["port"], "make two rules of it")
                return None
            none: tuple[tuple[int, int], ...] = ()
            ranges = self.value(body, "port", _port_ranges, none)
            return tuple(Service(number, low, high) for number in protocols for low, high in ranges)
        return tuple(Service(number) for number in protocols)

    def icmp_services(self, body: YamlMap, protocols: tuple[int, ...]) -> tuple[Service, ...] | None:
        line = body.lines["icmp"]
        if "port" in body or len(protocols) != 1 or not words.is_icmp(protocols[0]):
            self.find("F0116", "'icmp' goes with proto: icmp or proto: icmpv6 alone, and without 'port'", line)
            return None

        def read(item: Any) -> tuple[Service, ...]:
            return tuple(Service(protocols[0], *words.parse_icmp(text, protocols[0])) for text in _texts(item))

        return self.value(body, "icmp", read, None)

    def source_ports(self, body: YamlMap, line: int) -> tuple[tuple[int, int], ...] | None:
        if "sport" not in body or "proto" not in body:
            return None
        protocols: tuple[int, ...] = self.value(body, "proto", _protocols, ())
        if any(number not in WITH_PORTS for number in protocols):
            self.find("F0116", "'sport' with a protocol that has no ports", body.lines["sport"])
        return self.value(body, "sport", _port_ranges, None)

    def rate(self, body: YamlMap, action: Action, line: int) -> Rate | None:
        if "rate" not in body:
            if "burst" in body:
                self.find("F0117", "'burst' without 'rate'", body.lines["burst"], "add rate: 100/s")
            return None
        if action is Action.DENY:
            help = "write - allow: {..., rate: ...}: what is over the rate is denied"
            self.find("F0117", "a rate belongs to an allow rule", body.lines["rate"], help)
        burst = body.get("burst")
        return self.value(body, "rate", lambda item: words.parse_rate(text_of(item), burst and text_of(burst)), None)

    def check_families(self, rule: Rule, line: int) -> None:
        families: set[int] = {4, 6}
        for networks in (rule.sources, rule.destinations):
            if networks is not None:
                families &= {network.family for network in networks}
        if rule.services is not None and all(service.protocol in (1, 58) for service in rule.services):
            families &= {4 if service.protocol == 1 else 6 for service in rule.services}
        if not families:
            self.find("F0118", "no packet can match: IPv4 here, IPv6 there", line, "make two rules of it")


_FRAGMENTS = {policy.value: policy.value for policy in FragmentPolicy}


def _texts(item: Any) -> list[str]:
    items = item if isinstance(item, list) else [item]
    if not items:
        raise ValueError("an empty list matches nothing; leave it out to match everything")
    return [text_of(each) for each in items]


def _protocols(item: Any) -> tuple[int, ...]:
    return tuple(dict.fromkeys(words.parse_protocol(text) for text in _texts(item)))


def _port_ranges(item: Any) -> tuple[tuple[int, int], ...]:
    return tuple(words.parse_ports(text) for text in _texts(item))


def _interfaces(item: Any) -> tuple[str, ...]:
    return tuple(map(parse_interface, _texts(item)))
