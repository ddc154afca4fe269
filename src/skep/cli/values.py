"""``--set NAME=VALUE`` and ``--map NAME=FILE``: what the command line says, as values for variables and maps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skep.collection import Object
from skep.collection.map import MappingMap
from skep.collection.object import no_such_name
from skep.diagnostics import Diagnostic
from skep.errors import InputError, UsageError
from skep.model.objects import ObjectSpec


def parse_settings(spec: ObjectSpec, settings: tuple[str, ...]) -> dict[str, Any]:
    """``NAME=VALUE`` pairs to values: numbers (decimal, 0x...), true/false, JSON lists and objects, or plain text."""
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


def parse_fills(spec: ObjectSpec, fills: tuple[str, ...]) -> dict[str, list[tuple[Any, Any]]]:
    """``NAME=FILE`` pairs to (key, value) lists; FILE has the form in which ``skep run --json`` prints a map.

    Raises:
        UsageError: an unknown map. InputError: a file that is not such JSON.
    """
    contents: dict[str, list[tuple[Any, Any]]] = {}
    for fill in fills:
        name, equals, file = fill.partition("=")
        if not equals or not name:
            raise UsageError(
                Diagnostic("U0305", f"'{fill}' is not NAME=FILE", help="e.g. --map networks=networks.json")
            )
        if name not in spec.maps:
            raise no_such_name("map", name, spec.maps)
        try:
            rows = json.loads(Path(file).read_text())
            contents[name] = [(_binary(row["key"]), _binary(row["value"])) for row in rows]
        except OSError as error:
            raise InputError(Diagnostic("U0306", f"cannot read '{file}': {error.strerror}")) from None
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                Diagnostic(
                    "U0307",
                    f"'{file}' is not the contents of a map: {error}",
                    help='write a JSON list: [{"key": 1, "value": {"packets": 0, "bytes": 0}}]',
                )
            ) from None
    return contents


def fill_maps(live: Object, contents: Mapping[str, list[tuple[Any, Any]]]) -> None:
    """Put the elements into the live maps.

    Raises:
        UsageError: a map that is not filled by keys. MapError, BtfError: an element that does not fit.
    """
    for name, elements in contents.items():
        target = live.maps[name]
        if not isinstance(target, MappingMap):
            kind = target.type.name.lower()
            raise UsageError(Diagnostic("U0308", f"map '{name}' ({kind}) cannot be filled from a file"))
        for key, value in elements:
            target[key] = value


def _binary(value: Any) -> Any:
    """JSON has no bytes: ``"0x0a4d0002"`` means those bytes, everywhere in a key or value."""
    if isinstance(value, str) and value.startswith("0x"):
        return bytes.fromhex(value[2:])
    if isinstance(value, dict):
        return {name: _binary(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_binary(item) for item in value]
    return value


def _value(text: str) -> Any:
    try:
        return int(text, 0)
    except ValueError:
        pass
    try:
        return json.loads(text)
    except ValueError:
        return text
