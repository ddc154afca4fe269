"""What a program as a whole needs: its type, where it attaches, whether it sleeps; and its maps."""

from __future__ import annotations

from collections.abc import Iterator

from skep.abi import history
from skep.abi.features import FEATURES, PROG_TYPES
from skep.abi.map_facts import FACTS
from skep.abi.map_types import MapType
from skep.abi.names import name_of
from skep.abi.prog_types import AttachType, ProgType
from skep.btf import types as t
from skep.model.maps import MapSpec
from skep.model.programs import LinkedProgram
from skep.verifier.requirements.kinds import Rule
from skep.verifier.since.need import Need, feature

_NO_PREALLOC = 1
_MOST_TYPES = 4096  # of one map's value: hostile BTF must not keep us
_HASHES = frozenset({MapType.HASH, MapType.PERCPU_HASH})


def program_needs(linked: LinkedProgram) -> Iterator[Need]:
    """Type, attach type, flags, tags on arguments."""
    since = PROG_TYPES.get(linked.prog_type)
    kind = name_of(linked.prog_type)
    if since is not None:
        yield Need(Rule.NEWER_PROGRAM, since, f"programs of type {kind}", "EINVAL", -1, {"prog_type": kind})
    attach = linked.attach_type
    if attach is not None and attach in history.ATTACH_TYPES and history.needs_attach_type(attach):
        loads = linked.prog_type not in history.CHECKED_AT_LOAD
        what = f"the attach type {name_of(attach)}"
        yield Need(Rule.NEWER_PROGRAM, history.ATTACH_TYPES[attach], what, "EINVAL", -1, {}, loads)
    if attach is AttachType.TRACE_ITER and linked.attach_to in history.ITERATORS:
        what = f"the iterator over {linked.attach_to}"
        yield Need(Rule.NEWER_PROGRAM, history.ITERATORS[linked.attach_to], what, "ENOENT")
    if linked.sleepable:
        slept = history.SLEEPABLE.get(linked.prog_type) or history.SLEEPABLE.get(_attach(linked), (5, 10))
        values = {"feature": "sleepable"}
        said = "Only fentry/fexit/fmod_ret, lsm, iter, uprobe, and struct_ops programs can be sleepable"
        yield Need(Rule.NEWER_FEATURE, slept, f"programs of type {kind} that sleep", said, -1, values)
    if linked.frags:
        yield feature("xdp_frags", "EINVAL")
    yield from _tags(linked)


def _attach(linked: LinkedProgram) -> AttachType | ProgType:
    return linked.attach_type if linked.attach_type is not None else linked.prog_type


def _tags(linked: LinkedProgram) -> Iterator[Need]:
    btf = linked.btf
    functions = {sub.btf_id: sub for sub in linked.subprograms if sub.is_global and sub.btf_id}
    if btf is None or not functions:
        return
    for tag in btf:
        if isinstance(tag, t.DeclTag) and tag.type in functions and tag.name in history.ARGUMENT_TAGS:
            sub = functions[tag.type]
            said = f"Caller passes invalid args into func#{linked.subprograms.index(sub)} ('{sub.name}')"
            yield feature(history.ARGUMENT_TAGS[tag.name], said, sub.start)


def map_needs(linked: LinkedProgram) -> Iterator[Need]:
    """What the maps that the code names need."""
    for spec in linked.maps.values():
        yield from _map(spec, linked.sleepable)


def _map(spec: MapSpec, sleepable: bool) -> Iterator[Need]:
    values = {"map": spec.name}
    kind = name_of(spec.type)
    facts = FACTS.get(spec.type)
    if facts is not None:
        yield Need(Rule.NEWER_MAP, facts.since, f"map '{spec.name}' of type {kind}", "EINVAL", -1, values)
    if spec.contents is None:  # the flags of global data are left out where a kernel does not know them
        for bit, name, since in history.MAP_FLAGS:
            if spec.flags & bit:
                yield Need(Rule.NEWER_MAP, since, f"{name} on map '{spec.name}'", "EINVAL", -1, values)
    if spec.map_extra:
        yield Need(Rule.NEWER_MAP, history.MAP_EXTRA, f"map_extra of map '{spec.name}'", "EINVAL", -1, values)
    for name in sorted(_held(spec)):
        row = FEATURES[name]
        yield Need(Rule.NEWER_MAP, row.since, f"{row.what} (map '{spec.name}')", "EINVAL", -1, values)
    if sleepable:
        said = f"Sleepable programs can only use array and hash maps: map '{spec.name}'"
        slept = history.SLEEPABLE_MAPS.get(spec.type)
        if spec.type in _HASHES and spec.flags & _NO_PREALLOC:
            slept = history.SLEEPABLE_NO_PREALLOC
        if slept is not None:
            what = f"map '{spec.name}' of type {kind} in a program that sleeps"
            yield Need(Rule.NEWER_MAP, slept, what, said, -1, values)
    if spec.inner is not None:
        yield from _map(spec.inner, sleepable)


def _held(spec: MapSpec) -> set[str]:
    """Features that the value's type asks for: locks, timers, kernel pointers, ..."""
    btf, found = spec.btf, set[str]()
    if btf is None or not 0 < spec.value_type < len(btf):
        return found
    seen: set[int] = set()
    todo = [spec.value_type]
    while todo and len(seen) < _MOST_TYPES:
        number = todo.pop()
        if number in seen or not 0 < number < len(btf):
            continue
        seen.add(number)
        kind = btf[number]
        if isinstance(kind, t.Ptr):
            tag = btf[kind.type] if 0 < kind.type < len(btf) else None
            if isinstance(tag, t.TypeTag) and tag.name in history.POINTER_TAGS:
                found.add(history.POINTER_TAGS[tag.name])
        elif isinstance(kind, (t.Struct, t.Union)):
            if kind.name in history.VALUE_STRUCTS:
                found.add(history.VALUE_STRUCTS[kind.name])
            else:
                todo += [member.type for member in kind.members]
        elif isinstance(kind, t.Datasec):
            todo += [entry.type for entry in kind.entries]
        elif isinstance(kind, (t.Array, t.Var, *t.MODIFIERS)):
            todo.append(kind.type)
    return found
