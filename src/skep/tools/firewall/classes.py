"""Rules to tables: which hash table answers which rules, so that a packet costs the same whatever their number.

Rules that ask for one thing only need no table: the leaf of that value names the first of them. The others are laid
into at most TABLES hash tables. The key of a table is the class of the packet's value in each dimension; a class is
a set of signatures that this table's rules cannot tell apart. A rule that covers several classes (10.0.0.0/8 where
another rule of the table speaks of 10.1.0.0/16) is written once for each combination, so:

- rules that ask for the same dimensions start in one table;
- where that would take too many entries, they are laid into several, so that in none of them two rules overlap;
- small tables are put together again while that costs few entries.

Every rule keeps its number; the lowest number found wins: the first rule that matches.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

from skep.diagnostics import Diagnostic, Span
from skep.errors import UnsupportedError
from skep.tools.firewall.pauses import without_collection
from skep.tools.firewall.rules import RuleSet
from skep.tools.firewall.spaces import Dimension, Signature, Space, make_spaces

TABLES = 14
LEAVES = 65_536
NO_RULE = 0xFFFF_FFFF
MAX_ENTRIES = 4_000_000
MAX_GROUPS = 20 * TABLES  # before tables are put together; beyond that it would take minutes to find out
MERGE_ROOM = 2048  # entries that putting two tables together may cost
MERGE_RULES = 20_000  # larger tables are put together only when there are too many


@dataclass(slots=True)
class Table:
    """One hash table: its rules, and in each dimension the class of each signature (None: it asks nothing there)."""

    rules: list[int]
    classes: list[dict[int, int] | None]
    entries: dict[tuple[int, ...], int]
    open_dimensions: tuple[bool, ...]  # True: a value of which nothing is known may match, too


@dataclass(slots=True)
class Compiled:
    """A rule set, ready to be written into maps.

    Attributes:
        spaces: by dimension.
        singles: by dimension and signature: the first rule that asks for nothing else (NO_RULE: none).
        catch_all: the first rule that asks for nothing; rules behind it are never reached.
    """

    rules: RuleSet
    spaces: tuple[Space, ...]
    singles: tuple[list[int], ...]
    tables: list[Table]
    catch_all: int


def compile_rules(rules: RuleSet) -> Compiled:
    """Lay a rule set out.

    Raises:
        UnsupportedError: F0201: the rules overlap in too many ways; F0202: too many different ports.
    """
    with without_collection():
        return _compile(rules)


def _compile(rules: RuleSet) -> Compiled:
    spaces = make_spaces(rules.rules)
    catch_all = NO_RULE
    singles = tuple([NO_RULE] * len(space.signatures) for space in spaces)
    first_single: list[dict[int, int]] = [{} for _ in spaces]
    shapes: dict[tuple[bool, ...], list[int]] = defaultdict(list)
    for number in range(len(rules.rules)):
        shape = tuple(space.predicates[number] is not None for space in spaces)
        asked = sum(shape)
        if asked == 0:
            catch_all = number
            break
        if asked == 1:
            dimension = shape.index(True)
            predicate = spaces[dimension].predicates[number]
            assert predicate is not None
            first_single[dimension].setdefault(predicate, number)
        else:
            shapes[shape].append(number)
    for space, single, best in zip(spaces, first_single, singles, strict=True):
        for number, signature in enumerate(space.signatures):
            best[number] = min((single[p] for p in signature if p in single), default=NO_RULE)
    planner = _Planner(spaces)
    groups = planner.plan(list(shapes.values()), rules)
    tables = sorted((planner.build(group) for group in groups), key=lambda table: table.rules[0])
    leaves = sum(len(spaces[d].signatures) for d in (Dimension.SERVICE, Dimension.SOURCE_PORT, Dimension.PLACE))
    if leaves > LEAVES:
        what = f"the rules tell {leaves} kinds of ports, ICMP types and interfaces apart; the limit is {LEAVES}"
        raise UnsupportedError(Diagnostic("F0202", what, help="use ranges of ports instead of single ones"))
    return Compiled(rules, spaces, singles, tables, catch_all)


class _Planner:
    """Which rules share a table."""

    def __init__(self, spaces: Sequence[Space]) -> None:
        self.spaces = spaces
        self.homes: list[list[list[int]]] = []  # by dimension and predicate: the signatures that answer it
        for space in spaces:
            homes: list[list[int]] = [[] for _ in range(space.count)]
            for number, signature in enumerate(space.signatures):
                for predicate in signature:
                    homes[predicate].append(number)
            self.homes.append(homes)

    def plan(self, shapes: list[list[int]], rules: RuleSet) -> list[list[int]]:
        groups: list[list[int]] = []
        for shape in shapes:
            fits = self.cost(shape) <= self.room(len(shape))
            groups += [shape] if fits else self.split(shape)
        if len(groups) > MAX_GROUPS:
            raise _too_intertwined(groups, rules)
        groups.sort(key=len, reverse=True)
        merged: list[list[int]] = []
        for group in groups:
            self.merge_into(merged, group, MERGE_ROOM, MERGE_RULES)
        if len(merged) > TABLES:
            groups, merged = sorted(merged, key=len, reverse=True), []
            for group in groups:
                self.merge_into(merged, group, MAX_ENTRIES // TABLES, len(rules.rules))
        if len(merged) > TABLES:
            raise _too_intertwined(merged, rules)
        return merged

    @staticmethod
    def room(rules: int) -> int:
        """Entries that one table may have for so many rules."""
        return 4 * rules + MERGE_ROOM

    def merge_into(self, merged: list[list[int]], group: list[int], room: int, most_rules: int) -> None:
        for number, other in enumerate(merged):
            if len(other) + len(group) > most_rules:
                continue
            together = sorted(other + group)
            if self.cost(together) <= self.cost(other) + self.cost(group) + room:
                merged[number] = together
                return
        merged.append(group)

    def classes(self, dimension: int, rules: Sequence[int]) -> tuple[dict[int, int] | None, dict[int, list[int]], int]:
        """Class of each signature (those not named: 0), classes of each predicate, number of classes with 0."""
        space, homes = self.spaces[dimension], self.homes[dimension]
        used = {space.predicates[rule] for rule in rules} - {None}
        if not used:
            return None, {}, 1
        named: dict[int, list[int]] = defaultdict(list)
        for predicate in sorted(p for p in used if p is not None):
            for signature in homes[predicate]:
                named[signature].append(predicate)
        numbers: dict[Signature, int] = {}
        class_of: dict[int, int] = {}
        of_predicate: dict[int, list[int]] = defaultdict(list)
        for signature, predicates in named.items():
            key = tuple(predicates)
            number = numbers.get(key)
            if number is None:
                number = numbers[key] = len(numbers) + 1
                for predicate in predicates:
                    of_predicate[predicate].append(number)
            class_of[signature] = number
        return class_of, of_predicate, len(numbers) + 1

    def cost(self, rules: Sequence[int]) -> int:
        """Entries that a table of these rules would have, at most."""
        found = [self.classes(dimension, rules) for dimension in range(len(self.spaces))]
        total = 0
        for rule in rules:
            sizes = []
            for space, (_, of_predicate, count) in zip(self.spaces, found, strict=True):
                predicate = space.predicates[rule]
                sizes.append(count if predicate is None else len(of_predicate[predicate]))
            total += prod(sizes)
        return total

    def split(self, rules: list[int]) -> list[list[int]]:
        """Groups in which no two predicates of a dimension overlap: each rule has one entry there."""
        levels = [self.levels(dimension, rules) for dimension in range(len(self.spaces))]
        groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for rule in rules:
            key = tuple(
                level[predicate] if (predicate := space.predicates[rule]) is not None else 0
                for space, level in zip(self.spaces, levels, strict=True)
            )
            groups[key].append(rule)
        return list(groups.values())

    def levels(self, dimension: int, rules: Sequence[int]) -> dict[int, int]:
        """A level for each predicate, so that those that overlap have different ones; the widest come first."""
        space, homes = self.spaces[dimension], self.homes[dimension]
        used = {predicate for rule in rules if (predicate := space.predicates[rule]) is not None}
        taken: dict[int, set[int]] = defaultdict(set)
        result: dict[int, int] = {}
        for predicate in sorted(used, key=lambda p: (-len(homes[p]), p)):
            there = set().union(*(taken[signature] for signature in homes[predicate]))
            level = next(number for number in range(len(there) + 1) if number not in there)
            result[predicate] = level
            for signature in homes[predicate]:
                taken[signature].add(level)
        return result

    def build(self, rules: list[int]) -> Table:
        found = [self.classes(dimension, rules) for dimension in range(len(self.spaces))]
        entries: dict[tuple[int, ...], int] = {}
        for rule in rules:
            choices: list[Sequence[int]] = []
            for space, (_, of_predicate, count) in zip(self.spaces, found, strict=True):
                predicate = space.predicates[rule]
                choices.append(range(count) if predicate is None else of_predicate[predicate])
            for key in product(*choices):
                entries.setdefault(key, rule)
        is_open = tuple(any(space.predicates[rule] is None for rule in rules) for space in self.spaces)
        return Table(rules, [classes for classes, _, _ in found], entries, is_open)


def _too_intertwined(groups: list[list[int]], rules: RuleSet) -> UnsupportedError:
    smallest = min(groups, key=len)
    rule = rules.rules[smallest[0]]
    return UnsupportedError(
        Diagnostic(
            "F0201",
            f"the rules overlap in too many ways: {len(groups)} tables would be needed, the limit is {TABLES}",
            span=Span(rules.file, rule.line, text=rule.text) if rule.line else None,
            why=(
                "rules that ask for two or more things and contain each other need a table for each level",
                f"this rule is one of {len(smallest)} that need a table of their own",
            ),
            help="write nested networks or port ranges on fewer levels, or split the rule set by interface",
        )
    )
