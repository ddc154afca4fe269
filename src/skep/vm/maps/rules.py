"""Which maps can be made: the checks that the kernel's map_alloc_check() functions do, with their errno values."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from skep.abi.map_types import MapType
from skep.diagnostics import Diagnostic
from skep.errors import MapError, UnsupportedError
from skep.model.maps import MapSpec

# enum of BPF_MAP_CREATE flags (uapi linux/bpf.h)
NO_PREALLOC, NO_COMMON_LRU, NUMA_NODE, RDONLY, WRONLY = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 4
ZERO_SEED, RDONLY_PROG, WRONLY_PROG, MMAPABLE, INNER_MAP = 1 << 6, 1 << 7, 1 << 8, 1 << 10, 1 << 12
_ACCESS = RDONLY | WRONLY | RDONLY_PROG | WRONLY_PROG

_MAX_VALUE = (1 << 22) - 4096  # KMALLOC_MAX_SIZE, less the kernel's header of an element
_MAX_PERCPU_VALUE = 32 << 10  # PCPU_MIN_UNIT_SIZE
_MAX_ENTRIES = 1 << 30  # element numbers have 31 bits, and the kernel's bucket arrays end before
_LPM_MAX_KEY = 4 + 256


@dataclass(frozen=True, slots=True)
class Rule:
    """What a map type wants: ``key`` and ``value``: its exact size, or None for any from 1 on."""

    flags: int
    key: int | None = None
    value: int | None = None
    percpu: bool = False
    check: Callable[[MapSpec], tuple[str, int, str] | None] | None = None


def _lpm(spec: MapSpec) -> tuple[str, int, str] | None:
    if not spec.flags & NO_PREALLOC:
        help_ = "write __uint(map_flags, BPF_F_NO_PREALLOC)"
        return "an lpm_trie must have the flag BPF_F_NO_PREALLOC", errno.EINVAL, help_
    if not 5 <= spec.key_size <= _LPM_MAX_KEY:
        help_ = "use struct bpf_lpm_trie_key_u8 with the data after it"
        return "the key of an lpm_trie is a u32 prefix length and 1 to 256 bytes", errno.EINVAL, help_
    return None


def _lru(spec: MapSpec) -> tuple[str, int, str] | None:
    if spec.flags & NO_PREALLOC:
        return "an LRU map cannot have BPF_F_NO_PREALLOC", 524, "leave the flag out"  # ENOTSUPP
    return None


def _ring(spec: MapSpec) -> tuple[str, int, str] | None:
    size = spec.max_entries
    if size & (size - 1) or size % 4096:
        help_ = "for example __uint(max_entries, 256 * 1024)"
        return f"the size of a ring, {size}, is not a power of two and a multiple of 4096", errno.EINVAL, help_
    if size > 1 << 31:
        return "a ring has 2 GiB at most", errno.E2BIG, "make it smaller"
    return None


def _device(spec: MapSpec) -> tuple[str, int, str] | None:
    if spec.value_size not in (4, 8):
        return "the value of a devmap has 4 or 8 bytes", errno.EINVAL, "use __u32 or struct bpf_devmap_val"
    return None


def _references(spec: MapSpec) -> tuple[str, int, str] | None:
    if spec.flags & (RDONLY_PROG | WRONLY_PROG):
        return "programs' access to this map type cannot be restricted", errno.EINVAL, "leave the flag out"
    return None


_HASH_FLAGS = NO_PREALLOC | NUMA_NODE | _ACCESS | ZERO_SEED
RULES: Mapping[MapType, Rule] = {
    MapType.HASH: Rule(_HASH_FLAGS),
    MapType.PERCPU_HASH: Rule(_HASH_FLAGS, percpu=True),
    MapType.LRU_HASH: Rule(_HASH_FLAGS | NO_COMMON_LRU, check=_lru),
    MapType.LRU_PERCPU_HASH: Rule(_HASH_FLAGS | NO_COMMON_LRU, percpu=True, check=_lru),
    MapType.ARRAY: Rule(NUMA_NODE | MMAPABLE | _ACCESS | INNER_MAP, key=4),
    MapType.PERCPU_ARRAY: Rule(_ACCESS, key=4, percpu=True),
    MapType.PROG_ARRAY: Rule(_ACCESS, key=4, value=4, check=_references),
    MapType.PERF_EVENT_ARRAY: Rule(_ACCESS, key=4, value=4, check=_references),
    MapType.LPM_TRIE: Rule(NO_PREALLOC | NUMA_NODE | _ACCESS, check=_lpm),
    MapType.ARRAY_OF_MAPS: Rule(_ACCESS, key=4, value=4, check=_references),
    MapType.HASH_OF_MAPS: Rule(_HASH_FLAGS, value=4, check=_references),
    MapType.DEVMAP: Rule(NUMA_NODE | RDONLY | WRONLY, key=4, check=_device),
    MapType.DEVMAP_HASH: Rule(NUMA_NODE | RDONLY | WRONLY, key=4, check=_device),
    MapType.QUEUE: Rule(NUMA_NODE | _ACCESS, key=0),
    MapType.STACK: Rule(NUMA_NODE | _ACCESS, key=0),
    MapType.RINGBUF: Rule(NUMA_NODE, key=0, value=0, check=_ring),
    MapType.USER_RINGBUF: Rule(0, key=0, value=0, check=_ring),
    MapType.BLOOM_FILTER: Rule(NUMA_NODE | ZERO_SEED | _ACCESS, key=0),
}

_NO_DEVICES = "there is no network device, socket or CPU queue in this process to send packets to"
_NO_OWNERS = "there is no socket, inode, task or cgroup in this process to keep storage with"
_LATER = "the vm engine does not have it yet"
#: Every other map type, and why the vm does not have it.
REFUSED: Mapping[MapType, str] = {
    MapType.UNSPEC: "it is no map type",
    MapType.STACK_TRACE: "there is no kernel code running whose stack could be taken",
    MapType.CGROUP_ARRAY: "there are no control groups in this process",
    MapType.SOCKMAP: _NO_DEVICES,
    MapType.CPUMAP: _NO_DEVICES,
    MapType.XSKMAP: _NO_DEVICES,
    MapType.SOCKHASH: _NO_DEVICES,
    MapType.REUSEPORT_SOCKARRAY: _NO_DEVICES,
    MapType.CGROUP_STORAGE_DEPRECATED: _NO_OWNERS,
    MapType.PERCPU_CGROUP_STORAGE_DEPRECATED: _NO_OWNERS,
    MapType.SK_STORAGE: _NO_OWNERS,
    MapType.INODE_STORAGE: _NO_OWNERS,
    MapType.TASK_STORAGE: _NO_OWNERS,
    MapType.CGRP_STORAGE: _NO_OWNERS,
    MapType.STRUCT_OPS: "there are no kernel structures of functions in this process",
    MapType.ARENA: _LATER,
    MapType.INSN_ARRAY: _LATER,
    MapType.RHASH: _LATER,
}


def reject(spec: MapSpec, code: str, what: str, number: int, advice: str) -> MapError:
    """A MapError about a map, with the errno that the kernel would give."""
    kernel = errno.errorcode.get(number, "ENOTSUPP" if number == 524 else str(number))
    return MapError(Diagnostic(code=code, what=f"map '{spec.name}': {what}", help=advice, kernel=kernel), number)


def check_spec(spec: MapSpec) -> None:
    """Raise unless a map can be made from this.

    Raises:
        UnsupportedError: M0101: the vm has no such map type.
        MapError: M0102 sizes, M0103 flags, M0104 too large, M0105 what else the type wants.
    """
    rule = RULES.get(spec.type)
    kind = spec.type.name.lower()
    if rule is None:
        why = REFUSED[spec.type]
        what = f"map '{spec.name}': the vm engine has no maps of type {kind}"
        raise UnsupportedError(Diagnostic("M0101", what, why=(why,), help='load the object with engine="kernel"'))
    if spec.max_entries == 0:
        raise reject(spec, "M0102", "max_entries is 0", errno.EINVAL, "say how many: __uint(max_entries, 1024)")
    if not all(0 <= n < 1 << 32 for n in (spec.key_size, spec.value_size, spec.max_entries, spec.flags)):
        raise reject(spec, "M0102", "a size is not a number of 32 bits", errno.EINVAL, "use smaller sizes")
    for name, size, wanted in (("key", spec.key_size, rule.key), ("value", spec.value_size, rule.value)):
        if wanted is not None and size != wanted:
            what = f"a {kind} has {name}s of {wanted} bytes, not {size}"
            raise reject(spec, "M0102", what, errno.EINVAL, f"set the {name} size to {wanted}")
        if wanted is None and size == 0:
            advice = f"declare __type({name}, ...) or __uint({name}_size, ...)"
            raise reject(spec, "M0102", f"the {name} size is 0", errno.EINVAL, advice)
    unknown = spec.flags & ~rule.flags
    if unknown or spec.flags & (RDONLY | WRONLY) == RDONLY | WRONLY:
        what = f"flags {unknown or spec.flags:#x} mean nothing for a {kind}"
        raise reject(spec, "M0103", what, errno.EINVAL, "leave them out")
    if spec.flags & (RDONLY_PROG | WRONLY_PROG) == RDONLY_PROG | WRONLY_PROG:
        raise reject(spec, "M0103", "programs may neither read nor write it", errno.EINVAL, "leave one flag out")
    _check_sizes(spec, rule)
    problem = rule.check(spec) if rule.check is not None else None
    if problem is not None:
        raise reject(spec, "M0105", *problem)


def _check_sizes(spec: MapSpec, rule: Rule) -> None:
    limit = _MAX_PERCPU_VALUE if rule.percpu else (1 << 31) - 1
    if spec.type not in (MapType.ARRAY, MapType.PERCPU_ARRAY) and not rule.percpu:
        limit = _MAX_VALUE - spec.key_size
    if spec.value_size > limit or spec.key_size > _MAX_VALUE:
        what = f"keys of {spec.key_size} and values of {spec.value_size} bytes are too large"
        raise reject(spec, "M0104", what, errno.E2BIG, f"values of this type have {max(limit, 0)} bytes at most")
    if spec.max_entries > _MAX_ENTRIES and rule.key != 0:
        what = f"{spec.max_entries} entries are too many"
        raise reject(spec, "M0104", what, errno.E2BIG, f"{_MAX_ENTRIES} at most")
