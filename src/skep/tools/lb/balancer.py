"""The live load balancer: the program on an engine, its maps kept as services and backends are, while packets run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib import resources
from types import TracebackType
from typing import Any

import skep
from skep.diagnostics import Diagnostic
from skep.engine import Batched, Engine, MapHandle, PacketRun
from skep.errors import UnsupportedError, UsageError
from skep.model.objects import ObjectSpec
from skep.tools.counters import Count, power_of_two, sum_count, sum_fields, write
from skep.tools.lb import layout
from skep.tools.lb.config import Backend, Config, Forward, Health, Service, State
from skep.tools.lb.configfile import contradictions
from skep.tools.lb.decisions import EVENTS, REASONS, Decision, decode_decision
from skep.tools.lb.layout import U32, Device
from skep.tools.lb.maglev import MAX_WEIGHT, NOBODY, TABLE, Candidate, TableBuilder
from skep.tools.names import protocol_name

PROGRAM = "lb"
MAX_TRACED = 1 << 20
CONNECTIONS = 1 << 18

_LEAST_SERVICES, _LEAST_BACKENDS = 16, 256
_TRAFFIC = ("packets", "bytes", "opened", "replies", "reply_bytes")


@dataclass(slots=True)
class Member:
    """A backend of a service that runs.

    Attributes:
        number: of its record in the program's maps.
        generation: how often the number was used.
    """

    backend: Backend
    number: int
    generation: int
    is_draining: bool = False
    is_down: bool = False

    @property
    def state(self) -> State:
        """What it takes."""
        if self.is_down:
            return State.DOWN
        return State.DRAINING if self.is_draining else State.ACTIVE


@dataclass(slots=True)
class Running:
    """A service that runs: its number, which of its two tables is in force (None: neither), its backends by name."""

    service: Service
    number: int
    side: int | None
    members: dict[str, Member]


class LoadBalancer:
    """A load balancer on an engine. Use it in a with statement, and from one thread.

    Attributes:
        config: what it was started with, or what replaced that; changes of backends are in :meth:`services`.
        object: the loaded object, for those who want to look at its maps.
    """

    def __init__(
        self,
        config: Config,
        *,
        engine: str | Engine = "vm",
        devices: Mapping[str, Device] | None = None,
        traced: int = 0,
        backends: int = 0,
        connections: int = CONNECTIONS,
    ) -> None:
        """Load the program and put the services in force; nothing is attached yet.

        Args:
            devices: the interfaces that backends name.
            traced: of so many packets (at most 2^20) every decision is written down.
            backends: room for so many (default: four times what there are, at least 256).
            connections: room for so many.

        Raises:
            UsageError: N0201: an interface that is not known.
            SkepError: what loading a program can raise.
        """
        self._devices = dict(devices or {})
        self._check_devices(config.services)
        there = sum(len(service.backends) for service in config.services)
        self._services_room = power_of_two(max(_LEAST_SERVICES, 2 * len(config.services)))
        self._backends_room = min(NOBODY, max(_LEAST_BACKENDS, backends, 4 * there))
        spec = self._sized(program_spec(), min(traced, MAX_TRACED), connections)
        self.config = replace(config, services=())
        self._running: dict[str, Running] = {}
        self._generations = [0] * self._backends_room
        self._free = list(range(self._backends_room - 1, -1, -1))
        self._free_services = list(range(self._services_room - 1, -1, -1))
        with ExitStack() as stack:
            self._tables = stack.enter_context(TableBuilder())
            self.object = stack.enter_context(
                skep.load(spec, engine=engine, programs=[PROGRAM], variables={"tracing": int(traced > 0)})
            )
            self.replace(config)
            self._close = stack.pop_all()

    def _sized(self, spec: ObjectSpec, traced: int, connections: int) -> ObjectSpec:
        sizes = {
            "vips": self._services_room,
            "services": self._services_room,
            "tables": 2 * self._services_room,
            "backends": self._backends_room,
            "origins": self._backends_room,
            "traffics": self._backends_room,
            "connections": connections,
            "openings": max(1024, connections // 4),
            "trace": max(1, traced),
        }
        maps = {name: made.replace(max_entries=sizes.get(name, made.max_entries)) for name, made in spec.maps.items()}
        return replace(spec, maps=maps)

    def _handle(self, name: str) -> MapHandle:
        return self.object.maps[name].handle

    # ---- the whole configuration ----

    def replace(self, config: Config, devices: Mapping[str, Device] | None = None) -> None:
        """Go over to another configuration. What is in both stays as it is, with its connections and counters.

        Services change one after the other, each at once. Backends that were drained stay so.

        Raises:
            UsageError: N0201: an interface that is not known.
            UnsupportedError: N0203: there is no room for so many; nothing was changed.
        """
        self._devices |= devices or {}
        self._check_devices(config.services)
        self._check_room(config)
        wanted = {service.name: service for service in config.services}
        for name, running in list(self._running.items()):
            if name not in wanted or not _is_same_service(running.service, wanted[name]):
                self._remove_service(running)
        self.config = replace(config, services=())
        self._put_settings(config)
        for service in config.services:
            running_now = self._running.get(service.name)
            if running_now is None:
                self._add_service(service)
            else:
                self._change_service(running_now, service)

    def _check_devices(self, services: Iterable[Service]) -> None:
        for service in services:
            for backend in service.backends:
                if backend.interface and backend.interface not in self._devices:
                    what = f"backend {backend.name} is behind interface '{backend.interface}', which is not known"
                    raise UsageError(Diagnostic("N0201", what, help="make the interface, or correct its name"))

    def _check_room(self, config: Config) -> None:
        there = sum(len(service.backends) for service in config.services)
        if len(config.services) > self._services_room or there > self._backends_room:
            raise self._no_room()

    def _no_room(self) -> UnsupportedError:
        what = f"there is room for {self._services_room} services and {self._backends_room} backends"
        return UnsupportedError(Diagnostic("N0203", what, help="start it again, with a larger --capacity"))

    def _put_settings(self, config: Config) -> None:
        self._handle("settings_of").update(U32.pack(0), layout.settings(config))

    def _add_service(self, service: Service) -> None:
        running = Running(service, self._free_services.pop(), None, {})
        self._running[service.name] = running
        for backend in service.backends:
            self._make_member(running, backend)
        self._put_table(running)
        self._handle("vips").update(layout.vip(service.address), U32.pack(1))

    def _remove_service(self, running: Running) -> None:
        service = running.service
        del self._running[service.name]
        self._handle("services").delete(layout.service_key(service))
        if all(other.service.address != service.address for other in self._running.values()):
            self._handle("vips").delete(layout.vip(service.address))
        for member in running.members.values():
            self._end_member(running, member)
        self._free_services.append(running.number)

    def _change_service(self, running: Running, service: Service) -> None:
        wanted = {backend.name: backend for backend in service.backends}
        gone = [member for name, member in running.members.items() if name not in wanted]
        running.service = service
        for name, backend in wanted.items():
            member = running.members.get(name)
            if member is None:
                self._make_member(running, backend)
            else:
                member.backend = backend
                self._put_member(running, member)
        for member in gone:
            del running.members[member.backend.name]
        self._put_table(running)
        for member in gone:
            self._end_member(running, member)

    # ---- the maps ----

    def _make_member(self, running: Running, backend: Backend) -> Member:
        if not self._free:
            raise self._no_room()
        number = self._free.pop()
        self._generations[number] += 1
        member = Member(backend, number, self._generations[number])
        key = U32.pack(number)
        self._handle("traffics").update(key, bytes(len(self._handle("traffics").lookup(key) or b"")))
        if running.service.forward is Forward.NAT:
            origin = layout.origin_key(backend, running.service.protocol)
            self._handle("origins").update(origin, layout.origin(running.service))
        running.members[backend.name] = member
        self._put_member(running, member)
        return member

    def _put_member(self, running: Running, member: Member, state: State | None = None) -> None:
        record = layout.backend(
            member.backend,
            running.service.forward,
            member.state if state is None else state,
            member.generation,
            running.number,
            self._devices,
        )
        self._handle("backends").update(U32.pack(member.number), record)

    def _end_member(self, running: Running, member: Member) -> None:
        """Its connections and fragments find a generation under its number that they do not know."""
        self._generations[member.number] += 1
        member.generation = self._generations[member.number]
        self._put_member(running, member, State.GONE)
        if running.service.forward is Forward.NAT:
            self._handle("origins").delete(layout.origin_key(member.backend, running.service.protocol))
        self._free.insert(0, member.number)  # used again as late as possible

    def _put_table(self, running: Running) -> None:
        """Build a table in the place that is not in force; one write of a service's record puts it in force."""
        active = [member for member in running.members.values() if member.state is State.ACTIVE]
        table = layout.NO_TABLE
        running.side = None if not active else 1 if running.side == 0 else 0
        if running.side is not None:
            names = [Candidate(each.backend.name, each.backend.weight, each.number) for each in active]
            table = 2 * running.number + running.side
            self._handle("tables").update(
                U32.pack(table), layout.TABLE_ENTRIES.pack(*self._tables.build(names), NOBODY)
            )
        record = layout.service(running.number, running.service, table)
        self._handle("services").update(layout.service_key(running.service), record)

    # ---- backends, one by one ----

    def service(self, name: str) -> Running:
        """A service that runs, by its name.

        Raises:
            UsageError: N0204: there is none.
        """
        found = self._running.get(name)
        if found is None:
            known = ", ".join(self._running) or "none"
            raise UsageError(Diagnostic("N0204", f"there is no service '{name}'", help=f"there are: {known}"))
        return found

    def member(self, service: str, name: str) -> tuple[Running, Member]:
        """A backend of a service, by name (``10.0.0.1:80``) or by its address where that is enough.

        Raises:
            UsageError: N0204, N0205: there is none.
        """
        running = self.service(service)
        found = running.members.get(name)
        if found is None:
            alike = [member for member in running.members.values() if str(member.backend.address) == name]
            found = alike[0] if len(alike) == 1 else None
        if found is None:
            known = ", ".join(running.members) or "none"
            what = f"service '{service}' has no backend '{name}'"
            raise UsageError(Diagnostic("N0205", what, help=f"there are: {known}"))
        return running, found

    def know(self, devices: Mapping[str, Device]) -> None:
        """Interfaces that backends may name from now on."""
        self._devices |= devices

    def add(self, service: str, backend: Backend, weight: int | None = None) -> None:
        """A backend more: it gets its share of new connections from the next packet on.

        Raises:
            UsageError: N0204: no such service; N0206: it does not fit there; N0207: not a weight.
            UnsupportedError: N0203: no room.
        """
        running = self.service(service)
        backend = replace(backend, weight=_checked_weight(backend.weight if weight is None else weight))
        self._check_devices([replace(running.service, backends=(backend,))])
        services = [
            replace(each.service, backends=tuple(member.backend for member in each.members.values()))
            for each in self._running.values()
        ]
        after = [
            replace(each, backends=(*each.backends, backend)) if each.name == service else each for each in services
        ]
        for code, what, _, help in contradictions(replace(self.config, services=tuple(after))):
            raise UsageError(Diagnostic("N0206", what, help=help, why=(code,)))
        self._make_member(running, backend)
        self._put_table(running)

    def remove(self, service: str, name: str) -> None:
        """Take a backend away, with its connections: their next packets go to others. Drain it first to spare them."""
        running, member = self.member(service, name)
        del running.members[member.backend.name]
        self._put_table(running)
        self._end_member(running, member)

    def drain(self, service: str, name: str, drain: bool = True) -> None:
        """Give a backend no new connections; those that it has stay. ``drain`` False: it takes new ones again."""
        running, member = self.member(service, name)
        member.is_draining = drain
        self._put_state(running, member)

    def mark(self, service: str, name: str, is_up: bool) -> None:
        """What a health check found. Down: no new connections; TCP connections stay: nobody could go on with them."""
        running, member = self.member(service, name)
        if member.is_down != (not is_up):
            member.is_down = not is_up
            self._put_state(running, member)

    def weight(self, service: str, name: str, weight: int) -> None:
        """Another share of new connections.

        Raises:
            UsageError: N0204, N0205; N0207: not between 1 and 256.
        """
        running, member = self.member(service, name)
        member.backend = replace(member.backend, weight=_checked_weight(weight))
        self._put_table(running)

    def _put_state(self, running: Running, member: Member) -> None:
        self._put_table(running)
        self._put_member(running, member)

    def adopt(self, other: LoadBalancer) -> int:
        """Take over the connections of another one, whose program this one's is about to replace; how many.

        Those of backends that are not here are left out. What opens meanwhile is decided by the tables, which are the
        same for the same backends.
        """
        known = {
            (member.number, member.generation): (name, member.backend.name)
            for name, running in other._running.items()
            for member in running.members.values()
        }
        here = {
            (name, member.backend.name): member
            for name, running in self._running.items()
            for member in running.members.values()
        }
        found = 0
        for table in ("connections", "openings"):
            taken = {}
            for key, raw in _items(other._handle(table)):
                seen, number, generation, *rest = layout.CONNECTION.unpack(raw)
                member = here.get(known.get((number, generation), ("", "")))
                if member is not None:
                    taken[key] = layout.CONNECTION.pack(seen, member.number, member.generation, *rest)
            write(self._handle(table), taken)
            found += len(taken)
        return found

    # ---- what to see ----

    def checks(self) -> Iterator[tuple[str, Backend, Health]]:
        """Which backends of which services are to be checked, and how."""
        for name, running in self._running.items():
            if running.service.health is not None:
                for member in running.members.values():
                    yield name, member.backend, running.service.health

    def services(self) -> list[dict[str, Any]]:
        """Services and backends with states, counters and live connections, as plain values."""
        live = self._live_connections()
        return [
            {
                "name": name,
                "vip": str(running.service.address),
                "proto": protocol_name(running.service.protocol),
                "port": running.service.port,
                "forward": running.service.forward.name.lower(),
                "backends": [self._plain(member, live) for member in running.members.values()],
            }
            for name, running in self._running.items()
        ]

    def _plain(self, member: Member, live: Mapping[tuple[int, int], int]) -> dict[str, Any]:
        counters = sum_fields(self._handle("traffics").lookup(U32.pack(member.number)), layout.TRAFFIC_FIELDS)
        return {
            "name": member.backend.name,
            "weight": member.backend.weight,
            "state": member.state.name.lower(),
            "connections": live.get((member.number, member.generation), 0),
            **dict(zip(_TRAFFIC, counters, strict=True)),
        }

    def _live_connections(self) -> dict[tuple[int, int], int]:
        """Connections that have not timed out, by a backend's number and generation."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        found: dict[tuple[int, int], int] = {}
        limits = {"connections": self.config.timeouts["tcp"], "openings": self.config.timeouts["tcp_opening"]}
        for name, seconds in limits.items():
            for _, raw in _items(self._handle(name)):
                seen, number, generation, *_ = layout.CONNECTION.unpack(raw)
                if now - seen <= seconds * 1_000_000_000:
                    found[number, generation] = found.get((number, generation), 0) + 1
        return found

    def shares(self, service: str) -> dict[str, float]:
        """The share of all new connections that each backend of a service gets, 0 to 1."""
        running = self.service(service)
        counted = dict.fromkeys(running.members, 0)
        names = {member.number: name for name, member in running.members.items()}
        if running.side is not None:
            raw = self._handle("tables").lookup(U32.pack(2 * running.number + running.side)) or b""
            for number in layout.TABLE_ENTRIES.unpack(raw[: layout.TABLE_ENTRIES.size])[:TABLE]:
                counted[names[number]] += 1
        return {name: count / TABLE for name, count in counted.items()}

    def reasons(self) -> dict[str, Count]:
        """Packets by what became of them, for what there was."""
        return self._named(REASONS, 0)

    def events(self) -> dict[str, Count]:
        """What happened to connections."""
        return self._named(EVENTS, len(REASONS))

    def _named(self, names: Iterable[str], first: int) -> dict[str, Count]:
        handle = self._handle("reasons")
        found = {name: sum_count(handle.lookup(U32.pack(n))) for n, name in enumerate(names, first)}
        return {name: count for name, count in found.items() if count.packets}

    def counts(self) -> dict[str, Any]:
        """Everything to see, as plain values."""
        return {
            "reasons": {name: count.plain() for name, count in self.reasons().items()},
            "events": {name: count.packets for name, count in self.events().items()},
            "services": self.services(),
        }

    def find_member(self, number: int) -> tuple[str, Backend] | None:
        """The service and backend behind a number of a decision."""
        for name, running in self._running.items():
            for member in running.members.values():
                if member.number == number:
                    return name, member.backend
        return None

    # ---- packets ----

    def run(self, hook: skep.hooks.Pcap) -> PacketRun:
        """Every packet of a capture."""
        with self.object.programs[PROGRAM].attach(hook) as link:
            return link.run()

    def decisions(self) -> Iterator[Decision]:
        """What became of each packet so far, in order: of as many as ``traced`` asked for."""
        handle = self._handle("trace")
        for number in range(min(int(self.object.variables["traced"].value), handle.spec.max_entries)):
            yield decode_decision(handle.lookup(U32.pack(number)) or b"")

    def forget_decisions(self) -> None:
        """Begin the trace anew."""
        self.object.variables["traced"].value = 0

    def close(self) -> None:
        """Detach and give everything back; a second call does nothing."""
        self._close.close()

    def __enter__(self) -> LoadBalancer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def program_spec() -> ObjectSpec:
    """The blueprint of the program, compiled from the C that comes with skep."""
    with resources.as_file(resources.files("skep.tools")) as folder:  # with the headers that tools share
        return skep.compile(folder / "lb" / "lb.bpf.c")


def _checked_weight(weight: int) -> int:
    if not 1 <= weight <= MAX_WEIGHT:
        what = f"{weight} is not a weight (1 to {MAX_WEIGHT})"
        raise UsageError(Diagnostic("N0207", what, help="skep lb drain takes all new connections away"))
    return weight


def _is_same_service(one: Service, other: Service) -> bool:
    """Whether one can become the other by changing backends and checks."""

    def fixed(service: Service) -> Service:
        return replace(service, backends=(), health=None)

    return fixed(one) == fixed(other)


def _items(handle: MapHandle) -> Iterable[tuple[bytes, bytes]]:
    if isinstance(handle, Batched):
        return handle.items()
    read: Callable[[bytes], bytes | None] = handle.lookup
    found: list[tuple[bytes, bytes]] = []
    key = handle.next_key(None)
    while key is not None and len(found) < handle.spec.max_entries:
        value = read(key)
        if value is not None:
            found.append((key, value))
        key = handle.next_key(key)
    return found
