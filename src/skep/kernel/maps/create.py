"""BPF_MAP_CREATE from a blueprint: types, inner maps, names, contents; steps back as libbpf does."""

from __future__ import annotations

import errno
import mmap
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Final

from skep.abi.map_facts import FACTS
from skep.abi.map_types import MapType
from skep.diagnostics import Diagnostic
from skep.errors import MapError
from skep.kernel import host, probes
from skep.kernel.bpf import maps, objects
from skep.kernel.bpf.attr import NAME_BYTES, MapInfo
from skep.kernel.bpf.call import BpfCallError, Command
from skep.kernel.fd import Fd
from skep.kernel.maps.arena import ArenaMap
from skep.kernel.maps.handle import MMAPABLE, RDONLY_PROG, KernelMap
from skep.kernel.maps.kinds import handle_for
from skep.kernel.memlock import with_memory
from skep.kernel.refusals import element_refused, map_refused
from skep.kernel.typeinfo import TypeStore
from skep.model.maps import MapSpec

_NUMA_NODE: Final = 1 << 2
_KEY_0: Final = bytes(4)

#: Types that take no BTF of key and value (libbpf's map_allow_btf list).
_UNTYPED: Final = frozenset(
    {
        MapType.PERF_EVENT_ARRAY,
        MapType.CGROUP_ARRAY,
        MapType.STACK_TRACE,
        MapType.ARRAY_OF_MAPS,
        MapType.HASH_OF_MAPS,
        MapType.DEVMAP,
        MapType.DEVMAP_HASH,
        MapType.CPUMAP,
        MapType.XSKMAP,
        MapType.SOCKMAP,
        MapType.SOCKHASH,
        MapType.QUEUE,
        MapType.STACK,
        MapType.ARENA,
        MapType.PROG_ARRAY,
    }
)


def kernel_name(name: str) -> bytes:
    """A name as the kernel takes it: 15 bytes of letters, digits, ``_`` and ``.``."""
    clean = "".join(c if c.isascii() and (c.isalnum() or c in "_.") else "_" for c in name)
    return clean[: NAME_BYTES - 1].encode()


def fitted(spec: MapSpec) -> MapSpec:
    """The blueprint with what the loader decides: CPUs of a perf_event_array, whole pages, mappable global data."""
    if spec.type is MapType.PERF_EVENT_ARRAY and spec.max_entries == 0:
        spec = spec.replace(max_entries=host.possible_cpus())
    facts = FACTS.get(spec.type)
    is_small = 0 < spec.max_entries < mmap.PAGESIZE and spec.max_entries & (spec.max_entries - 1) == 0
    if facts is not None and facts.page_sized and is_small:  # written for a machine with smaller pages
        spec = spec.replace(max_entries=mmap.PAGESIZE)
    if spec.contents is not None and spec.type is MapType.ARRAY:
        spec = spec.replace(flags=spec.flags | MMAPABLE)
    return spec


def create_map(spec: MapSpec, types: TypeStore, token: int = 0) -> KernelMap:
    """Make a map, with its contents, frozen if it shall be.

    Raises:
        MapError: M0121 sizes or flags, M0122 too large, E022x not permitted.
        UnsupportedError: E0223 the kernel is too old for it.
    """
    spec = fitted(spec)
    with ExitStack() as stack:
        fd, spec = _create(spec, types, token)
        stack.callback(fd.close)
        if spec.contents is not None and spec.type is not MapType.ARENA:
            _fill(spec, fd)
        handle = handle_for(spec, fd)
        stack.pop_all()
    if isinstance(handle, ArenaMap) and spec.contents is not None:
        handle.fill(spec.contents)
    return handle


