"""docs/errors/codes.md has every code that the source can give, and a sentence for each."""

from __future__ import annotations

from scripts.error_codes import PAGE, all_codes, codes_in_text, page


def test_every_code_is_found_and_has_a_sentence() -> None:
    said = all_codes()
    assert {each.code for each in said} == codes_in_text()
    assert [each.code for each in said if not each.what] == []


def test_the_page_is_fresh() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(all_codes()), "run: python -m scripts.error_codes"
