"""One row of the catalogue of messages."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from string import Formatter


@dataclass(frozen=True, slots=True)
class Entry:
    """What to say when a rule is broken.

    Texts hold placeholders, ``{reg}`` or ``{helper}``, for what is known of the case. A text with a placeholder that is
    not known is left out, so that a row can be as precise as the case allows.

    Attributes:
        code: stable; docs/errors has a page of this name.
        rule: the Rule (requirements.kinds) or Flaw (flow.structure) it is for.
        title: the general finding; it heads the page.
        what: the finding in this case; the first text with nothing unknown is taken, else the title.
        label: what to write under the marked source.
        why: reasons; all texts with nothing unknown are given.
        help: what to do, with C where C helps.
        said_by_kernel: the violation's sentence is one that Linux prints.
    """

    code: str
    rule: StrEnum
    title: str
    what: tuple[str, ...] = ()
    label: str = ""
    why: tuple[str, ...] = ()
    help: str = ""
    said_by_kernel: bool = True


def fill(text: str, known: dict[str, str]) -> str | None:
    """The text with what is known put in; None if something is not."""
    if all(name is None or name in known for _, name, _, _ in Formatter().parse(text)):
        return text.format(**known)
    return None
