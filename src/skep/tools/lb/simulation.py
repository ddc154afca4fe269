"""What would become of packets: for each one the decision, the backend, and the bytes that leave."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from skep.tools.lb.balancer import PROGRAM, LoadBalancer
from skep.tools.lb.config import Backend, Config
from skep.tools.lb.decisions import Decision
from skep.tools.lb.layout import Device


@dataclass(frozen=True, slots=True)
class Outcome:
    """One packet: what became of it, whose it is, and what leaves (b"": nothing leaves, or the host has it)."""

    decision: Decision
    service: str | None
    backend: Backend | None
    sent: bytes


def pretended_devices(config: Config) -> Mapping[str, Device]:
    """Numbers for the interfaces that backends name: a simulation needs none of them to exist."""
    names = sorted({backend.interface for service in config.services for backend in service.backends} - {""})
    return {name: Device(number, b"") for number, name in enumerate(names, 1000)}


def simulate(config: Config, frames: Iterable[bytes], engine: str = "vm") -> Iterator[Outcome]:
    """Give packets to a load balancer of its own, one by one; it remembers connections as a live one does.

    Raises:
        SkepError: a configuration that cannot be loaded there.
    """
    with LoadBalancer(config, engine=engine, devices=pretended_devices(config), traced=1) as balancer:
        program = balancer.object.programs[PROGRAM]
        for frame in frames:
            balancer.forget_decisions()
            run = program.run(frame)
            decision = next(balancer.decisions())
            found = balancer.find_member(decision.backend) if decision.backend is not None else None
            sent = run.data if decision.verdict in ("TX", "REDIRECT") else b""
            yield Outcome(decision, found[0] if found else None, found[1] if found else None, sent)
