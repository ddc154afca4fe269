"""The program's maps, as services and backends want them: numbers given out and taken back, records, tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from skep.collection import Object
from skep.diagnostics import Diagnostic
from skep.engine import Batched, MapHandle
from skep.errors import UnsupportedError, UsageError
from skep.tools.lb import layout
from skep.tools.lb.config import Backend, Config, Forward, Service, State
from skep.tools.lb.layout import U32, Device
from skep.tools.lb.maglev import NOBODY, Candidate, TableBuilder


@dataclass(slots=True)
class Member:
    """A backend of a service that runs.

    Attributes:
        number: of its record in the program's maps.
        generation: how often the number was given out and taken back.
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


@dataclass(frozen=True, slots=True)
class Room:
    """How many there can be."""

    services: int
    backends: int
    connections: int
    traced: int

    def sizes(self) -> Mapping[str, int]:
        """Elements of the maps."""
        return {
            "vips": self.services,
            "services": self.services,
            "tables": 2 * self.services,
            "backends": self.backends,
            "origins": self.backends,
            "traffics": self.backends,
            "connections": self.connections,
            "openings": max(1024, self.connections // 4),
            "trace": max(1, self.traced),
        }

    def too_small(self) -> UnsupportedError:
        """The error when it is not enough."""
        what = f"there is room for {self.services} services and {self.backends} backends, old and new together"
        return UnsupportedError(Diagnostic("N0203", what, help="start it again, with a larger --capacity"))


class Records:
    """Writes the maps. Nothing here decides; the order of the writes is such that no packet sees half of a change."""

    def __init__(self, live: Object, room: Room, builder: TableBuilder, devices: Mapping[str, Device]) -> None:
        self.object = live
        self.devices = dict(devices)
        self.room = room
        self._builder = builder
        self._generations = [0] * room.backends
        # What is given back goes to the front and is used again as late as possible.
        self._free = list(range(room.backends - 1, -1, -1))
        self._free_services = list(range(room.services - 1, -1, -1))

    def handle(self, name: str) -> MapHandle:
        """A map of the program."""
        return self.object.maps[name].handle

    def check_room(self, services: int, backends: int) -> None:
        """UnsupportedError (N0203) unless so many more fit."""
        if services > len(self._free_services) or backends > len(self._free):
            raise self.room.too_small()

    def check_devices(self, backends: Iterable[Backend]) -> None:
        """UsageError (N0201) for an interface that is not known."""
        for backend in backends:
            if backend.interface and backend.interface not in self.devices:
                what = f"backend {backend.name} is behind interface '{backend.interface}', which is not known"
                raise UsageError(Diagnostic("N0201", what, help="make the interface, or correct its name"))

    def put_settings(self, config: Config) -> None:
        """struct settings."""
        self.handle("settings_of").update(U32.pack(0), layout.settings(config))

    # ---- services ----

    def new_service(self, service: Service) -> Running:
        """A number for a service; packets do not see it before :meth:`open_service`."""
        return Running(service, self._free_services.pop(), None, {})

    def open_service(self, running: Running) -> None:
        """Let packets in."""
        self.put_table(running)
        self.handle("vips").update(layout.vip(running.service.address), U32.pack(1))

    def end_service(self, running: Running, *, is_last_of_vip: bool) -> None:
        """Take a service away, with its backends."""
        self.handle("services").delete(layout.service_key(running.service))
        if is_last_of_vip:
            self.handle("vips").delete(layout.vip(running.service.address))
        for member in running.members.values():
            self.end_member(running, member)
        self._free_services.insert(0, running.number)

    def put_table(self, running: Running) -> None:
        """Build a table in the place that is not in force; one write of a service's record puts it in force."""
        active = [member for member in running.members.values() if member.state is State.ACTIVE]
        table = layout.NO_TABLE
        running.side = None if not active else 1 if running.side == 0 else 0
        if running.side is not None:
            candidates = [Candidate(each.backend.name, each.backend.weight, each.number) for each in active]
            table = 2 * running.number + running.side
            entries = layout.TABLE_ENTRIES.pack(*self._builder.build(candidates), NOBODY)
            self.handle("tables").update(U32.pack(table), entries)
        record = layout.service(running.number, running.service, table)
        self.handle("services").update(layout.service_key(running.service), record)

    # ---- backends ----

    def new_member(self, running: Running, backend: Backend) -> None:
        """A record for a backend; it gets packets with the next table."""
        number = self._free.pop()
        self._generations[number] += 1
        member = Member(backend, number, self._generations[number])
        key = U32.pack(number)
        self.handle("traffics").update(key, bytes(len(self.handle("traffics").lookup(key) or b"")))
        if running.service.forward is Forward.NAT:
            origin = layout.origin_key(backend, running.service.protocol)
            self.handle("origins").update(origin, layout.origin(running.service))
        running.members[backend.name] = member
        self.put_member(running, member)

    def put_member(self, running: Running, member: Member, state: State | None = None) -> None:
        """A backend's record as it is now."""
        record = layout.backend(
            member.backend,
            running.service.forward,
            member.state if state is None else state,
            member.generation,
            running.number,
            self.devices,
        )
        self.handle("backends").update(U32.pack(member.number), record)

    def end_member(self, running: Running, member: Member) -> None:
        """Its connections and fragments find a generation under its number that they do not know."""
        self._generations[member.number] += 1
        member.generation = self._generations[member.number]
        self.put_member(running, member, State.GONE)
        if running.service.forward is Forward.NAT:
            self.handle("origins").delete(layout.origin_key(member.backend, running.service.protocol))
        self._free.insert(0, member.number)

    # ---- connections ----

    def connections(self, name: str) -> Iterator[tuple[bytes, tuple[int, ...]]]:
        """Key and fields (struct connection) of all of a table: ``connections`` or ``openings``."""
        for key, raw in _items(self.handle(name)):
            yield key, layout.CONNECTION.unpack(raw)


def _items(handle: MapHandle) -> Iterable[tuple[bytes, bytes]]:
    if isinstance(handle, Batched):
        return handle.items()
    found: list[tuple[bytes, bytes]] = []
    key = handle.next_key(None)
    while key is not None and len(found) < handle.spec.max_entries:
        value = handle.lookup(key)
        if value is not None:
            found.append((key, value))
        key = handle.next_key(key)
    return found
