"""``skep map``: the maps in this kernel, in bpftool's shape."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from skep.abi.names import find_map_type
from skep.cli.loaded import print_loaded
from skep.cli.output import json_option, json_value, print_json
from skep.cli.prog import listing_errors, one_path, words_argument
from skep.cli.selectors import matching, number, options, select_map
from skep.collection.base import Map
from skep.collection.map import MapFactory, MappingMap, PerCpuMap, Queue
from skep.collection.object import no_such_name
from skep.diagnostics import Diagnostic
from skep.engine import ANY, EXIST, NOEXIST
from skep.errors import UnsupportedError, UsageError
from skep.kernel.bpf.objects import Kind
from skep.kernel.engine import KernelEngine
from skep.kernel.inspect.maps import MapFacts, adopt, list_maps, read_facts, read_spec
from skep.kernel.inspect.owners import Owner, find_owners, find_pins
from skep.kernel.maps import pins
from skep.kernel.maps.handle import KernelMap
from skep.model.maps import MapSpec

_FLAGS = {"any": ANY, "noexist": NOEXIST, "exist": EXIST}


@click.group("map")
def map_() -> None:
    """Maps in this kernel.

    MAP is: id N | pinned FILE | name NAME.  DATA is bytes ([hex] 0x01 0x00 ...), or one JSON
    value where the types are known.
    """


@map_.command()
@words_argument
@click.option("-f", "--bpffs", is_flag=True, help="Look for pins, too.")
@json_option
def show(words: tuple[str, ...], bpffs: bool, as_json: bool) -> None:
    """Show [MAP], by default all."""
    owners = find_owners(Kind.MAP)
    pinned = find_pins() if bpffs else {}
    if words and words[0] != "name":
        chosen = select_map(words)
        with chosen.fd:
            found = [read_facts(chosen.fd)]
    elif words:  # several maps may have one name: all are shown
        with listing_errors("maps"):
            found = matching("map", words, ((f, ("", f.name)) for _, f in list_maps()))
    else:
        with listing_errors("maps"):
            found = [facts for _, facts in list_maps()]
    print_loaded(Kind.MAP, found, owners, pinned, map_lines, one_if_single=bool(words), as_json=as_json)


map_.add_command(show, "list")


def map_lines(facts: MapFacts, holders: Sequence[Owner], paths: Sequence[str]) -> list[str]:
    """The lines of one map."""
    name = f"  name {facts.name}" if facts.name else ""
    frozen = "  frozen" if facts.frozen else ""
    lines = [f"{facts.id}: {facts.type}{name}  flags {facts.flags:#x}"]
    lines.append(
        f"\tkey {facts.bytes_key}B  value {facts.bytes_value}B  max_entries {facts.max_entries}"
        f"  memlock {facts.bytes_memlock}B{frozen}"
    )
    lines += [f"\tpinned {path}" for path in paths]
    if facts.btf_id:
        lines.append(f"\tbtf_id {facts.btf_id}")
    if holders:
        lines.append("\tpids " + ", ".join(f"{owner.comm}({owner.pid})" for owner in holders))
    return lines


@contextmanager
def _opened(words: Sequence[str]) -> Iterator[tuple[KernelMap, Map, tuple[str, ...]]]:
    """The chosen map: raw, decoded by its types, and the words left."""
    chosen = select_map(words)
    handle = adopt(chosen.fd)
    try:
        # contents is set for global data alone; an existing map says so by its type of value.
        yield handle, MapFactory(_byte_order(), _no_members).make(handle.spec, handle), chosen.rest
    finally:
        handle.close()


def _no_members(*_: object) -> None:
    raise UnsupportedError(Diagnostic("M0008", "maps and programs are put into maps by skep.load, not from here"))


def _byte_order() -> str:
    import sys

    return sys.byteorder


@map_.command()
@words_argument
@json_option
def dump(words: tuple[str, ...], as_json: bool) -> None:
    """Show all elements of MAP."""
    with _opened(words) as (handle, live, rest):
        options(rest, [])
        rows = [_element(live, key, value) for key, value in handle.items()]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        click.echo(_line(row))
    click.echo(f"Found {len(rows)} element{'s' * (len(rows) != 1)}")


def _element(live: Map, key: bytes, value: bytes | None) -> dict[str, Any]:
    row: dict[str, Any] = {"key": [f"{byte:#04x}" for byte in key]}
    if value is None:
        return row | {"error": "No such file or directory"}
    stride = -(-live.spec.value_size // 8) * 8
    if isinstance(live, PerCpuMap):
        parts = [value[at : at + live.spec.value_size] for at in range(0, len(value), stride)]
        row["values"] = [{"cpu": cpu, "value": [f"{byte:#04x}" for byte in part]} for cpu, part in enumerate(parts)]
    else:
        row["value"] = [f"{byte:#04x}" for byte in value]
    if isinstance(live, MappingMap) and live.spec.btf is not None and live.spec.value_type:
        key_value, decoded = live.decode_element(key, value)
        row["formatted"] = {"key": json_value(key_value), "value": json_value(decoded)}
    return row


def _line(row: dict[str, Any]) -> str:
    if "formatted" in row:
        return json.dumps(row["formatted"])
    plain = {name: " ".join(byte[2:] for byte in row[name]) for name in ("key", "value") if row.get(name)}
    lines = ["  ".join(f"{name}: {text}" for name, text in plain.items())]
    lines += [f"value (CPU {v['cpu']:02d}): {' '.join(byte[2:] for byte in v['value'])}" for v in row.get("values", ())]
    return "\n".join(lines)


@map_.command()
@words_argument
@json_option
def lookup(words: tuple[str, ...], as_json: bool) -> None:
    """Show one element: lookup MAP key DATA."""
    with _opened(words) as (handle, live, rest):
        key = _data(_after(rest, "key"), live, "key")
        row = _element(live, key, handle.lookup(key))
    _print_row(row, as_json)


def _print_row(row: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(row)
    elif "error" in row:
        click.echo(f"key: {' '.join(byte[2:] for byte in row['key'])}\n\nNot found")
    else:
        click.echo(_line(row))


@map_.command()
@words_argument
def update(words: tuple[str, ...]) -> None:
    """Set one element: update MAP [key DATA] value DATA [any|exist|noexist].

    The value of a map of maps, or of a prog_array, may be a MAP or PROG.
    """
    with _opened(words) as (handle, live, rest):
        flags = ANY
        if rest and rest[-1] in _FLAGS:
            flags, rest = _FLAGS[rest[-1]], rest[:-1]
        if "value" not in rest:
            raise UsageError(Diagnostic("U0325", "say the value", help="update MAP key DATA value DATA"))
        at = rest.index("value")
        key = _data(_after(rest[:at], "key"), live, "key") if handle.spec.key_size else b""
        handle.update(key, _value(rest[at + 1 :], handle, live), flags)


def _value(words: Sequence[str], handle: KernelMap, live: Map) -> bytes:
    if handle.spec.inner is None and words and words[0] in ("id", "pinned", "name"):
        from skep.cli.selectors import select_program

        is_program = handle.spec.type.name == "PROG_ARRAY"
        chosen = select_program(words) if is_program else select_map(words)
        # The descriptor must live until the element is set: it is closed with the process.
        return chosen.fd.number.to_bytes(4, "little" if _byte_order() == "little" else "big")
    return _data(words, live, "value")


@map_.command()
@words_argument
def delete(words: tuple[str, ...]) -> None:
    """Remove one element: delete MAP key DATA."""
    with _opened(words) as (handle, live, rest):
        if not handle.delete(_data(_after(rest, "key"), live, "key")):
            raise UsageError(Diagnostic("M0005", f"map '{handle.spec.name}' has no such key", kernel="ENOENT"))


@map_.command()
@words_argument
@json_option
def getnext(words: tuple[str, ...], as_json: bool) -> None:
    """Show the key after a key, or the first: getnext MAP [key DATA]."""
    with _opened(words) as (handle, live, rest):
        key = _data(_after(rest, "key"), live, "key") if rest else None
        following = handle.next_key(key)
    if following is None:
        raise UsageError(Diagnostic("M0005", "there is no further key", kernel="ENOENT"))
    listed = [f"{byte:#04x}" for byte in following]
    if as_json:
        print_json({"key": [f"{byte:#04x}" for byte in key] if key else None, "next_key": listed})
    else:
        click.echo("next key: " + " ".join(byte[2:] for byte in listed))


@map_.command()
@words_argument
def create(words: tuple[str, ...]) -> None:
    """Make a map: create FILE type TYPE key N value N entries N name NAME [flags N] [inner_map MAP]."""
    if not words:
        raise UsageError(Diagnostic("U0324", "name one FILE", help="in a bpffs: /sys/fs/bpf/NAME"))
    given = dict(options(_without_inner(words)[1:], ["type", "key", "value", "entries", "name", "flags"]))
    map_type = find_map_type(given.get("type", ""))
    if map_type is None:
        from skep.abi.names import MAP_TYPES

        raise no_such_name("map type", given.get("type", ""), MAP_TYPES)
    inner = _inner(words)
    spec = MapSpec(
        given.get("name", ""),
        map_type,
        number(given.get("key", "0")),
        number(given.get("value", "0")),
        number(given.get("entries", "0")),
        number(given.get("flags", "0")),
        inner=inner,
    )
    engine = KernelEngine()
    try:
        engine.create_map(spec).pin(words[0])
    finally:
        engine.close()


def _without_inner(words: Sequence[str]) -> tuple[str, ...]:
    if "inner_map" not in words:
        return tuple(words)
    at = list(words).index("inner_map")
    return (*words[:at], *words[at + 3 :])


def _inner(words: Sequence[str]) -> MapSpec | None:
    if "inner_map" not in words:
        return None
    chosen = select_map(list(words)[list(words).index("inner_map") + 1 :])
    with chosen.fd:
        return read_spec(chosen.fd)


@map_.command()
@words_argument
def pin(words: tuple[str, ...]) -> None:
    """Give MAP the name FILE in a bpffs: pin MAP FILE."""
    chosen = select_map(words)
    with chosen.fd:
        pins.pin(chosen.fd, one_path(chosen.rest), "the map")


@map_.command()
@words_argument
def freeze(words: tuple[str, ...]) -> None:
    """Make MAP read-only for user space, for ever."""
    with _opened(words) as (handle, _, rest):
        options(rest, [])
        handle.freeze()


def _queue_verb(name: str, help: str) -> None:
    @map_.command(name, help=help)
    @words_argument
    @json_option
    def verb(words: tuple[str, ...], as_json: bool) -> None:
        with _opened(words) as (handle, live, rest):
            if not isinstance(live, Queue):
                kind = handle.spec.type.name.lower()
                raise UsageError(Diagnostic("M0009", f"map '{handle.spec.name}' ({kind}) is no queue or stack"))
            if name in ("push", "enqueue"):
                handle.update(b"", _data(_after(rest, "value"), live, "value"))
                return
            take = getattr(handle, "pop") if name in ("pop", "dequeue") else handle.lookup  # noqa: B009
            raw = take(b"")
        if as_json:
            print_json({"value": [f"{byte:#04x}" for byte in raw]} if raw is not None else {"error": "empty"})
        else:
            click.echo("Error: empty map" if raw is None else "value: " + raw.hex(" "))


for _name, _help in (
    ("push", "Add a value to a stack: push MAP value DATA."),
    ("enqueue", "Add a value to a queue: enqueue MAP value DATA."),
    ("pop", "Take the next value of a stack."),
    ("dequeue", "Take the next value of a queue."),
    ("peek", "Show the next value of a queue or stack."),
):
    _queue_verb(_name, _help)


def _after(words: Sequence[str], keyword: str) -> Sequence[str]:
    if not words or words[0] != keyword:
        raise UsageError(Diagnostic("U0325", f"say the {keyword}", help=f"... {keyword} DATA"))
    return words[1:]


def _data(words: Sequence[str], live: Map, what: str) -> bytes:
    """Bytes one by one (after ``hex`` without 0x), or one JSON value that the types turn into bytes."""
    spec = live.spec
    size = spec.key_size if what == "key" else spec.value_size
    is_typed = spec.btf is not None and (spec.key_type if what == "key" else spec.value_type)
    is_hex = bool(words) and words[0] == "hex"
    if is_hex:
        words = words[1:]
    if is_typed and len(words) == 1 and size > 1 and not is_hex:
        try:
            value = json.loads(words[0])
        except ValueError:
            value = words[0]
        return live.encode_key(value) if what == "key" else live.encode_value(value)
    try:
        data = bytes(int(word, 16 if is_hex else 0) for word in words)
    except ValueError:
        raise UsageError(Diagnostic("U0326", f"{' '.join(words)!r} are no bytes", help="e.g. 0x01 0x00 0 0")) from None
    if what == "value" and len(data) != size and getattr(live.handle, "value_bytes", size) != size:
        return data  # a per-CPU map: all CPUs' values; the handle checks the size
    if len(data) != size:
        raise UsageError(Diagnostic("U0326", f"the {what} has {size} bytes, not {len(data)}", help="give all of them"))
    if getattr(live.handle, "value_bytes", size) != size and what == "value":
        padded = data.ljust(-(-size // 8) * 8, b"\0")
        return padded * (getattr(live.handle, "value_bytes", size) // len(padded))
    return data
