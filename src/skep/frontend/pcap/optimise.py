"""Forget tests whose answer is known from the tests before them.

Facts flow along the edges of the graph: what a test's answer says about a value holds on every path behind it. An edge
into a test that its facts decide is led past it. Truncated packets fare the same: what is skipped was loaded before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from skep.frontend.pcap.conditions import Step, Test
from skep.frontend.pcap.graph import Graph
from skep.frontend.pcap.values import MASK, Binary, Constant, HeaderLength, Load, Value
from skep.isa.classic import opcodes as op

_ROUNDS = 8
_MAX_EXCLUDED = 32  # numbers that a value is known not to be, kept per value
_WIDEST = {op.B: 0xFF, op.H: 0xFFFF, op.W: MASK}


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a value: low <= value <= high, and value not in excluded."""

    low: int
    high: int
    excluded: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known on a path: of values, and answers of tests that say nothing simple of one."""

    values: Mapping[Value, Known] = field(default_factory=dict)
    answers: Mapping[Test, bool] = field(default_factory=dict)

    def of(self, value: Value) -> Known:
        """What is known of a value."""
        known = self.values.get(value)
        if known is not None:
            return known
        match value:
            case Constant(number):
                return Known(number, number)
            case Load(size=size):
                return Known(0, _WIDEST[size])
            case HeaderLength():
                return Known(0, 60)
            case Binary(op.AND, left, Constant(mask)):
                inner = self.of(left)
                return Known(inner.low & mask, inner.low & mask) if inner.low == inner.high else Known(0, mask)
            case _:
                return Known(0, MASK)

    def decide(self, test: Test | Step) -> bool | None:
        """The answer of a test, if it is known."""
        if isinstance(test, Step):
            return None
        if test in self.answers:
            return self.answers[test]
        if not isinstance(test.right, Constant):
            return None
        known, k = self.of(test.left), test.right.value
        if known.low == known.high:
            return {op.JEQ: known.low == k, op.JGT: known.low > k, op.JGE: known.low >= k}.get(
                test.code, bool(known.low & k)
            )
        if test.code == op.JEQ:
            return False if not known.low <= k <= known.high or k in known.excluded else None
        if test.code == op.JSET:
            return False if k == 0 else None
        least = k + 1 if test.code == op.JGT else k
        return True if known.low >= least else False if known.high < least else None

    def learn(self, test: Test | Step, answer: bool) -> Facts:
        """These facts and the answer of a test."""
        if isinstance(test, Step):
            return self
        if test.code == op.JSET or not isinstance(test.right, Constant):
            return replace(self, answers={**self.answers, test: answer})
        known, k = self.of(test.left), test.right.value
        if test.code == op.JEQ:
            if answer:
                known = Known(k, k)
            elif len(known.excluded) < _MAX_EXCLUDED:
                known = replace(known, excluded=known.excluded | {k})
        else:
            least = k + 1 if test.code == op.JGT else k
            known = (
                replace(known, low=max(known.low, least)) if answer else replace(known, high=min(known.high, least - 1))
            )
        return replace(self, values={**self.values, test.left: known})

    def common(self, other: Facts) -> Facts:
        """What both know."""
        values = {}
        for value in self.values.keys() & other.values.keys():
            a, b = self.values[value], other.values[value]
            values[value] = Known(min(a.low, b.low), max(a.high, b.high), a.excluded & b.excluded)
        answers = {test: answer for test, answer in self.answers.items() if other.answers.get(test) is answer}
        return Facts(values, answers)


def optimise(graph: Graph) -> None:
    """Lead edges past tests that are decided, and drop tests that decide nothing, until nothing changes."""
    for _ in range(_ROUNDS):
        changed = _thread(graph)
        changed |= _drop(graph)
        changed |= _merge(graph)
        if not changed:
            return


def _thread(graph: Graph) -> bool:
    arriving: dict[int, Facts] = {graph.start: Facts()}
    changed = False
    start = _led(graph, graph.start, Facts())
    if start != graph.start:
        graph.start = start
        return True
    for number in graph.order():
        if number not in arriving:
            continue  # all ways to it have been led past it
        block, facts = graph.blocks[number], arriving[number]
        for answer in (True, False):
            learned = facts.learn(block.test, answer)
            old = block.yes if answer else block.no
            target = _led(graph, old, learned)
            if target != old:
                changed = True
                if answer:
                    block.yes = target
                else:
                    block.no = target
            if target >= 0:
                arriving[target] = arriving[target].common(learned) if target in arriving else learned
    return changed


def _led(graph: Graph, target: int, facts: Facts) -> int:
    while target >= 0:
        block = graph.blocks[target]
        answer = facts.decide(block.test)
        if answer is None:
            return target
        target = block.yes if answer else block.no
    return target


def _drop(graph: Graph) -> bool:
    """Tests whose two ways lead to the same place."""

    def skip(target: int) -> int:
        while target >= 0:
            block = graph.blocks[target]
            if block.yes != block.no or isinstance(block.test, Step):
                return target
            target = block.yes
        return target

    changed = False
    for number in graph.order():
        block = graph.blocks[number]
        yes, no = skip(block.yes), skip(block.no)
        changed |= (yes, no) != (block.yes, block.no)
        block.yes, block.no = yes, no
    start = skip(graph.start)
    changed |= start != graph.start
    graph.start = start
    return changed


def _merge(graph: Graph) -> bool:
    """Tests that are the same and lead to the same places are one."""
    known: dict[tuple[Test | Step, int, int], int] = {}
    merged: dict[int, int] = {}
    for number in reversed(graph.order()):
        block = graph.blocks[number]
        block.yes, block.no = merged.get(block.yes, block.yes), merged.get(block.no, block.no)
        first = known.setdefault((block.test, block.yes, block.no), number)
        if first != number:
            merged[number] = first
    graph.start = merged.get(graph.start, graph.start)
    return bool(merged)
