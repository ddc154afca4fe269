"""``--set NAME=VALUE``: text of the command line to a value of a variable's type."""

from __future__ import annotations

import json
from typing import Any

from skep.collection.object import no_such_name
from skep.diagnostics import Diagnostic
from skep.errors import UsageError
from skep.model.objects import ObjectSpec


def parse_settings(spec: ObjectSpec, settings: tuple[str, ...]) -> dict[str, Any]:
    """``NAME=VALUE`` pairs to values: numbers (decimal, 0x...), true/false, JSON lists and objects, or text as it is."""
    values: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or not name:
            raise UsageError(
                Diagnostic("U0304", f"'{setting}' is not NAME=VALUE", help="e.g. --set port=443 or --set limit=0x10")
            )
        if name not in spec.variables:
            raise no_such_name("variable", name, spec.variables)
        values[name] = _value(text)
    return values


def _value(text: str) -> Any:
    try:
        return int(text, 0)
    except ValueError:
        pass
    try:
        return json.loads(text)
    except ValueError:
        return text
