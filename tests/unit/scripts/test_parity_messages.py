"""docs/parity-messages.md is what the script writes now, and every message is judged."""

from __future__ import annotations

import json

import pytest

from scripts import parity_messages, parity_verifier
from tests.differential.verifier.rows import CORPUS


def test_every_message_is_judged() -> None:
    messages = json.loads(parity_messages.DATA.read_text())["messages"]
    assert len(messages) == parity_messages.MOST
    assert len({item["sentence"] for item in messages}) == len(messages)
    for item in messages:
        assert item["judgement"]["answer"] in ("yes", "partly", "no"), item["sentence"]
        assert item["judgement"]["why"], item["sentence"]
        assert item["log"]


def test_the_document_is_fresh() -> None:
    """After a change of words: python -m scripts.parity_messages."""
    if not CORPUS.is_dir():
        pytest.skip(f"no corpus at {CORPUS}")
    assert parity_messages.DOCUMENT.read_text() == parity_messages.document()


def test_the_list_of_differences_is_fresh() -> None:
    """After a change of test_verdicts.py: python -m scripts.parity_verifier."""
    assert parity_verifier.DOCUMENT.read_text() == parity_verifier.document()
