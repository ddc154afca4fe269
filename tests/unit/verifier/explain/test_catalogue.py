"""The catalogue is total, its codes are stable words, and each has its page."""

from __future__ import annotations

import re
from pathlib import Path
from string import Formatter

import pytest

from skep.verifier.explain.catalogue import BY_RULE, ENTRIES
from skep.verifier.explain.entry import Entry, fill
from skep.verifier.flow.structure import Flaw
from skep.verifier.requirements.kinds import Rule

PAGES = Path(__file__).parents[4] / "docs" / "errors"
CODES = [entry.code for entry in ENTRIES]


def test_total_over_rules_and_flaws() -> None:
    assert {member.value for member in (*Rule, *Flaw)} == set(BY_RULE)


def test_codes_are_unique() -> None:
    assert len(set(CODES)) == len(CODES)
    assert all(re.fullmatch(r"V\d{4}", code) for code in CODES)


@pytest.mark.parametrize("entry", ENTRIES, ids=CODES)
def test_sentences(entry: Entry) -> None:
    for text in (entry.title, *entry.what, *entry.why):
        assert text
        assert not text.endswith("."), text
    assert all(name is None for _, name, _, _ in Formatter().parse(entry.title)), "a title stands without a case"
    assert entry.help, "say what to do"


@pytest.mark.parametrize("entry", ENTRIES, ids=CODES)
def test_page(entry: Entry) -> None:
    page = (PAGES / f"{entry.code}.md").read_text()
    assert page.startswith(f"# {entry.code}: {entry.title}\n")
    headings = re.findall(r"^## (.*)$", page, re.MULTILINE)
    assert headings == ["Wrong", "What skep says", "Right"]
    wrong, says, right = re.findall(r"^```\w+\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert wrong.strip()
    assert right.strip()
    assert wrong != right
    assert f"error[{entry.code}]: " in says
    if "{" not in entry.help:
        assert f"= help: {entry.help}" in says, "the page is behind the catalogue"


def test_index() -> None:
    index = (PAGES / "README.md").read_text()
    assert [code for code in CODES if f"[{code}]({code}.md)" not in index] == []
    assert {path.stem for path in PAGES.glob("V*.md")} == set(CODES)


def test_fill() -> None:
    assert fill("{reg} is {pointer}", {"reg": "r1", "pointer": "ctx"}) == "r1 is ctx"
    assert fill("{reg} is {pointer}", {"reg": "r1"}) is None
    assert fill("k = {{}};", {}) == "k = {};"
