"""The live firewall: the program on an engine, its maps filled from a rule set, replaced and changed while packets
run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from importlib import resources
from types import TracebackType

import skep
from skep.diagnostics import Diagnostic
from skep.engine import DirectMemory, Engine, MapHandle, PacketRun
from skep.errors import UnsupportedError, UsageError
from skep.model.objects import ObjectSpec
from skep.tools.counters import Count, empty, power_of_two, sum_count, write
from skep.tools.firewall import layout
from skep.tools.firewall.classes import Compiled, compile_rules
from skep.tools.firewall.decisions import REASONS, Decision, decode_decision
from skep.tools.firewall.layout import Image, live_key, make_image, named_interfaces
from skep.tools.firewall.rules import Action, Network, Rule, RuleSet

PROGRAMS = ("firewall_in", "firewall_out")
MAX_TRACED = 1 << 20

EVENTS = ("connection_opened", "connection_kept", "connection_lost", "bucket_opened")

_SMALLEST_ROOM = 4096
_SIZED = {  # map -> which part of an image decides its size
    "sources4": "sources4",
    "sources6": "sources6",
    "targets4": "targets4",
    "targets6": "targets6",
    "combinations": "combinations",
    "places": "places",
}


class Firewall:
    """A firewall on an engine. Use it in a with statement.

    Attributes:
        rules: the rule set in force.
        object: the loaded object, for those who want to look at its maps.
    """

    def __init__(
        self,
        rules: RuleSet,
        *,
        engine: str | Engine = "vm",
        programs: Iterable[str] = PROGRAMS[:1],
        interfaces: Mapping[str, int] | None = None,
        traced: int = 0,
        capacity: int = 0,
    ) -> None:
        """Compile the rules, load the program, put the rules in force; nothing is attached yet.

        Args:
            programs: ``firewall_in`` (XDP) and ``firewall_out`` (tc, egress).
            interfaces: the number of each interface that rules speak of.
            traced: of so many packets (at most 2^20) every decision is written down.
            capacity: make room for so many rules (default: four times what ``rules`` has).

        Raises:
            UnsupportedError: rules that cannot be laid out (F0201, F0202).
            SkepError: what loading a program can raise.
        """
        self._interfaces = dict(interfaces or {})
        self._check_interfaces(rules)
        self._slot = 0
        compiled = compile_rules(rules)
        self._room = power_of_two(max(_SMALLEST_ROOM, capacity, 4 * len(rules.rules)))
        image = make_image(compiled, 0, self._room, self._interfaces)
        spec = _sized(program_spec(), image, self._room, min(traced, MAX_TRACED), capacity)
        self.object = skep.load(
            spec, engine=engine, programs=programs, variables={"rule_room": self._room, "tracing": int(traced > 0)}
        )
        self.rules = rules
        self._images: list[Image | None] = [None, None]
        self._used: set[int] = set()  # slots that have counted
        self._carried: list[Count] = []
        self._live: dict[Network, Action] = {}
        try:
            self._put_in_force(compiled, image)
        except BaseException:
            self.object.close()
            raise

    # ---- rule sets ----

    def _check_interfaces(self, rules: RuleSet) -> None:
        for name in named_interfaces(rules):
            if name not in self._interfaces:
                what = f"a rule speaks of interface '{name}', whose number is not known"
                raise UsageError(Diagnostic("F0401", what, help="make the interface, or correct its name"))

    def replace(self, rules: RuleSet, interfaces: Mapping[str, int] | None = None) -> None:
        """Put another rule set in force. A packet is judged by the old one or the new one, never by half of each.

        ``interfaces``: numbers of interfaces that only the new rules speak of.

        Rules that are in both sets keep their counters. Connections, live entries and rate limits of sources stay as
        they are (rate limits start anew). When it fails, the old set stays in force.
        """
        self._interfaces |= interfaces or {}
        self._check_interfaces(rules)
        if len(rules.rules) > self._room:
            what = f"{len(rules.rules)} rules do not fit: this firewall was started with room for {self._room}"
            raise UnsupportedError(Diagnostic("F0203", what, help="start it again, with a larger --capacity"))
        compiled = compile_rules(rules)
        slot = 1 - self._slot
        image = make_image(compiled, slot, self._room, self._interfaces)
        before: dict[Rule, Count] = {}
        self._clear(slot)
        try:
            self._write(image)
        except BaseException:
            self._images[slot] = image
            self._clear(slot)
            raise
        old_rules, old_counts = self.rules.rules, self.counters()
        for rule, count in zip(old_rules, old_counts, strict=True):
            if count.packets:
                before[rule] = before.get(rule, Count()) + count
        self._switch(slot, image, rules, [before.pop(rule, Count()) for rule in rules.rules])

    def _put_in_force(self, compiled: Compiled, image: Image) -> None:
        self._write(image)
        self._switch(image.slot, image, compiled.rules, [])

    def _write(self, image: Image) -> None:
        for name, entries in image.entries.items():
            write(self._handle(name), entries)
        if image.slot in self._used:  # a fresh map is zero
            zero = bytes(len(self._handle("counters").lookup(layout.U32.pack(0)) or b""))
            write(self._handle("counters"), dict.fromkeys(image.of("rules"), zero))
        self._used.add(image.slot)

    def _switch(self, slot: int, image: Image, rules: RuleSet, carried: list[Count]) -> None:
        """One aligned write of 8 bytes puts a slot in force; its old contents go when the slot is needed again."""
        self._images[slot] = image
        self._slot, self.rules, self._carried = slot, rules, carried
        self._set_in_force()

    def _set_in_force(self) -> None:
        self._handle("in_force").update(layout.U32.pack(0), layout.ACTIVE.pack(self._slot, len(self._live)))

    def _clear(self, slot: int) -> None:
        """Take away what an older rule set left in a slot that is not in force."""
        image, self._images[slot] = self._images[slot], None
        if image is None:
            return
        for name in _SIZED:
            handle = self._handle(name)
            for key in image.of(name):
                handle.delete(key)

    def _handle(self, name: str) -> MapHandle:
        return self.object.maps[name].handle

    # ---- live entries ----

    def deny(self, network: Network) -> None:
        """From now on nothing from or to this network passes, whatever the rules say; the longest prefix decides."""
        self._set_live(network, Action.DENY)

    def allow(self, network: Network) -> None:
        """From now on everything from and to this network passes, whatever the rules say."""
        self._set_live(network, Action.ALLOW)

    def _set_live(self, network: Network, action: Action) -> None:
        self._handle(f"live{network.family}").update(live_key(network), layout.LIVE_ENTRY.pack(0, 0, action, 0))
        self._live[network] = action
        self._set_in_force()

    def forget(self, network: Network) -> bool:
        """Take a live entry away; False if there was none."""
        if self._live.pop(network, None) is None:
            return False
        self._handle(f"live{network.family}").delete(live_key(network))
        self._set_in_force()
        return True

    def live_entries(self) -> dict[Network, tuple[Action, Count]]:
        """What was denied and allowed while running, with its packets (from it when coming in, to it when going
        out).
        """
        found = {}
        for network, action in self._live.items():
            raw = self._handle(f"live{network.family}").lookup(live_key(network))
            packets, size, _, _ = layout.LIVE_ENTRY.unpack(raw or bytes(layout.LIVE_ENTRY.size))
            found[network] = (action, Count(packets, size))
        return found

    def forget_connections(self) -> int:
        """Cut what was allowed so far: connections, fragments and rate limits begin anew. Returns how many were
        known.
        """
        return sum(empty(self._handle(name)) for name in ("connections", "openings", "fragments", "buckets"))

    # ---- counters ----

    def counters(self) -> list[Count]:
        """Packets of each rule, in the order of the rules."""
        handle, start = self._handle("counters"), self._slot * self._room
        carried = self._carried or [Count()] * len(self.rules.rules)
        return [
            sum_count(handle.lookup(layout.U32.pack(start + number))) + carried[number]
            for number in range(len(self.rules.rules))
        ]

    def reasons(self) -> dict[str, Count]:
        """Packets by reason, for reasons that there were."""
        return self._named(REASONS, 0)

    def events(self) -> dict[str, Count]:
        """What happened besides verdicts: connections opened, kept, lost; rate limits begun for a source."""
        return self._named(EVENTS, len(REASONS))

    def _named(self, names: Iterable[str], first: int) -> dict[str, Count]:
        handle = self._handle("reasons")
        found = {name: sum_count(handle.lookup(layout.U32.pack(n))) for n, name in enumerate(names, first)}
        return {name: count for name, count in found.items() if count.packets}

    # ---- packets ----

    def run(self, hook: skep.hooks.Pcap) -> PacketRun:
        """Judge every packet of a capture as one that comes in."""
        with self.object.programs[PROGRAMS[0]].attach(hook) as link:
            return link.run()

    def decisions(self) -> Iterator[Decision]:
        """What became of each packet so far, in order: of as many as ``traced`` asked for."""
        handle = self._handle("trace")
        if not isinstance(handle, DirectMemory):
            raise UsageError(Diagnostic("F0204", "decisions are only written down on the vm engine"))
        count = min(int(self.object.variables["traced"].value), handle.spec.max_entries)
        memory = bytes(handle.memory()[: count * layout.DECISION.size])
        for fields in layout.decisions(memoryview(memory), count):
            yield decode_decision(fields)

    @property
    def judged(self) -> int:
        """Packets that were traced, more than decisions() has where the trace is full."""
        return int(self.object.variables["traced"].value)

    def forget_decisions(self) -> None:
        """Begin the trace anew."""
        self.object.variables["traced"].value = 0

    def close(self) -> None:
        """Detach and give everything back; a second call does nothing."""
        self.object.close()

    def __enter__(self) -> Firewall:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def program_spec() -> ObjectSpec:
    """The blueprint of the firewall's programs, compiled from the C that comes with skep."""
    with resources.as_file(resources.files("skep.tools")) as folder:  # with the headers that tools share
        return skep.compile(folder / "firewall" / "firewall.bpf.c")


def interface_names(rules: Iterable[RuleSet]) -> list[str]:
    """Interfaces that any of these rule sets names."""
    return sorted({name for each in rules for name in named_interfaces(each)})


def _sized(spec: ObjectSpec, image: Image, room: int, traced: int, capacity: int) -> ObjectSpec:
    """Room for two rule sets of four times the size, so that a larger one can replace this one."""
    maps = dict(spec.maps)
    for name, part in _SIZED.items():
        needed = max(_SMALLEST_ROOM, capacity, 4 * len(image.of(part)))
        maps[name] = maps[name].replace(max_entries=power_of_two(2 * needed))
    for name in ("rules", "counters"):
        maps[name] = maps[name].replace(max_entries=2 * room)
    maps["trace"] = maps["trace"].replace(max_entries=max(1, traced))
    return replace(spec, maps=maps)
