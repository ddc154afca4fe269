"""The root of the command line: verbs, exit codes, and the one place where errors become text or JSON.

Exit codes: 0 fine; 1 rejected or failed; 2 wrong use or bad input; 70 a bug in skep; 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module

import click

import skep
from skep.cli.output import report
from skep.diagnostics import Diagnostic
from skep.errors import InternalError, SkepError

USAGE, BUG, INTERRUPTED = 2, InternalError.exit_code, 130


#: Each verb's home, ``module:attribute``, in the order of the help: files first, then the running kernel.
VERBS: Mapping[str, str] = {
    "build": "build:build",
    "verify": "verify:verify",
    "run": "run:run",
    "attach": "attach:attach",
    "dump": "dump:dump",
    "btf": "btf:btf",
    "filter": "filter:filter",
    "capture": "capture:capture",
    "firewall": "firewall:firewall",
    "lb": "lb:lb",
    "prog": "prog:prog",
    "map": "map:map_",
    "link": "link:link",
    "net": "net:net",
    "cgroup": "cgroup:cgroup",
    "feature": "feature:feature",
    "target": "target:target",
}


class Verbs(click.Group):
    """A group that imports a verb's module only when the verb is used: a start costs what its verb needs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        home = VERBS.get(cmd_name)
        if home is None:
            return None
        module, attribute = home.split(":")
        command = getattr(import_module(f"skep.cli.{module}"), attribute)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(skep.__version__, "-V", "--version", prog_name="skep")
def root() -> None:
    """The eBPF system for Python: compile, verify and run eBPF programs, in this process or in Linux.

    FILE is always C source (*.c) or a BPF object file (*.o). Every verb takes --json.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in arguments
    try:
        code = root.main(arguments, prog_name="skep", standalone_mode=False)
    except SkepError as error:
        report(error.diagnostics, as_json=as_json)
        log = getattr(error, "log", "")
        if log and not as_json and {"-v", "--verbose"} & set(arguments):
            click.echo(log, err=True)
        code = error.exit_code
    except click.ClickException as error:
        help_text = "skep --help lists the verbs"
        if isinstance(error, click.UsageError) and error.ctx is not None:
            help_text = f"{error.ctx.command_path} --help says how"
        report((Diagnostic("U0001", error.format_message().rstrip("."), help=help_text),), as_json=as_json)
        code = USAGE
    except (KeyboardInterrupt, click.Abort):
        report((Diagnostic("U0002", "interrupted"),), as_json=as_json)
        code = INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away (`skep dump x | head`): that is not an error of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        report((Diagnostic("U0003", what),), as_json=as_json)
        code = USAGE
    except Exception as error:
        report((_bug(error),), as_json=as_json)
        code = BUG
    sys.exit(code if isinstance(code, int) else 0)


def _bug(error: Exception) -> Diagnostic:
    if os.environ.get("SKEP_DEBUG"):
        traceback.print_exception(error)
    return Diagnostic(
        "U9999",
        f"a bug in skep: {type(error).__name__}: {error}",
        why=("this must not happen, whatever the input",),
        help="please report it with the command and the input; SKEP_DEBUG=1 shows the traceback",
    )
