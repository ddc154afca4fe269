"""docs/parity-messages.md: the 60 most frequent rejections of the corpus, the kernel's words and ours side by side.

python -m scripts.parity_messages            writes the document from parity_messages.json and what skep says now
python -m scripts.parity_messages --collect  chooses the rejections and asks the running kernel for its log (root)

Sentences, examples, logs and judgements are kept in parity_messages.json; judgements are written by hand.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from skep.diagnostics import render
from skep.errors import SkepError
from skep.kernel.engine import KernelEngine
from skep.model.programs import Outcome
from skep.testing.corpus import Kind, compare, normalise
from skep.verifier import judge
from tests.differential.verifier.rows import corpus, in_scope, link, rows

ROOT = Path(__file__).parent.parent
DATA = Path(__file__).with_suffix(".json")
DOCUMENT = ROOT / "docs" / "parity-messages.md"
MOST = 60
_LOG_LINES = 4
_CANDIDATES = 8
_SECONDS = 10
_UNIMPORTANT = ("processed ", "peak_states", "mark_precise", "(")
HEAD = """# The 60 most frequent rejections, in the kernel's words and in ours

Written by `python -m scripts.parity_messages`; the judgements are in scripts/parity_messages.json.

Of the {rejected} rejections in the corpus these {count} sentences (without their numbers and names) are {share} %.
Each has one small example: the end of the kernel's log, and what skep says. The examples are assembly from the kernel's
own tests and mutants of them, without source lines: for C, skep marks the line and shows variables by their names
([errors/](errors/README.md) has C for every code).

The question of each judgement: could a newcomer, who knows C and has read a tutorial, fix the program from skep's text
alone? **{yes} yes, {partly} partly, {no} no.**

"""


def collect() -> None:
    """Choose and ask; judgements that are there stay."""
    known = {item["sentence"]: item for item in _load()["messages"]} if DATA.exists() else {}
    counts: Counter[str] = Counter()
    examples: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows():
        if row["kernel"]["verdict"] == "REJECT" and in_scope(row):
            sentence = normalise(str(row["kernel"].get("error") or ""))
            counts[sentence] += 1
            examples[sentence].append(row)
    messages = []
    for sentence, count in counts.most_common():
        if len(messages) == MOST:
            break
        found = _example(examples[sentence])
        if found is None:
            continue
        judgement = known.get(sentence, {}).get("judgement", {"answer": "", "why": ""})
        messages.append(
            {"sentence": sentence, "count": count, "id": found["id"], "log": _log(found), "judgement": judgement}
        )
    data = {"rejected": counts.total(), "messages": messages}
    DATA.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n")


def _load() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(DATA.read_text())
    return data


def _example(candidates: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The smallest program that both reject, with a verdict of ours to show."""
    candidates.sort(key=lambda row: (len(row["prog"].get("insns", "")) or 1 << 20, row["id"]))
    for row in candidates[:_CANDIDATES]:
        found = compare(corpus(), row, _SECONDS)
        if found.kind is Kind.AGREE and found.verdict is not None and found.verdict.diagnostics:
            return row
    return None


def _log(row: dict[str, Any]) -> list[str]:
    """The last lines of the running kernel's log; the corpus' sentence where it cannot be asked."""
    linked = link(row)
    engine = KernelEngine(linked.target)
    try:
        maps = {name: engine.create_map(spec) for name, spec in linked.maps.items()}
        engine.load_linked(linked, maps).close()
    except SkepError as error:
        log = getattr(error, "log", "") or ""
        said = [line for line in log.splitlines() if line and not line.startswith(_UNIMPORTANT)]
        if said and normalise(said[-1]) == normalise(str(row["kernel"]["error"])):
            return said[-_LOG_LINES:]
    finally:
        engine.close()
    return [str(row["kernel"]["error"])]


def document() -> str:
    """The whole text."""
    data = _load()
    wanted = {item["id"]: item for item in data["messages"]}
    found = {row["id"]: row for row in rows() if row["id"] in wanted}
    answers = Counter(item["judgement"]["answer"] for item in data["messages"])
    covered = sum(item["count"] for item in data["messages"])
    text = HEAD.format(
        rejected=data["rejected"],
        count=len(data["messages"]),
        share=round(100 * covered / data["rejected"]),
        yes=answers["yes"],
        partly=answers["partly"],
        no=answers["no"],
    )
    return text + "\n".join(_section(n, item, found[item["id"]]) for n, item in enumerate(data["messages"], start=1))


def _section(number: int, item: dict[str, Any], row: dict[str, Any]) -> str:
    verdict = judge(link(row))
    assert verdict.outcome is Outcome.REJECTED, row["id"]
    log = "\n".join(item["log"])
    said = render(verdict.diagnostics[0])
    judged = item["judgement"]
    return (
        f"## {number}. {item['sentence']}\n\n{item['count']} times; example `{item['id']}`.\n\n"
        f"The kernel:\n\n```text\n{log}\n```\n\nskep:\n\n```text\n{said}\n```\n\n"
        f"From skep's text alone: **{judged['answer']}**. {judged['why']}\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--collect", action="store_true", help="choose and ask the running kernel")
    if parser.parse_args().collect:
        collect()
    DOCUMENT.write_text(document())


if __name__ == "__main__":
    main()
