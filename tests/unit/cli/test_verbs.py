"""The table of verbs: each one is there, under its own name, and its module is loaded only when it is used."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from skep.cli.main import VERBS, root


@pytest.mark.parametrize("name", list(VERBS))
def test_every_verb_exists_and_takes_json(name: str) -> None:
    context = click.Context(root)
    verb = root.get_command(context, name)
    assert verb is not None
    assert verb.name == name
    assert verb.help
    commands = list(verb.commands.values()) if isinstance(verb, click.Group) else [verb]
    options = {option for command in commands for parameter in command.params for option in parameter.opts}
    assert "--json" in options


def test_a_verb_does_not_load_the_others() -> None:
    code = (
        "import sys, importlib; m = importlib.import_module('skep.cli.main');"
        "m.root.get_command(None, 'btf'); print('skep.cli.firewall' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
