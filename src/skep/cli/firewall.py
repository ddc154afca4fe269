"""``skep firewall``: check, test and compare rule files, import those of others, run them on an interface."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from skep import hooks
from skep.cli.firewall_live import allow, cut, deny, forget, reload, run, top
from skep.cli.output import console, error_console, json_option, print_json, report
from skep.diagnostics import Diagnostic
from skep.tools.firewall import Count, Decision, Firewall, RuleSet, read_rules
from skep.tools.firewall.classes import compile_rules
from skep.tools.firewall.comparison import Comparison, capture_interfaces, compare
from skep.tools.firewall.control import counts
from skep.tools.firewall.decisions import REASONS
from skep.tools.firewall.firewall import MAX_TRACED
from skep.tools.firewall.importers import IMPORTERS, Imported
from skep.tools.firewall.overlaps import find_overlaps

SHOWN_WARNINGS = 20
SHOWN_RULES = 20
_VM = "engine: vm (this process, proved safe by skep's verifier before it runs; needs no privileges)"

_rules = click.argument("rules", type=click.Path(path_type=Path))
_pcap = click.option(
    "--pcap", type=click.Path(path_type=Path), metavar="IN", required=True, help="Packets that come in."
)
_interface = click.option("--interface", metavar="NAME", help="Where the packets of the capture came in.")


@click.group()
def firewall() -> None:
    """A firewall: rules in YAML, judged by an eBPF program; the first rule that matches decides."""


@firewall.command()
@_rules
@json_option
def check(rules: Path, as_json: bool) -> None:
    """Read a rule file: errors, overlapping and contradictory rules, and what a packet will cost."""
    found = read_rules(rules)
    warnings = find_overlaps(found)
    compiled = compile_rules(found)
    result = {
        "rules": len(found.rules),
        "tables": len(compiled.tables),
        "entries": sum(len(table.entries) for table in compiled.tables),
        "warnings": [warning.to_json() for warning in warnings],
    }
    if as_json:
        print_json(result)
        return
    _print_warnings(warnings)
    lookups = f"{result['tables']} hash tables with {result['entries']} entries" if compiled.tables else "no hash table"
    console().print(f"{rules}: {len(found.rules)} rules, {lookups}, {len(warnings)} warnings")


@firewall.command()
@_rules
@_pcap
@click.option("--out", type=click.Path(path_type=Path), metavar="OUT", help="Write the packets that pass here.")
@_interface
@click.option("--packets", is_flag=True, help=f"Show each packet (the first {MAX_TRACED}).")
@json_option
def test(rules: Path, pcap: Path, out: Path | None, interface: str | None, packets: bool, as_json: bool) -> None:
    """Run a rule file over a capture: verdicts, reasons, packets of each rule."""
    found = read_rules(rules)
    if not as_json:
        _print_warnings(find_overlaps(found))
        error_console().print(_VM)
    interfaces = capture_interfaces((found,), interface)
    with Firewall(found, interfaces=interfaces, traced=MAX_TRACED if packets else 0) as live:
        done = live.run(hooks.Pcap(pcap, out=out, clock="capture"))
        decisions = list(live.decisions()) if packets else []
        if as_json:
            print_json(
                {"packets": done.packets, "bytes": done.bytes, "verdicts": dict(done.verdicts), "passed": done.passed}
                | counts(live)
                | ({"decisions": [_decision_json(found, d) for d in decisions]} if packets else {})
            )
            return
        screen = console()
        for number, decision in enumerate(decisions, 1):
            screen.print(f"{number:6} {_say(found, decision)}  {decision.flow}", markup=False)
        per_packet = done.seconds * 1e9 / done.packets if done.packets else 0.0
        screen.print(
            f"{done.packets} packets, {done.bytes} bytes, {per_packet:.0f} ns per packet, {done.passed} passed"
        )
        _print_counts(live)
        if out is not None:
            screen.print(f"{done.passed} packets written to {out}", markup=False)


@firewall.command()
@click.argument("before", type=click.Path(path_type=Path))
@click.argument("after", type=click.Path(path_type=Path))
@_pcap
@_interface
@json_option
def diff(before: Path, after: Path, pcap: Path, interface: str | None, as_json: bool) -> None:
    """Show, packet by packet, what changes from one rule file to another."""
    old, new = read_rules(before), read_rules(after)
    if not as_json:
        error_console().print(_VM)
    found = compare(old, new, pcap, interface)
    if as_json:
        print_json(_comparison_json(found, old, new))
        return
    screen = console()
    for difference in found.differences:
        screen.print(f"packet {difference.packet}: {difference.before.flow}", markup=False)
        screen.print(f"  - {_say(old, difference.before)}", markup=False, style="red")
        screen.print(f"  + {_say(new, difference.after)}", markup=False, style="green")
    closed = sum(difference.before.action > difference.after.action for difference in found.differences)
    opened = len(found.differences) - closed
    screen.print(f"{found.compared} of {found.packets} packets compared: {opened} pass now, {closed} pass no more")


@firewall.command("import")
@click.argument("format", type=click.Choice(sorted(IMPORTERS)))
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), metavar="RULES", help="Write the rule file here.")
@json_option
def import_(format: str, file: Path, out: Path | None, as_json: bool) -> None:
    """Translate what `nft -s list ruleset` or `iptables-save` printed; each line that cannot be said is named."""
    found: Imported = IMPORTERS[format](file)
    if out is not None:
        out.write_text(found.text, encoding="utf-8")
    if as_json:
        left_out = [diagnostic.to_json() for diagnostic in found.left_out]
        print_json({"rules": found.rules, "left_out": left_out, "text": found.text})
        return
    report(found.left_out, as_json=False)
    if out is None:
        console().print(found.text, markup=False, end="")
    error_console().print(f"{found.rules} rules, {len(found.left_out)} lines left out", markup=False)


# ---- output ----


def _print_warnings(warnings: list[Diagnostic]) -> None:
    report(warnings[:SHOWN_WARNINGS], as_json=False)
    if len(warnings) > SHOWN_WARNINGS:
        error_console().print(f"and {len(warnings) - SHOWN_WARNINGS} more warnings (--json shows all)")


def _say(rules: RuleSet, decision: Decision) -> str:
    verb = decision.action.name.lower()
    if decision.rule is not None:
        rule = rules.rules[decision.rule]
        extra = "" if decision.reason == "rule" else f", {REASONS[decision.reason]}"
        return f"{verb} (line {rule.line}{extra}: {rule.name or rule.text})"
    return f"{verb} ({REASONS[decision.reason]})"


def _decision_json(rules: RuleSet, decision: Decision) -> dict[str, Any]:
    line = rules.rules[decision.rule].line if decision.rule is not None else None
    return {
        "action": decision.action.name.lower(),
        "reason": decision.reason,
        "rule": decision.rule,
        "line": line,
        "source": decision.source,
        "destination": decision.destination,
        "source_port": decision.source_port,
        "destination_port": decision.destination_port,
        "protocol": decision.protocol,
        "length": decision.length,
    }


def _comparison_json(found: Comparison, old: RuleSet, new: RuleSet) -> dict[str, Any]:
    return {
        "packets": found.packets,
        "compared": found.compared,
        "differences": [
            {"packet": d.packet, "before": _decision_json(old, d.before), "after": _decision_json(new, d.after)}
            for d in found.differences
        ],
    }


def _print_counts(live: Firewall) -> None:
    screen = console()
    reasons = ((REASONS[name], count) for name, count in live.reasons().items())
    screen.print(_table("reason", reasons))
    busy = [(rule, count) for rule, count in zip(live.rules.rules, live.counters(), strict=True) if count.packets]
    busy.sort(key=lambda item: -item[1].packets)
    if busy:
        rows = ((f"line {rule.line}: {rule.name or rule.text}", count) for rule, count in busy[:SHOWN_RULES])
        screen.print()
        screen.print(_table("rule", rows))
    if len(busy) > SHOWN_RULES:
        screen.print(f"and {len(busy) - SHOWN_RULES} more rules (--json shows all)")
    for name, count in live.events().items():
        screen.print(f"{count.packets} {_EVENTS[name]}")


_EVENTS = {
    "connection_opened": "connections opened",
    "connection_kept": "connections seen both ways",
    "connection_lost": "connections not written down: the table is full",
    "bucket_opened": "sources began a rate limit",
}


def _table(title: str, rows: Iterable[tuple[str, Count]]) -> Table:
    table = Table(title, box=None, pad_edge=False)
    table.add_column("packets", justify="right")
    table.add_column("bytes", justify="right")
    for name, count in rows:
        table.add_row(Text(name), str(count.packets), str(count.bytes))
    return table


for _verb in (run, deny, allow, forget, cut, reload, top):
    firewall.add_command(_verb)
