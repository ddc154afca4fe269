"""From a blueprint to a live object: link and prove everything, then create; a failure in the middle leaves nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from skep.abi.map_types import MapType
from skep.collection.base import Map
from skep.collection.judged import load_judged
from skep.collection.map import MapFactory
from skep.collection.object import Object, no_such_name
from skep.collection.program import Program
from skep.collection.tables import Table
from skep.collection.variable import Variable
from skep.diagnostics import Diagnostic
from skep.engine import Engine, JudgesItself, MapHandle, PinsByName
from skep.errors import UsageError
from skep.linker import default_programs, link, place_variables, set_variables
from skep.model.maps import MapSpec, Pinning
from skep.model.objects import ObjectSpec
from skep.model.programs import LinkedProgram
from skep.verifier import verify
from skep.verifier.options import Options


def load_object(
    spec: ObjectSpec,
    engine: Engine,
    *,
    programs: Iterable[str] | None = None,
    variables: Mapping[str, Any] | None = None,
    options: Options | None = None,
    extends: Mapping[str, Program] | None = None,
    close_engine: bool = False,
) -> Object:
    """Load a blueprint on an engine; see :func:`skep.load`.

    An engine that judges itself (Linux) decides on its own verifier's verdict; on every other one a program runs only
    when skep's verifier has proved it.

    ``close_engine``: the object owns the engine and closes it last.
    """
    if variables:
        spec = set_variables(spec, dict(variables))
    spec = place_variables(spec)
    wanted = _wanted_programs(spec, programs, engine)
    linked = {name: link(spec, name, engine.target) for name in wanted}
    for name, base_program in (extends or {}).items():
        if name in linked:
            linked[name] = replace(linked[name], extends=base_program.linked)
    judges_itself = isinstance(engine, JudgesItself)
    proved = {} if judges_itself else {n: verify(program, options or Options()) for n, program in linked.items()}
    blueprints = _wanted_maps(spec, linked)
    with ExitStack() as stack:
        if close_engine:
            stack.callback(engine.close)
        handles: dict[str, MapHandle] = {}
        for name, blueprint in blueprints.items():
            handles[name] = engine.create_map(blueprint)
            stack.callback(handles[name].close)
        live_programs: dict[str, Program] = {}
        for name, program in linked.items():
            needed = {map_name: handles[map_name] for map_name in program.maps}
            if isinstance(engine, JudgesItself):
                base = extends[name].handle if extends and name in extends else None
                live_programs[name] = Program(program, load_judged(engine, program, needed, base, options), engine)
            else:
                live_programs[name] = Program(proved[name], engine.load_program(proved[name], needed), engine)
            stack.callback(live_programs[name].close)
        factory = MapFactory(spec.byte_order, _member_putter(engine))
        maps = {name: factory.make(blueprints[name], handle) for name, handle in handles.items()}
        for live in maps.values():
            stack.callback(live.close)
        _fill_slots(blueprints, maps, live_programs)
        for live in maps.values():
            if isinstance(live, Table):
                live.bind(live_programs, engine)
        live_variables = {
            name: Variable(variable, handles[variable.map], spec.byte_order)
            for name, variable in spec.variables.items()
            if variable.map in handles
        }
        _pin_maps(engine, handles.values())
        return Object(spec, live_programs, maps, live_variables, stack.pop_all())


def _pin_maps(engine: Engine, handles: Iterable[MapHandle]) -> None:
    """The last step: names in a bpffs for the maps that want one; a failure takes those made before away again."""
    if not isinstance(engine, PinsByName):
        return
    with ExitStack() as made:
        for handle in handles:
            if handle.spec.pinning is Pinning.BY_NAME:
                engine.pin_by_name(handle)
                made.callback(engine.undo_pin, handle)
        made.pop_all()


def _wanted_programs(spec: ObjectSpec, names: Iterable[str] | None, engine: Engine) -> list[str]:
    if names is None:
        return default_programs(spec, engine.target)
    wanted = list(names)
    for name in wanted:
        if name not in spec.programs:
            raise no_such_name("program", name, spec.programs)
    return wanted


def _wanted_maps(spec: ObjectSpec, linked: Mapping[str, LinkedProgram]) -> dict[str, MapSpec]:
    """Every declared map that should exist, and what linking added or finished (``.kconfig``, ``.rodata``)."""
    blueprints = {name: blueprint for name, blueprint in spec.maps.items() if blueprint.autocreate}
    for program in linked.values():
        blueprints.update(program.maps)
    return blueprints


def _fill_slots(blueprints: Mapping[str, MapSpec], maps: Mapping[str, Map], programs: Mapping[str, Program]) -> None:
    """Put the maps and programs that C wrote into ``values`` where they belong."""
    for name, blueprint in blueprints.items():
        if blueprint.type not in MapFactory.reference_types:
            continue
        outer: Any = maps[name]
        known: Mapping[str, Any] = programs if blueprint.type is MapType.PROG_ARRAY else maps
        for slot in blueprint.slots:
            # A program that is not loaded (SEC("?...")) leaves its slot empty, as libbpf does.
            if slot.target in known:
                outer[slot.index] = known[slot.target]


def _member_putter(engine: Engine) -> Any:
    def put(outer: MapHandle, key: bytes, member: Any) -> None:
        if isinstance(member, Map):
            engine.set_inner(outer, key, member.handle)
        elif isinstance(member, Program):
            engine.set_program(outer, int.from_bytes(key, "little"), member.handle)
        else:
            raise UsageError(
                Diagnostic(
                    "M0006",
                    f"{type(member).__name__} cannot be put into map '{outer.spec.name}'",
                    help="put a skep Map into a map of maps, a skep Program into a prog_array",
                )
            )

    return put
