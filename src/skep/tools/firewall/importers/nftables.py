"""What ``nft -s list ruleset`` prints: base chains at the hooks input and output, and named sets of addresses and
ports.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from skep.tools.firewall.importers.draft import CannotSayError, FileDraft, Imported, RuleDraft, read_lines

_TOKEN = re.compile(r'"[^"]*"|[{},;]|!=|[<>=]=?|[^\s{},;"]+')
_HOOKS = {"input": "in", "output": "out"}
_VERBS = {"accept": "allow", "drop": "deny", "reject": "deny"}
_REPLIES = {"established", "related"}
_FAMILIES = {"ip": 4, "ip6": 6, "inet": 0}
_ICMPV6 = {"ipv6-icmp": "icmpv6", "icmp6": "icmpv6"}


@dataclass
class _Chain:
    name: str
    family: str
    direction: str | None = None
    why_not: str = "only chains at the hooks input and output are read; jumps are not followed"


@dataclass
class _Place:
    """Where in the file: table, chain or set."""

    family: str = ""
    chain: _Chain | None = None
    set_name: str | None = None
    sets: dict[str, list[str]] = field(default_factory=dict)


def read_nftables(path: Path) -> Imported:
    """The rules of every table, in the order of the file."""
    draft = FileDraft(str(path))
    lines = read_lines(path)
    sets = _read_sets(lines)
    place = _Place()
    for number, text in _statements(lines):
        try:
            _statement(draft, place, sets, number, text)
        except CannotSayError as error:
            draft.leave_out(number, text, str(error))
    return draft.done()


def _statements(lines: list[str]) -> Iterator[tuple[int, str]]:
    """Lines, those inside inner braces put together; with the number of their first."""
    held, start, depth = "", 0, 0
    for number, line in enumerate(lines, 1):
        text = line.split("#", 1)[0].strip() if '"' not in line else line.strip()
        if not text or text.startswith("#"):
            continue
        opens_block = re.match(r"(table|chain|set|map|flowtable)\b.*\{$", text) is not None and not depth
        if opens_block or (text == "}" and not depth):
            yield number, text
            continue
        if not depth:
            held, start = "", number
        held += " " + text
        depth += text.count("{") - text.count("}")
        if depth <= 0:
            depth = 0
            yield start, held.strip()


def _read_sets(lines: list[str]) -> dict[str, list[str]]:
    """Elements of named sets."""
    sets: dict[str, list[str]] = {}
    name = None
    for _, text in _statements(lines):
        if match := re.match(r"set (\S+) \{$", text):
            name = match.group(1)
            sets[name] = []
        elif name and text.startswith("elements"):
            sets[name] += [word for word in _TOKEN.findall(text)[2:] if word not in "{},"]
        elif text == "}":
            name = None
    return sets


def _statement(draft: FileDraft, place: _Place, sets: dict[str, list[str]], number: int, text: str) -> None:
    if text == "}":
        if place.set_name is not None:
            place.set_name = None
        elif place.chain is not None:
            place.chain = None
        else:
            place.family = ""
        return
    if match := re.match(r"table (\S+) (\S+) \{$", text):
        place.family = match.group(1)
        return
    if match := re.match(r"(set|map|flowtable) (\S+) \{$", text):
        place.set_name = match.group(2)
        if match.group(1) != "set":
            raise CannotSayError(f"a {match.group(1)} has no word in rule files")
        return
    if place.set_name is not None:
        return
    if match := re.match(r"chain (\S+) \{$", text):
        place.chain = _Chain(match.group(1), place.family)
        return
    if place.chain is None:
        raise CannotSayError("it stands outside of a chain")
    if match := re.match(r"type (\S+) hook (\S+)(?:.*policy (\w+))?", text):
        _base_chain(draft, place.chain, *match.groups())
        return
    if place.chain.direction is None:
        raise CannotSayError(f"chain '{place.chain.name}': {place.chain.why_not}")
    if place.family not in _FAMILIES:
        raise CannotSayError(f"tables of family '{place.family}' are not read")
    _rule(draft, place.chain, sets, number, text)


def _base_chain(draft: FileDraft, chain: _Chain, kind: str, hook: str, policy: str | None) -> None:
    if kind != "filter" or hook not in _HOOKS:
        chain.why_not = f"a {kind} chain at the hook {hook}; only filter chains at input and output are read"
        return
    chain.direction = _HOOKS[hook]
    draft.has_policy = True
    if policy in _VERBS:
        draft.defaults[chain.direction] = _VERBS[policy]


def _rule(draft: FileDraft, chain: _Chain, sets: dict[str, list[str]], number: int, text: str) -> None:
    reader = _RuleReader(_TOKEN.findall(text), sets)
    reader.read()
    rule, verb = reader.rule, reader.verb
    if verb is None:
        raise CannotSayError("it says nothing of what to do")
    if reader.states is not None:
        if verb == "allow" and reader.states <= _REPLIES and not rule.keys:
            draft.stateful = True  # replies are always looked for before the rules
            return
        if verb != "allow" or "new" not in reader.states:
            raise CannotSayError(
                f"ct state {','.join(sorted(reader.states))}: only replies are known ('stateful: true')"
            )
        draft.stateful = True
    family = _FAMILIES[chain.family]
    if family and "from" not in rule.keys and "to" not in rule.keys:
        rule.put("from", [f"any{family}"])
    if reader.is_wildcard:
        raise CannotSayError("interfaces are named one by one, without *")
    assert chain.direction is not None
    rule.put("direction", [chain.direction])
    draft.add(number, text, rule, verb)


class _RuleReader:
    """The words of one rule."""

    def __init__(self, words: list[str], sets: dict[str, list[str]]) -> None:
        self.words = words
        self.sets = sets
        self.at = 0
        self.rule = RuleDraft()
        self.verb: str | None = None
        self.states: set[str] | None = None
        self.is_wildcard = False

    def next(self) -> str:
        if self.at >= len(self.words):
            raise CannotSayError("it ends too early")
        self.at += 1
        return self.words[self.at - 1]

    def values(self) -> list[str]:
        """``x``, ``{ x, y }``, ``@set``."""
        word = self.next()
        if word in ("!=", "<", ">", "<=", ">="):
            raise CannotSayError(f"'{word}': only lists and ranges can be said")
        if word == "==":
            word = self.next()
        if word.startswith("@"):
            if word[1:] not in self.sets:
                raise CannotSayError(f"there is no set '{word[1:]}' in this file")
            return list(self.sets[word[1:]])
        if word != "{":
            return [word.strip('"')]
        found = []
        while (word := self.next()) != "}":
            if word == ":":
                raise CannotSayError("maps have no word in rule files")
            if word != ",":
                found.append(word.strip('"'))
        return found

    def read(self) -> None:
        while self.at < len(self.words):
            self.take(self.next())

    def take(self, word: str) -> None:
        rule = self.rule
        if word in ("iifname", "iif", "oifname", "oif"):
            names = self.values()
            self.is_wildcard = any(name.endswith("*") for name in names)
            rule.put("interface", names)
        elif word in ("ip", "ip6"):
            self.header(word)
        elif word in ("tcp", "udp", "sctp", "dccp", "udplite", "th"):
            self.ports(word)
        elif word in ("icmp", "icmpv6"):
            if self.next() != "type":
                raise CannotSayError(f"'{word}': only its type can be asked for")
            self.protocol([word])
            rule.put("icmp", self.values())
        elif word == "meta":
            self.meta()
        elif word == "ct":
            if self.next() != "state":
                raise CannotSayError("'ct': only its state can be asked for")
            self.states = set(self.states_of())
        elif word == "counter":
            while self.at < len(self.words) and self.words[self.at] in ("packets", "bytes"):
                self.at += 2
        elif word == "comment":
            rule.name = self.next().strip('"')
        elif word in _VERBS:
            self.verb = _VERBS[word]
            if word == "reject":
                self.at = len(self.words)  # with ...: a denied packet gets no answer
        else:
            raise CannotSayError(f"'{word}' has no word in rule files")

    def states_of(self) -> list[str]:
        found = self.values()
        while self.at < len(self.words) and self.words[self.at] == ",":
            self.at += 1
            found.append(self.next())
        return found

    def protocol(self, names: list[str]) -> None:
        known = self.rule.keys.get("proto")
        if known is not None and known != names:
            raise CannotSayError("two protocols at once")
        if known is None:
            self.rule.put("proto", [_ICMPV6.get(name, name) for name in names])

    def header(self, word: str) -> None:
        what = self.next()
        if what in ("saddr", "daddr"):
            values = self.values()
            if any("-" in value for value in values):
                raise CannotSayError("ranges of addresses: write them as networks")
            self.rule.put("from" if what == "saddr" else "to", values)
        elif what in ("protocol", "nexthdr"):
            self.protocol(self.values())
        else:
            raise CannotSayError(f"'{word} {what}' has no word in rule files")

    def ports(self, word: str) -> None:
        what = self.next()
        if what not in ("dport", "sport"):
            raise CannotSayError(f"'{word} {what}' has no word in rule files")
        if word != "th":
            self.protocol([word])
        elif "proto" not in self.rule.keys:
            raise CannotSayError("'th' without a protocol before it")
        self.rule.put("port" if what == "dport" else "sport", self.values())

    def meta(self) -> None:
        what = self.next()
        if what == "l4proto":
            self.protocol(self.values())
        elif what == "nfproto":
            values = self.values()
            self.rule.put("from", ["any4" if value == "ipv4" else "any6" for value in values])
        else:
            raise CannotSayError(f"'meta {what}' has no word in rule files")
