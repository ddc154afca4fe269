"""Making maps, and opening those that another process pinned under a path."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import secrets
from pathlib import Path

from skep.abi.map_types import MapType
from skep.diagnostics import Diagnostic
from skep.errors import MapError
from skep.model.maps import MapSpec, Pinning
from skep.vm.maps.handle import VmMap
from skep.vm.maps.header import MAGIC, VERSION, Header
from skep.vm.maps.kinds import CLASSES, handle_for
from skep.vm.maps.locks import LOCK_SIZE, lock_end
from skep.vm.maps.memory import anonymous_file, available_bytes, map_file
from skep.vm.maps.references import ReferenceMap
from skep.vm.maps.rules import ZERO_SEED, check_spec, reject
from skep.vm.runtime import possible_cpus, runtime

_PERF_BYTES = 4 << 20  # data of the ring behind a perf_event_array
_BLOOM_HASHES = 5  # the kernel's default
_LAYOUT = (
    "ncpus value_stride size values buckets elem_stride nbuckets nhashes ring_size consumer producer".split()  # noqa: SIM905
)
_RINGS = (MapType.RINGBUF, MapType.PERF_EVENT_ARRAY, MapType.USER_RINGBUF)


def create_map(spec: MapSpec, pin_directory: Path | None = None) -> VmMap:
    """Make a map; its ``contents`` and ``frozen`` included.

    A map with ``pinning`` BY_NAME is the one that lies under its name in ``pin_directory``, made if it is not there. It
    is a file: other processes see the same memory, and it stays when this process ends, whatever way. Without a
    directory (None, and no $SKEP_PIN_DIR) it is a map of this process alone, like the others.

    Raises:
        UnsupportedError: the vm has no such map type.
        MapError: the kernel would refuse it, too, or there is not enough memory.
    """
    if spec.type is MapType.PERF_EVENT_ARRAY and spec.max_entries == 0:
        spec = spec.replace(max_entries=possible_cpus())  # as libbpf does
    check_spec(spec)
    header = _layout(spec)
    if pin_directory is None and os.environ.get("SKEP_PIN_DIR"):
        pin_directory = Path(os.environ["SKEP_PIN_DIR"])
    if spec.pinning is Pinning.BY_NAME and pin_directory is not None:
        return _pinned(spec, header, pin_directory / spec.name)
    try:
        fd = anonymous_file(spec.name, header.size)
    except OSError as error:
        raise _no_memory(spec, header.size, error) from error
    try:
        handle = _start(spec, header, fd)
    except OSError as error:
        raise _no_memory(spec, header.size, error) from error
    finally:
        os.close(fd)
    return _filled(handle)


def _layout(spec: MapSpec) -> Header:
    header = Header(
        type=int(spec.type),
        key_size=spec.key_size,
        value_size=spec.value_size,
        max_entries=spec.max_entries,
        flags=spec.flags,
        lock_end=lock_end(spec),
        ncpus=possible_cpus(),
        seed=0 if spec.flags & ZERO_SEED else secrets.randbits(64),
    )
    ring = _PERF_BYTES if spec.type is MapType.PERF_EVENT_ARRAY else spec.max_entries
    hashes = spec.map_extra & 15 or _BLOOM_HASHES
    size = runtime().functions["skep_map_layout"](ctypes.addressof(header), mmap.PAGESIZE, ring, hashes)
    if size == 0 or size > available_bytes():
        what = f"it would need {size / (1 << 30):.1f} GiB of memory" if size else "it would need too much memory"
        raise reject(spec, "M0106", what, errno.ENOMEM, "make max_entries or the value smaller")
    return header


def _start(spec: MapSpec, header: Header, fd: int) -> VmMap:
    """Map a fresh file and write the header."""
    block = map_file(fd, header.size, header.ring_size if spec.type in _RINGS else 0)
    ctypes.memmove(block.address, ctypes.addressof(header), ctypes.sizeof(Header))
    return handle_for(spec, block)


def _filled(handle: VmMap) -> VmMap:
    spec = handle.spec
    if spec.contents is not None:
        if spec.type is not MapType.ARRAY or len(spec.contents) > spec.value_size:
            what = f"its initial contents have {len(spec.contents)} bytes, a value {spec.value_size}"
            raise reject(spec, "M0107", what, errno.EINVAL, "make the value as large as the contents")
        handle.block.view(4096, len(spec.contents))[:] = spec.contents
    if spec.frozen:
        handle.freeze()
    return handle


def _no_memory(spec: MapSpec, size: int, error: OSError) -> MapError:
    what = f"{size} bytes of memory cannot be had: {error.strerror}"
    return reject(spec, "M0106", what, error.errno or errno.ENOMEM, "make max_entries smaller")


# ---- pinned maps ----


def _pinned(spec: MapSpec, header: Header, path: Path) -> VmMap:
    """The map under this path: opened, or made and put there at once whole."""
    if CLASSES.get(spec.type) is ReferenceMap:
        what = "its values are maps or programs of this process: it cannot be pinned"
        raise reject(spec, "M0108", what, errno.EINVAL, "leave LIBBPF_PIN_BY_NAME out")
    for _ in range(3):
        try:
            return open_pinned(path, spec)
        except FileNotFoundError:
            pass
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.ftruncate(fd, header.size)
                handle = _filled(_start(spec, header, fd))
            finally:
                os.close(fd)
            os.link(temporary, path)  # fails if another process was faster
            return handle
        except FileExistsError:
            continue
        except OSError as error:
            what = f"it cannot be pinned at {path}: {error.strerror}"
            raise reject(
                spec, "M0108", what, error.errno or errno.EIO, "choose a directory you may write to"
            ) from error
        finally:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
    raise reject(spec, "M0108", f"{path} comes and goes", errno.EAGAIN, "another process removes it: try again")


def open_pinned(path: Path, spec: MapSpec | None = None) -> VmMap:
    """Open a map that lies under a path.

    Args:
        spec: what it must fit; None: whatever it is (its name is the file's).

    Raises:
        FileNotFoundError: nothing is there.
        MapError: M0109: it is not a map of this version, or does not fit ``spec``.
    """
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        length = os.fstat(fd).st_size
        found = Header.from_buffer_copy(os.pread(fd, ctypes.sizeof(Header), 0).ljust(ctypes.sizeof(Header), b"\0"))
        name = spec.name if spec is not None else path.name
        there = _spec_of(found, name, path)
        if spec is not None:
            _check_fit(spec, there, path)
            _check_lock(spec, found.lock_end, path)
        expected = _layout(there)
        _check_sound(found, expected, length, path)
        block = map_file(fd, length, found.ring_size if there.type in _RINGS else 0)
        handle = handle_for(spec or there, block)
        if spec is not None and spec.frozen:
            handle.freeze()
        return handle
    finally:
        os.close(fd)


def _not_a_map(path: Path, why: str) -> MapError:
    what = f"{path} is not a map that this version of skep can open"
    return MapError(Diagnostic("M0109", what, why=(why,), help="remove the file, or choose another name"), errno.EINVAL)


def _spec_of(header: Header, name: str, path: Path) -> MapSpec:
    if header.magic != MAGIC or header.version != VERSION:
        raise _not_a_map(path, "it does not start with a map's header")
    try:
        map_type = MapType(header.type)
        spec = MapSpec(
            name,
            map_type,
            header.key_size,
            header.value_size,
            header.max_entries,
            header.flags,
            map_extra=header.nhashes & 15,
        )
        check_spec(spec)
    except (ValueError, MapError) as error:
        raise _not_a_map(path, f"its header says nonsense: {str(error).splitlines()[0]}") from error
    return spec


def _check_fit(spec: MapSpec, there: MapSpec, path: Path) -> None:
    for name in ("type", "key_size", "value_size", "max_entries", "flags"):
        wanted, found = getattr(spec, name), getattr(there, name)
        if wanted != found:
            what = f"the map pinned at {path} has {name} {found!r}, not {wanted!r}"
            raise reject(spec, "M0110", what, errno.EINVAL, "remove the old map, or make the declarations agree")


def _check_lock(spec: MapSpec, found: int, path: Path) -> None:
    wanted = lock_end(spec)
    if wanted != found:
        places = ["none" if not end else f"at offset {end - LOCK_SIZE}" for end in (found, wanted)]
        what = f"values of the map pinned at {path} have their lock elsewhere: {places[0]}, not {places[1]}"
        raise reject(spec, "M0110", what, errno.EINVAL, "remove the old map, or make the declarations agree")


def _check_sound(found: Header, expected: Header, length: int, path: Path) -> None:
    """A header must say about its own layout what this version would; nothing is read outside the file then."""
    if found.lock_end and not LOCK_SIZE <= found.lock_end <= found.value_size:
        raise _not_a_map(path, f"its lock ends at {found.lock_end}, its values at {found.value_size}")
    for name in _LAYOUT:
        if getattr(found, name) != getattr(expected, name):
            raise _not_a_map(path, f"its {name} is {getattr(found, name)}, here it would be {getattr(expected, name)}")
    if length != found.size:
        raise _not_a_map(path, f"it has {length} bytes, its header says {found.size}")
