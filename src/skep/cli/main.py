"""The root of the command line: verbs, exit codes, and the one place where errors become text or JSON.

Exit codes: 0 fine; 1 rejected or failed; 2 wrong use or bad input; 70 a bug in skep; 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

import click

import skep
from skep.cli.attach import attach
from skep.cli.btf import btf
from skep.cli.build import build
from skep.cli.capture import capture
from skep.cli.cgroup import cgroup
from skep.cli.dump import dump
from skep.cli.feature import feature
from skep.cli.filter import filter
from skep.cli.firewall import firewall
from skep.cli.link import link
from skep.cli.map import map_
from skep.cli.net import net
from skep.cli.output import report
from skep.cli.prog import prog
from skep.cli.run import run
from skep.cli.target import target
from skep.cli.verify import verify
from skep.diagnostics import Diagnostic
from skep.errors import InternalError, SkepError

USAGE, BUG, INTERRUPTED = 2, InternalError.exit_code, 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(skep.__version__, "-V", "--version", prog_name="skep")
def root() -> None:
    """The eBPF system for Python: compile, verify and run eBPF programs, in this process or in Linux.

    FILE is always C source (*.c) or a BPF object file (*.o). Every verb takes --json.
    """


ABOUT_FILES = (build, verify, run, attach, dump, btf, filter, capture, firewall)
ABOUT_THE_KERNEL = (prog, map_, link, net, cgroup, feature, target)
for verb in (*ABOUT_FILES, *ABOUT_THE_KERNEL):
    root.add_command(verb)


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
