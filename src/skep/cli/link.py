"""``skep link``: the links of this kernel, in bpftool's shape."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import click

from skep.abi.names import name_of
from skep.abi.prog_types import ProgType
from skep.cli.output import json_option, print_json
from skep.diagnostics import Diagnostic
from skep.errors import EngineError, UsageError
from skep.kernel.bpf import links as calls
from skep.kernel.bpf import objects
from skep.kernel.bpf.call import BpfCallError
from skep.kernel.bpf.objects import Kind
from skep.kernel.fd import Fd
from skep.kernel.inspect.owners import find_owners
from skep.kernel.links.info import links, program_type, read_link

# What is not written as «name value» on the second line.
_SKIPPED: Final = frozenset({"id", "type", "prog_id", "pids", "devname", "perf_kind", "pinned", "members"})
words_argument = click.argument("words", nargs=-1, metavar="[WORDS]...")


@click.group()
def link() -> None:
    """Links in this kernel: programs that are attached.

    LINK is: id N | pinned FILE
    """


@link.command()
@words_argument
@json_option
def show(words: tuple[str, ...], as_json: bool) -> None:
    """Show [LINK], by default all."""
    if words:
        with select_link(words) as fd:
            found: list[Mapping[str, Any]] = [read_link(fd.number)]
    else:
        try:
            found = list(links())
        except BpfCallError as error:
            raise _failed("links cannot be listed", error) from None
    owners = find_owners(Kind.LINK)
    own = os.getpid()
    rows = []
    for row in found:
        holders = [owner for owner in owners.get(row["id"], ()) if owner.pid != own]
        pids = [{"pid": owner.pid, "comm": owner.comm} for owner in holders]
        rows.append(_complete(row) | ({"pids": pids} if pids else {}))
    if as_json:
        print_json(rows[0] if words else rows)
        return
    for row in rows:
        click.echo("\n".join(link_lines(row)))


link.add_command(show, "list")


@link.command()
@words_argument
@json_option
def pin(words: tuple[str, ...], as_json: bool) -> None:
    """Give LINK a name: pin LINK FILE. It stays attached until the name is removed."""
    if len(words) != 3:
        raise UsageError(Diagnostic("U0330", "pin needs a link and a path", help="skep link pin id 7 /sys/fs/bpf/name"))
    with select_link(words[:2]) as fd:
        try:
            objects.pin(fd.number, words[2])
        except BpfCallError as error:
            raise _failed(f"the link cannot be pinned at '{words[2]}'", error) from None
    if as_json:
        print_json({"pinned": words[2]})


@link.command()
@words_argument
@json_option
def detach(words: tuple[str, ...], as_json: bool) -> None:
    """End LINK, even if others hold it; a pin of a kind that cannot be ended is removed."""
    with select_link(words) as fd:
        try:
            calls.detach(fd.number)
        except BpfCallError as error:
            if error.number not in (errno.EOPNOTSUPP, errno.EINVAL) or words[0] != "pinned":
                raise _failed("the link cannot be detached", error) from None
    if words[0] == "pinned":
        Path(words[1]).unlink(missing_ok=True)
    if as_json:
        print_json({"detached": True})


def select_link(words: tuple[str, ...]) -> Fd:
    """The link that ``id N`` or ``pinned FILE`` names.

    Raises:
        UsageError: U0331, neither. EngineError: U0332, there is none.
    """
    if len(words) != 2 or words[0] not in ("id", "pinned") or (words[0] == "id" and not words[1].isdigit()):
        raise UsageError(Diagnostic("U0331", f"'{' '.join(words)}' names no link", help="id N | pinned FILE"))
    try:
        if words[0] == "id":
            return objects.open_id(Kind.LINK, int(words[1]))
        return objects.get(words[1])
    except BpfCallError as error:
        raise _failed(f"there is no link {words[0]} {words[1]}", error) from None


def link_lines(row: Mapping[str, Any]) -> list[str]:
    """One link as bpftool writes it."""
    lines = [f"{row['id']}: {row['type']}  prog {row['prog_id']}  "]
    details = []
    for name, value in row.items():
        if name in _SKIPPED or (name == "cookie" and not value):
            continue
        if name == "ifindex":
            details.append(f"ifindex {row['devname']}({value})" if row.get("devname") else f"ifindex {value}")
        elif isinstance(value, bool):
            details += [name] if value else []
        else:
            details.append(f"{name} {value}")
    if details:
        lines.append("\t" + "  ".join(details))
    if row.get("pids"):
        lines.append("\tpids " + ",".join(f"{owner['comm']}({owner['pid']})" for owner in row["pids"]))
    return lines


def _complete(row: Mapping[str, Any]) -> dict[str, Any]:
    """With the names that numbers stand for, as far as this namespace knows them."""
    found = dict(row)
    if row["type"] == "tracing":
        kind = program_type(row["prog_id"])
        if kind is not None:
            with suppress(ValueError):
                found["prog_type"] = name_of(ProgType(kind))
    if row.get("ifindex"):
        with suppress(OSError):
            found["devname"] = socket.if_indextoname(row["ifindex"])
    return found


def _failed(what: str, error: BpfCallError) -> EngineError:
    help = "root or CAP_SYS_ADMIN may; skep link show lists links" if error.number == errno.EPERM else "skep link show"
    return EngineError(Diagnostic("U0332", f"{what}: {os.strerror(error.number)}", help=help))
