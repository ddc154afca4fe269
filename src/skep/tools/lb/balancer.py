"""The live load balancer: the program on an engine, its maps kept as services and backends are, while packets run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from importlib import resources
from types import TracebackType
from typing import Any

import skep
from skep.diagnostics import Diagnostic
from skep.engine import Engine, PacketRun
from skep.errors import UsageError
from skep.model.objects import ObjectSpec
from skep.tools.counters import Count, write
from skep.tools.lb import layout
from skep.tools.lb.config import Backend, Config, Health, Service
from skep.tools.lb.configfile import contradictions
from skep.tools.lb.decisions import EVENTS, REASONS, Decision, decode_decision
from skep.tools.lb.layout import U32, Device
from skep.tools.lb.maglev import MAX_WEIGHT, NOBODY, TableBuilder
from skep.tools.lb.records import Member, Records, Room, Running
from skep.tools.lb.views import view_reasons, view_services, view_shares

PROGRAM = "lb"
MAX_TRACED = 1 << 20
CONNECTIONS = 1 << 18

_LEAST_SERVICES, _LEAST_BACKENDS = 16, 256


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
        there = sum(len(service.backends) for service in config.services)
        room = Room(
            max(_LEAST_SERVICES, 2 * len(config.services)),
            min(NOBODY, max(_LEAST_BACKENDS, backends, 4 * there)),
            connections,
            min(traced, MAX_TRACED),
        )
        self.config = replace(config, services=())
        self._running: dict[str, Running] = {}
        with ExitStack() as stack:
            builder = stack.enter_context(TableBuilder())
            self.object = stack.enter_context(
                skep.load(
                    _sized(program_spec(), room),
                    engine=engine,
                    programs=[PROGRAM],
                    variables={"tracing": int(traced > 0)},
                )
            )
            self._records = Records(self.object, room, builder, devices or {})
            self.replace(config)
            self._close = stack.pop_all()

    # ---- the whole configuration ----

    def replace(self, config: Config, devices: Mapping[str, Device] | None = None) -> None:
        """Go over to another configuration. What is in both stays as it is, with its connections and counters.

        Services change one after the other, each at once. Backends that were drained stay so.

        Raises:
            UsageError: N0201: an interface that is not known.
            UnsupportedError: N0203: there is no room for so many; nothing was changed.
        """
        records = self._records
        records.devices |= devices or {}
        records.check_devices(backend for service in config.services for backend in service.backends)
        kept = {
            service.name: self._running[service.name]
            for service in config.services
            if service.name in self._running and _is_same_service(self._running[service.name].service, service)
        }
        new = [
            backend
            for service in config.services
            for backend in service.backends
            if service.name not in kept or backend.name not in kept[service.name].members
        ]
        records.check_room(len(config.services) - len(kept), len(new))
        for name in self._running.keys() - kept.keys():
            self._remove_service(self._running[name])
        self.config = replace(config, services=())
        records.put_settings(config)
        # First what goes, of all services: a backend that changes its service is not taken from the new one then.
        for service in config.services:
            if service.name in kept:
                self._end_members(kept[service.name], {backend.name for backend in service.backends})
        for service in config.services:
            self._put_service(service)

    def _remove_service(self, running: Running) -> None:
        del self._running[running.service.name]
        vips = {other.service.address for other in self._running.values()}
        self._records.end_service(running, is_last_of_vip=running.service.address not in vips)

    def _end_members(self, running: Running, stay: set[str]) -> None:
        """Until the next table new connections still go there: the numbers are not used again before."""
        for name in running.members.keys() - stay:
            self._records.end_member(running, running.members.pop(name))

    def _put_service(self, service: Service) -> None:
        running = self._running.get(service.name)
        if running is None:
            running = self._running[service.name] = self._records.new_service(service)
        running.service = service
        for backend in service.backends:
            member = running.members.get(backend.name)
            if member is None:
                self._records.new_member(running, backend)
            else:
                member.backend = backend
                self._records.put_member(running, member)
        self._records.open_service(running)

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
        self._records.devices |= devices

    def add(self, service: str, backend: Backend, weight: int | None = None) -> None:
        """A backend more: it gets its share of new connections from the next packet on.

        Raises:
            UsageError: N0204: no such service; N0206: it does not fit there; N0207: not a weight.
            UnsupportedError: N0203: no room.
        """
        running = self.service(service)
        backend = replace(backend, weight=_checked_weight(backend.weight if weight is None else weight))
        self._records.check_devices([backend])
        services = [
            replace(each.service, backends=tuple(member.backend for member in each.members.values()))
            for each in self._running.values()
        ]
        after = [
            replace(each, backends=(*each.backends, backend)) if each.name == service else each for each in services
        ]
        for code, what, _, help in contradictions(replace(self.config, services=tuple(after))):
            raise UsageError(Diagnostic("N0206", what, help=help, why=(code,)))
        self._records.check_room(0, 1)
        self._records.new_member(running, backend)
        self._records.put_table(running)

    def remove(self, service: str, name: str) -> None:
        """Take a backend away, with its connections: their next packets go to others. Drain it first to spare them."""
        running, member = self.member(service, name)
        del running.members[member.backend.name]
        self._records.put_table(running)
        self._records.end_member(running, member)

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
        self._records.put_table(running)

    def _put_state(self, running: Running, member: Member) -> None:
        self._records.put_table(running)
        self._records.put_member(running, member)

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
            for key, (seen, number, generation, *rest) in other._records.connections(table):
                member = here.get(known.get((number, generation), ("", "")))
                if member is not None:
                    taken[key] = layout.CONNECTION.pack(seen, member.number, member.generation, *rest)
            write(self._records.handle(table), taken)
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
        return view_services(self._records, self._running.values(), self.config.timeouts)

    def shares(self, service: str) -> dict[str, float]:
        """The share of all new connections that each backend of a service gets, 0 to 1."""
        return view_shares(self._records, self.service(service))

    def reasons(self) -> dict[str, Count]:
        """Packets by what became of them, for what there was."""
        return view_reasons(self._records, REASONS, 0)

    def events(self) -> dict[str, Count]:
        """What happened to connections."""
        return view_reasons(self._records, EVENTS, len(REASONS))

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
        handle = self._records.handle("trace")
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


def _sized(spec: ObjectSpec, room: Room) -> ObjectSpec:
    sizes = room.sizes()
    maps = {name: made.replace(max_entries=sizes.get(name, made.max_entries)) for name, made in spec.maps.items()}
    return replace(spec, maps=maps)


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
