"""Conditions as a graph of tests with two ways out each: short-circuit evaluation, shared tails, no cycles."""

from __future__ import annotations

from dataclasses import dataclass

from skep.frontend.pcap.conditions import Choice, Condition, Junction, Negation, Step, Test

ACCEPT, REJECT = -1, -2  # targets that are no blocks


@dataclass(slots=True)
class Block:
    """One test; ``yes`` and ``no`` are numbers of blocks, or ACCEPT or REJECT."""

    test: Test | Step
    yes: int
    no: int


class Graph:
    """Blocks by number, and the first."""

    def __init__(self, condition: Condition) -> None:
        self.blocks: list[Block] = []
        self._known: dict[tuple[Test | Step, int, int], int] = {}
        self.start = self._build(condition, ACCEPT, REJECT)

    def _build(self, condition: Condition, yes: int, no: int) -> int:
        """The block where evaluation of a condition begins that goes on to ``yes`` or ``no``."""
        match condition:
            case Negation(child):
                return self._build(child, no, yes)
            case Junction(is_and, children):
                target = yes if is_and else no
                for child in reversed(children):
                    target = self._build(child, target, no) if is_and else self._build(child, yes, target)
                return target
            case Choice(test, then, other):
                return self._build(test, self._build(then, yes, no), self._build(other, yes, no))
            case Test() | Step():
                key = condition, yes, no
                if key not in self._known:
                    self.blocks.append(Block(condition, yes, no))
                    self._known[key] = len(self.blocks) - 1
                return self._known[key]

    def order(self) -> list[int]:
        """Blocks that can be reached, each before those it leads to."""
        finished: list[int] = []
        seen: set[int] = set()
        stack = [(self.start, False)]
        while stack:
            number, is_done = stack.pop()
            if is_done:
                finished.append(number)
            elif number >= 0 and number not in seen:
                seen.add(number)
                block = self.blocks[number]
                stack += [(number, True), (block.yes, False), (block.no, False)]
        return finished[::-1]
