"""Rules that cannot do what their writer meant: warnings that name both lines.

- never reached: an earlier rule matches all that this one does, and does the same (F0301) or the opposite (F0302);
- overlapping: two rules with opposite actions share packets, and neither contains the other, so that their order
decides
  (F0303; looked for in rule sets of up to MAX_PAIRWISE rules). An exception in front of a wider rule is no finding.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from skep.diagnostics import Diagnostic, Severity, Span
from skep.tools.firewall.pauses import without_collection
from skep.tools.firewall.rules import Rule, RuleSet
from skep.tools.firewall.spaces import Space, make_spaces

MAX_PAIRWISE = 1000
_MAX_COMBINATIONS = 4096

Predicates = tuple[int | None, ...]


def find_overlaps(rules: RuleSet) -> list[Diagnostic]:
    """The findings, in the order of the lines."""
    with without_collection():
        return list(_Finder(rules).findings())


class _Finder:
    def __init__(self, rules: RuleSet) -> None:
        self.rules = rules
        self.spaces = make_spaces(rules.rules)
        self.homes = [_masks(space) for space in self.spaces] if len(rules.rules) <= MAX_PAIRWISE else None
        self.answers = [_answers(space) for space in self.spaces]
        self.predicates: list[Predicates] = [
            tuple(space.predicates[number] for space in self.spaces) for number in range(len(rules.rules))
        ]

    def findings(self) -> Iterator[Diagnostic]:
        first: dict[Predicates, int] = {}
        shapes: set[tuple[bool, ...]] = set()
        reached: list[int] = []
        for number, asked in enumerate(self.predicates):
            earlier = self.covering(asked, first, shapes)
            if earlier is not None:
                yield self.never_reached(number, earlier)
                continue
            if self.homes is not None:
                yield from self.partial(number, reached)
            reached.append(number)
            first.setdefault(asked, number)
            shapes.add(tuple(predicate is not None for predicate in asked))

    def covering(self, asked: Predicates, first: dict[Predicates, int], shapes: set[tuple[bool, ...]]) -> int | None:
        """An earlier rule that matches whatever this one does."""
        found = None
        for shape in shapes:
            choices: list[tuple[int | None, ...]] = []
            for dimension, is_asked in enumerate(shape):
                predicate = asked[dimension]
                if not is_asked:
                    choices.append((None,))
                elif predicate is None:
                    break
                else:
                    choices.append(self.answers[dimension][predicate])
            else:
                for count, key in enumerate(product(*choices)):
                    if count >= _MAX_COMBINATIONS:
                        break
                    number = first.get(key)
                    if number is not None and (found is None or number < found):
                        found = number
        return found

    def partial(self, number: int, reached: list[int]) -> Iterator[Diagnostic]:
        assert self.homes is not None
        mine, action = self.predicates[number], self.rules.rules[number].action
        for other in reached:
            if self.rules.rules[other].action is action:
                continue
            theirs_inside = True
            for dimension, (predicate, theirs) in enumerate(zip(mine, self.predicates[other], strict=True)):
                if predicate is None:
                    continue
                if theirs is None:
                    theirs_inside = False
                    continue
                ours, those = self.homes[dimension][predicate], self.homes[dimension][theirs]
                if not ours & those:
                    break
                theirs_inside = theirs_inside and not those & ~ours
            else:
                if not theirs_inside:
                    yield self.overlap(number, other)

    def never_reached(self, number: int, earlier: int) -> Diagnostic:
        rule, other = self.rules.rules[number], self.rules.rules[earlier]
        if rule.action is other.action and rule.rate == other.rate:
            what = f"this rule is never reached: line {other.line} matches all that it does, and does the same"
            return self._finding("F0301", what, rule, other, "remove it")
        what = f"this rule contradicts line {other.line}, which comes first and matches all that it does"
        return self._finding("F0302", what, rule, other, "move it before that line, or remove one of them")

    def overlap(self, number: int, earlier: int) -> Diagnostic:
        rule, other = self.rules.rules[number], self.rules.rules[earlier]
        what = f"some packets match this rule and line {other.line}, which does the opposite and comes first"
        return self._finding("F0303", what, rule, other, "if line order is what you meant, there is nothing to do")

    def _finding(self, code: str, what: str, rule: Rule, other: Rule, help: str) -> Diagnostic:
        span = Span(self.rules.file, rule.line, text=rule.text)
        why = (f"line {other.line}: {other.text}",)
        return Diagnostic(code, what, Severity.WARNING, span=span, why=why, help=help)


def _masks(space: Space) -> list[int]:
    """For each predicate the set of signatures that answer it, as bits."""
    masks = [0] * space.count
    for number, signature in enumerate(space.signatures):
        for predicate in signature:
            masks[predicate] |= 1 << number
    return masks


def _answers(space: Space) -> list[tuple[int, ...]]:
    """For each predicate those that cover it (itself, too): the ones that every one of its signatures has."""
    answers: list[set[int] | None] = [None] * space.count
    for signature in space.signatures:
        for predicate in signature:
            known = answers[predicate]
            if known is None:
                answers[predicate] = set(signature)
            elif len(known) > 1:
                known.intersection_update(signature)
    return [tuple(sorted(each or ())) for each in answers]
