"""What ``iptables-save`` and ``ip6tables-save`` print: the chains INPUT and OUTPUT of the table filter."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from skep.tools.firewall.importers.draft import CannotSayError, FileDraft, Imported, RuleDraft, read_lines

_CHAINS = {"INPUT": "in", "OUTPUT": "out"}
_VERBS = {"ACCEPT": "allow", "DROP": "deny", "REJECT": "deny"}
_HARMLESS_MATCHES = {"tcp", "udp", "sctp", "dccp", "udplite", "icmp", "icmp6", "icmpv6", "ipv6-icmp", "multiport",
                     "comment", "conntrack", "state"}  # fmt: skip
_POLICY = re.compile(r":(\S+) (\S+)( \[\d+:\d+\])?")
_REPLIES = {"ESTABLISHED", "RELATED"}


def read_iptables(path: Path) -> Imported:
    """IPv4 rules."""
    return _read(path, 4)


def read_ip6tables(path: Path) -> Imported:
    """IPv6 rules."""
    return _read(path, 6)


def _read(path: Path, family: int) -> Imported:
    draft = FileDraft(str(path))
    table = ""
    for number, line in enumerate(read_lines(path), 1):
        text = line.strip()
        if not text or text.startswith("#") or text == "COMMIT":
            continue
        if text.startswith("*"):
            table = text[1:]
            continue
        try:
            if text.startswith(":"):
                _policy(draft, table, text)
            elif table != "filter":
                raise CannotSayError(f"table '{table}': only the table filter is read")
            else:
                _rule(draft, number, text, family)
        except CannotSayError as error:
            draft.leave_out(number, line, str(error))
    return draft.done()


def _policy(draft: FileDraft, table: str, text: str) -> None:
    match = _POLICY.fullmatch(text)
    if table == "filter" and match and match.group(1) in _CHAINS and match.group(2) in _VERBS:
        draft.defaults[_CHAINS[match.group(1)]] = _VERBS[match.group(2)]
        draft.has_policy = True
    elif table == "filter" and match and match.group(1) == "FORWARD" and match.group(2) != "ACCEPT":
        raise CannotSayError("forwarded packets are judged as they come in and as they go out")


def _rule(draft: FileDraft, number: int, text: str, family: int) -> None:
    try:
        words = shlex.split(re.sub(r"^\[\d+:\d+\] ", "", text))
    except ValueError as error:
        raise CannotSayError(f"its quotes do not end ({error})") from None
    if len(words) < 2 or words[0] not in ("-A", "--append"):
        raise CannotSayError(f"'{words[0] if words else text}' is no rule")
    if words[1] not in _CHAINS:
        raise CannotSayError(f"chain '{words[1]}': only INPUT and OUTPUT are read")
    direction = _CHAINS[words[1]]
    rule = RuleDraft()
    reader = _RuleReader(rule, family, direction)
    reader.read(words[2:])
    if reader.verb is None:
        raise CannotSayError("it says nothing of what to do (-j)")
    if reader.states is not None:
        if reader.verb == "allow" and reader.states <= _REPLIES and not set(rule.keys) - {"direction"}:
            draft.stateful = True  # replies are always looked for before the rules
            return
        if reader.verb != "allow" or "NEW" not in reader.states:
            raise CannotSayError(
                f"states {','.join(sorted(reader.states))}: replies are allowed by 'stateful: true' only"
            )
        draft.stateful = True
    if "from" not in rule.keys and "to" not in rule.keys and rule.keys.get("proto") not in (["icmp"], ["icmpv6"]):
        rule.put("from", [f"any{family}"])
    rule.put("direction", [direction])
    draft.add(number, text, rule, reader.verb)


class _RuleReader:
    """The words behind ``-A CHAIN``."""

    def __init__(self, rule: RuleDraft, family: int, direction: str) -> None:
        self.rule = rule
        self.family = family
        self.interface = "-i" if direction == "in" else "-o"
        self.verb: str | None = None
        self.states: set[str] | None = None

    def read(self, words: list[str]) -> None:
        at = 0
        while at < len(words):
            word = words[at]
            if word == "!":
                raise CannotSayError(f"'! {' '.join(words[at + 1 : at + 3])}': nothing can be turned round")
            value = words[at + 1] if at + 1 < len(words) else ""
            at += 2
            self.take(word, value)

    def take(self, word: str, value: str) -> None:
        rule = self.rule
        if word in ("-s", "--source", "-d", "--destination"):
            rule.put("from" if word in ("-s", "--source") else "to", value.split(","))
        elif word in ("-p", "--protocol"):
            if value != "all":
                rule.put("proto", ["icmpv6" if value in ("ipv6-icmp", "icmp6") else value])
        elif word in ("--dport", "--destination-port", "--dports", "--sport", "--source-port", "--sports"):
            key = "port" if word.startswith("--d") else "sport"
            rule.put(key, [_range(port) for port in value.split(",")])
        elif word in ("--icmp-type", "--icmpv6-type"):
            if value != "any":
                rule.put("icmp", [value])
        elif word == self.interface:
            if value.endswith("+"):
                raise CannotSayError(f"interface '{value}': interfaces are named one by one")
            rule.put("interface", [value])
        elif word in ("-m", "--match"):
            if value not in _HARMLESS_MATCHES:
                raise CannotSayError(f"match '{value}' has no word in rule files")
        elif word in ("--state", "--ctstate"):
            self.states = set(value.split(","))
        elif word == "--comment":
            rule.name = value
        elif word == "--reject-with":
            return  # a denied packet gets no answer
        elif word in ("-j", "--jump"):
            if value not in _VERBS:
                raise CannotSayError(f"target '{value}': only ACCEPT, DROP and REJECT can be said")
            self.verb = _VERBS[value]
        else:
            raise CannotSayError(f"'{word}' has no word in rule files")


def _range(ports: str) -> str:
    return (
        ports.replace(":", "-", 1)
        if not ports.startswith(":") and not ports.endswith(":")
        else (f"0-{ports[1:]}" if ports.startswith(":") else f"{ports[:-1]}-65535")
    )
