"""What a comparison found, counted: in all, by feature, by reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from skep.testing.corpus.compare import Compared, Kind


@dataclass(slots=True)
class Report:
    """Counts; rows that agree are not kept."""

    counts: Counter[str] = field(default_factory=Counter)
    by_feature: dict[str, Counter[str]] = field(default_factory=dict)
    by_reason: dict[str, Counter[str]] = field(default_factory=dict)
    differences: list[Compared] = field(default_factory=list)
    insns: int = 0
    kernel_insns: int = 0
    seconds: float = 0.0
    skipped: int = 0

    def add(self, found: Compared) -> None:
        """Count one row."""
        kind = found.kind.value
        self.counts[f"{kind} ({'accept' if found.accepted else 'reject'})"] += 1
        for feature in found.row.get("features", ()):
            self.by_feature.setdefault(feature, Counter())[kind] += 1
        self.by_reason.setdefault(_reason(found), Counter())[kind] += 1
        if found.verdict is not None:
            self.insns += found.verdict.processed_insns
            self.seconds += found.seconds
        if found.kind is Kind.AGREE:
            self.kernel_insns += found.row["kernel"].get("processed") or 0
        else:
            self.differences.append(found)

    @property
    def agreement(self) -> float:
        """The share of rows where we say what the kernel said, 0 to 1."""
        agreed = sum(count for name, count in self.counts.items() if name.startswith(Kind.AGREE.value))
        return agreed / max(1, self.counts.total())

    def to_json(self) -> dict[str, Any]:
        """Everything, for machines."""
        return {
            "rows": self.counts.total(),
            "skipped": self.skipped,
            "agreement": round(self.agreement, 4),
            "counts": dict(self.counts),
            "by_feature": {name: dict(counts) for name, counts in sorted(self.by_feature.items())},
            "by_reason": {name: dict(counts) for name, counts in sorted(self.by_reason.items())},
            "differences": [_difference(found) for found in self.differences],
            "processed_insns": self.insns,
            "kernel_processed_insns": self.kernel_insns,
            "seconds": round(self.seconds, 3),
        }

    def text(self, by: Iterable[str], limit: int) -> str:
        """For people: totals, and the tables asked for (``feature``, ``reason``), the worst first."""
        lines = [f"{name:>24}  {count}" for name, count in sorted(self.counts.items())]
        lines.append(f"{self.counts.total()} rows, {100 * self.agreement:.2f} % agree; {self.skipped} out of scope")
        rate = self.insns / max(self.seconds, 0.001)
        lines.append(f"{self.insns} insns in {self.seconds:.1f} s: {rate:.0f} per second; kernel {self.kernel_insns}")
        tables = {"feature": self.by_feature, "reason": self.by_reason}
        for name in by:
            lines += ["", f"{'agree':>6} {'strict':>6} {'unsound':>7} {'unsupp.':>7} {'other':>5}  {name}"]
            lines += [_line(title, counts) for title, counts in _worst(tables[name])[:limit]]
        return "\n".join(lines)


def _reason(found: Compared) -> str:
    """The kernel's sentence where it rejects; ours where only we do."""
    if not found.accepted:
        return found.kernel_reason
    return f"accepted; ours: {found.our_reason} {found.note}".strip() if found.kind is not Kind.AGREE else "accepted"


def _worst(table: dict[str, Counter[str]]) -> list[tuple[str, Counter[str]]]:
    worst: Callable[[tuple[str, Counter[str]]], tuple[int, int, str]] = lambda item: (  # noqa: E731
        -item[1][Kind.UNSOUND],
        item[1][Kind.AGREE] - item[1].total(),
        item[0],
    )
    return sorted(table.items(), key=worst)


def _line(title: str, counts: Counter[str]) -> str:
    agree, strict, unsound, unsupported = (
        counts[kind.value] for kind in (Kind.AGREE, Kind.STRICT, Kind.UNSOUND, Kind.UNSUPPORTED)
    )
    other = counts.total() - agree - strict - unsound - unsupported
    return f"{agree:6} {strict:6} {unsound:7} {unsupported:7} {other:5}  {title}"


def _difference(found: Compared) -> dict[str, Any]:
    ours = found.verdict.diagnostics[0] if found.verdict is not None and found.verdict.diagnostics else None
    return {
        "id": found.row["id"],
        "kind": found.kind.value,
        "kernel": found.row["kernel"]["verdict"],
        "kernel_error": found.row["kernel"].get("error"),
        "kernel_insn": found.row["kernel"].get("fail_insn"),
        "code": ours.code if ours is not None else None,
        "insn": ours.insn if ours is not None else None,
        "note": found.note,
    }


def describe(found: Compared) -> str:
    """One difference on one line."""
    row = _difference(found)
    theirs = f"[{row['kernel_error']}] @{row['kernel_insn']}"
    return f"{row['kind']}: {row['id']} {theirs} ours: {row['note']} @{row['insn']}"
