"""Static probes (USDT): a uprobe at each of a probe's places, and the specs of its arguments in the program's maps."""

from __future__ import annotations

import ctypes
import struct
import threading
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from skep.diagnostics import Diagnostic
from skep.errors import EngineError
from skep.kernel.bpf import maps, objects
from skep.kernel.bpf.attr import MapInfo, ProgInfo
from skep.kernel.bpf.objects import Kind
from skep.kernel.fd import Fd
from skep.kernel.links.executables import Executable, Probe
from skep.kernel.links.handle import Attached, LinkGroup, name_of_program
from skep.kernel.links.places import Attachable
from skep.kernel.links.uprobe import attach_at
from skep.kernel.links.usdt_arguments import encode_spec
from skep.model.hooks import Usdt

SPECS, IP_TO_SPEC = b"__bpf_usdt_specs"[:15], b"__bpf_usdt_ip_to_spec_id"[:15]  # as the kernel cuts names
_MAX_MAPS: Final = 64


@dataclass
class _Ids:
    """Numbers of specs that are in use, with how many links use each; one for each specs map."""

    limit: int
    used: dict[int, int] = field(default_factory=dict)


_taken: dict[int, _Ids] = {}
_lock = threading.Lock()


def attach_usdt(program: Attachable, hook: Usdt) -> Attached:
    """Attach to all places of a probe."""
    executable = Executable(hook.path)
    places = [
        p for p in executable.probes() if p.name == hook.name and (not hook.provider or p.provider == hook.provider)
    ]
    if not places:
        raise _no_probe(executable, hook)
    with ExitStack() as stack:
        specs, ips = _spec_maps(program, stack)
        numbers: list[int] = []
        info = objects.read_info(specs.number, MapInfo())
        map_id = int(info.id)
        # The kernel raises the semaphore itself; before 5.15 the program finds its spec by address.
        by_spec: dict[bytes, int] = {}
        members: list[Attached] = []
        undo = stack.enter_context(ExitStack())
        undo.callback(_release, map_id, numbers)
        for place in places:
            spec = encode_spec(place.arguments, hook.cookie, program.linked.btf)
            if spec not in by_spec:
                number = _take(map_id, int(info.max_entries))
                numbers.append(number)
                by_spec[spec] = number
                maps.update(specs.number, struct.pack("=I", number), spec)
            number = by_spec[spec]
            for ip in _addresses(executable, place, hook.pid):
                maps.update(ips.number, struct.pack("=q", ip), struct.pack("=I", number))
            semaphore = executable.offset_of(place.semaphore) if place.semaphore else 0
            offset = executable.offset_of(place.address)
            made = attach_at(program, hook, executable.path, offset, pid=hook.pid, cookie=number, semaphore=semaphore)
            undo.callback(made.close)
            members.append(made)
        undo.pop_all()
    return LinkGroup(members, hook, release=lambda: _release(map_id, numbers))


def _spec_maps(program: Attachable, stack: ExitStack) -> tuple[Fd, Fd]:
    """The two maps of usdt.bpf.h that the program uses, asked from the kernel."""
    ids = (ctypes.c_uint32 * _MAX_MAPS)()
    info = objects.read_info(program.fd.number, ProgInfo(map_ids=ctypes.addressof(ids), nr_map_ids=_MAX_MAPS))
    found: dict[bytes, Fd] = {}
    for number in ids[: min(int(info.nr_map_ids), _MAX_MAPS)]:
        fd = stack.enter_context(objects.open_id(Kind.MAP, number))
        found[bytes(objects.read_info(fd.number, MapInfo()).name)] = fd
    if SPECS not in found:
        raise EngineError(
            Diagnostic(
                "H0338",
                f"program '{name_of_program(program)}' does not read the probe's arguments through usdt.bpf.h",
                help="#include <bpf/usdt.bpf.h> and use BPF_USDT(), or attach it as a Uprobe",
            )
        )
    return found[SPECS], found.get(IP_TO_SPEC, found[SPECS])


def _addresses(executable: Executable, place: Probe, pid: int | None) -> list[int]:
    """Where the probe is in memory: known for programs at fixed addresses, and in a process that is named."""
    if not executable.is_dynamic:
        return [place.address]
    if pid is None:
        return []
    offset = executable.offset_of(place.address)
    found = []
    for line in _maps_of(pid):
        words = line.split(None, 5)
        if len(words) < 6 or words[5] != str(executable.path):
            continue
        start, end = (int(text, 16) for text in words[0].split("-"))
        mapped = int(words[2], 16)
        if mapped <= offset < mapped + end - start and "x" in words[1]:
            found.append(start + offset - mapped)
    return found


def _maps_of(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/maps").read_text().splitlines()
    except OSError:
        return []


def _take(map_id: int, limit: int) -> int:
    with _lock:
        ids = _taken.setdefault(map_id, _Ids(limit))
        number = next((n for n in range(ids.limit) if n not in ids.used), None)
        if number is None:
            raise EngineError(
                Diagnostic(
                    "H0339",
                    f"all {limit} places for the arguments of static probes are taken",
                    help="#define BPF_USDT_MAX_SPEC_CNT to more before including usdt.bpf.h",
                )
            )
        ids.used[number] = 1
        return number


def _release(map_id: int, numbers: list[int]) -> None:
    with _lock:
        ids = _taken.get(map_id)
        if ids is None:
            return
        for number in numbers:
            ids.used.pop(number, None)
        numbers.clear()
        if not ids.used:
            del _taken[map_id]


def _no_probe(executable: Executable, hook: Usdt) -> EngineError:
    names = sorted({f"{probe.provider}:{probe.name}" for probe in executable.probes()})
    return EngineError(
        Diagnostic(
            "H0340",
            f"'{executable.path}' has no static probe {hook.provider}:{hook.name}",
            why=(f"it has: {', '.join(names[:20]) or 'none'}",),
            help="readelf -n lists static probes",
        )
    )