def _create(spec: MapSpec, types: TypeStore, token: int) -> tuple[Fd, MapSpec]:
    with ExitStack() as stack:
        inner = 0
        if spec.inner is not None:
            inner_fd, _ = _create(fitted(spec.inner), types, token)
            stack.callback(inner_fd.close)
            inner = inner_fd.number
        request = maps.MapRequest(
            map_type=spec.type,
            key_size=spec.key_size,
            value_size=spec.value_size,
            max_entries=spec.max_entries,
            flags=spec.flags | (_NUMA_NODE if spec.numa_node is not None else 0),
            numa_node=spec.numa_node or 0,
            inner=inner,
            name=kernel_name(spec.name),
            map_extra=spec.map_extra,
            token=token,
        )
        what = f"{spec.type.name.lower()} map {spec.name}"
        refusal: BpfCallError | None = None
        for attempt in _attempts(spec, request, types):
            try:
                fd = with_memory(lambda attempt=attempt: maps.create(attempt, what))  # type: ignore[misc]
                return fd, spec.replace(flags=spec.flags & attempt.flags | attempt.flags & MMAPABLE)
            except BpfCallError as error:
                refusal = refusal or error
                if error.number not in (errno.EINVAL, errno.E2BIG, 524, errno.EOPNOTSUPP):
                    break
        # None was tried: the type needs types of key and value, and there are none.
        raise map_refused(refusal or BpfCallError(errno.EINVAL, Command.MAP_CREATE), spec)


def _attempts(spec: MapSpec, request: maps.MapRequest, types: TypeStore) -> Iterator[maps.MapRequest]:
    """Requests to try one after the other: with types, without, then without what old kernels do not know."""
    facts = FACTS.get(spec.type)
    if (spec.key_type or spec.value_type) and spec.type not in _UNTYPED:
        loaded = types.get(spec.btf)
        if loaded is not None:
            yield replace(request, btf=loaded.fd.number, key_type=spec.key_type, value_type=spec.value_type)
    if facts is None or not facts.needs_btf:
        yield request
    if request.flags & MMAPABLE and spec.contents is not None and not probes.has("mmapable"):
        request = replace(request, flags=request.flags & ~MMAPABLE)
        yield request
    if request.name and not probes.has("map_names"):
        request = replace(request, name=b"")
        yield request
    if request.flags & RDONLY_PROG and not probes.has("global_data"):
        yield replace(request, flags=request.flags & ~RDONLY_PROG)


def _fill(spec: MapSpec, fd: Fd) -> None:
    assert spec.contents is not None
    try:
        if any(spec.contents):
            maps.update(fd.number, _KEY_0, spec.contents.ljust(spec.value_size, b"\0"))
        if spec.frozen:
            maps.freeze(fd.number)
    except BpfCallError as error:
        if spec.frozen and error.command.name == "MAP_FREEZE" and error.number == errno.EINVAL:
            return  # before 5.2: constants are only not known to the verifier
        raise element_refused(error, spec) from None


def differences(spec: MapSpec, info: MapInfo) -> list[str]:
    """What a blueprint and an existing map do not have in common (bpf_map__reuse_fd's checks)."""
    spec = fitted(spec)
    pairs = (
        ("type", int(spec.type), info.type),
        ("key_size", spec.key_size, info.key_size),
        ("value_size", spec.value_size, info.value_size),
        ("max_entries", spec.max_entries, info.max_entries),
        ("map_flags", spec.flags & ~_NUMA_NODE, info.map_flags & ~_NUMA_NODE),
        ("map_extra", spec.map_extra, info.map_extra),
    )
    return [f"{name} is {there}, the program wants {wanted}" for name, wanted, there in pairs if wanted != there]


def reuse_map(spec: MapSpec, fd: Fd, path: str) -> KernelMap:
    """A pinned map for a blueprint.

    Raises:
        MapError: M0130 it is another kind of map.
    """
    info = objects.read_info(fd.number, MapInfo())
    why = differences(spec, info)
    if why:
        fd.close()
        what = f"the map pinned at {path} is not the map '{spec.name}' of this program"
        raise MapError(Diagnostic("M0130", what, why=tuple(why), help=f"remove the pin: rm {path}"), errno.EINVAL)
    return handle_for(fitted(spec), fd, is_new=False)
