"""From a blueprint to a live object: link and prove everything, then create; a failure in the middle leaves nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import Any

from skep.abi.map_types import MapType
from skep.collection.map import Map, MapFactory
from skep.collection.object import Object, no_such_name
from skep.collection.program import Program
from skep.collection.variable import Variable
from skep.diagnostics import Diagnostic
from skep.engine import Engine, MapHandle
from skep.errors import UsageError
from skep.linker import link, set_variables
from skep.model.maps import MapSpec
from skep.model.objects import ObjectSpec
from skep.model.programs import VerifiedProgram
from skep.verifier import verify
from skep.verifier.options import Options


def load_object(
    spec: ObjectSpec,
    engine: Engine,
    *,
    programs: Iterable[str] | None = None,
    variables: Mapping[str, Any] | None = None,
    options: Options | None = None,
    close_engine: bool = False,
) -> Object:
    """Load a blueprint on an engine; see :func:`skep.load`.

    ``close_engine``: the object owns the engine and closes it last.
    """
    if variables:
        spec = set_variables(spec, dict(variables))
    wanted = _wanted_programs(spec, programs)
    proved = {name: verify(link(spec, name, engine.target), options or Options()) for name in wanted}
    blueprints = _wanted_maps(spec, proved)
    with ExitStack() as stack:
        if close_engine:
            stack.callback(engine.close)
        handles: dict[str, MapHandle] = {}
        for name, blueprint in blueprints.items():
            handles[name] = engine.create_map(blueprint)
            stack.callback(handles[name].close)
        live_programs: dict[str, Program] = {}
        for name, program in proved.items():
            needed = {map_name: handles[map_name] for map_name in program.linked.maps}
            live_programs[name] = Program(program, engine.load_program(program, needed), engine)
            stack.callback(live_programs[name].close)
        factory = MapFactory(spec.byte_order, _member_putter(engine))
        maps = {name: factory.make(blueprints[name], handle) for name, handle in handles.items()}
        for live in maps.values():
            stack.callback(live.close)
        _fill_slots(blueprints, maps, live_programs)
        live_variables = {
            name: Variable(variable, handles[variable.map], spec.byte_order)
            for name, variable in spec.variables.items()
            if variable.map in handles
        }
        return Object(spec, live_programs, maps, live_variables, stack.pop_all())


def _wanted_programs(spec: ObjectSpec, names: Iterable[str] | None) -> list[str]:
    if names is None:
        return [name for name, program in spec.programs.items() if program.autoload]
    wanted = list(names)
    for name in wanted:
        if name not in spec.programs:
            raise no_such_name("program", name, spec.programs)
    return wanted


def _wanted_maps(spec: ObjectSpec, proved: Mapping[str, VerifiedProgram]) -> dict[str, MapSpec]:
    """Every declared map that should exist, and what linking added or finished (``.kconfig``, ``.rodata``)."""
    blueprints = {name: blueprint for name, blueprint in spec.maps.items() if blueprint.autocreate}
    for program in proved.values():
        blueprints.update(program.linked.maps)
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
