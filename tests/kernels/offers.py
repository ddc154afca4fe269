"""What a kernel offers, asked with as little code as can be: two instructions, bpf(2), no links of skep's.

Each probe attaches ``r0 = 0; exit`` to something that belongs to this process (its own network namespace, its own
cgroup, a file of its own) or that only test runs reach (``bpf_fentry_test1``), and lets go of it at once.
"""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from skep.abi.map_types import MapType
from skep.abi.prog_types import AttachType, ProgType
from skep.btf.reader import parse_btf
from skep.btf.types import Btf, Func, Typedef
from skep.isa.assembler import assemble
from skep.isa.codec import encode
from skep.kernel.bpf import links, maps, programs
from skep.kernel.fd import Fd

RETURN_0: Final = bytes.fromhex("b7000000000000009500000000000000")
#: A function of the kernel that nothing calls but BPF_PROG_TEST_RUN of tracing programs.
FUNCTION: Final = "bpf_fentry_test1"
#: A tracepoint that fires only in BPF_PROG_TEST_RUN.
TRACEPOINT: Final = ("bpf_test_run", "bpf_test_finish")
_CLONE_NEWNET: Final = 0x40000000
_PERF_EVENT_OPEN: Final = {"x86_64": 298, "aarch64": 241}
_PERF_ATTR_BYTES: Final = 136
_PERF_SOFTWARE, _PERF_TRACEPOINT, _PERF_CPU_CLOCK = 1, 2, 0
_XDP_GENERIC: Final = 1 << 1
_MMAPABLE: Final = 1 << 10
_LO: Final = 1


class NotOfferedError(Exception):
    """The kernel has no such thing to ask for; says what is missing."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A feature.

    Attributes:
        since: the Linux version that brought it.
        options: of its configuration, all needed.
        probe: raises OSError or NotOfferedError where it is not offered.
    """

    name: str
    since: tuple[int, int]
    probe: Callable[[], None]
    options: tuple[str, ...] = ()


def _load(prog_type: ProgType, attach_type: AttachType | int = 0, attach_to: int = 0, flags: int = 0) -> Fd:
    request = programs.LoadRequest(
        prog_type, RETURN_0, expected_attach_type=int(attach_type), attach_btf_id=attach_to, flags=flags
    )
    return programs.load(request)[0]


@cache
def _type_id(name: str, kind: type) -> int:
    path = Path("/sys/kernel/btf/vmlinux")
    if not path.exists():
        raise NotOfferedError("no /sys/kernel/btf/vmlinux")
    found: int | None = _vmlinux().find(name, kind)
    if found is None:
        raise NotOfferedError(f"no {name} in the kernel's types")
    return found


@cache
def _vmlinux() -> Btf:
    return parse_btf(Path("/sys/kernel/btf/vmlinux").read_bytes())


def _trampoline(prog_type: ProgType, attach_type: AttachType, name: str, kind: type = Func) -> Callable[[], None]:
    """A program that knows its target: BPF_RAW_TRACEPOINT_OPEN without a name attaches it."""

    def probe() -> None:
        with (
            _load(prog_type, attach_type, _type_id(name, kind)) as program,
            links.open_raw_tracepoint("", program.number),
        ):
            pass

    return probe


def _iterator() -> None:
    with (
        _load(ProgType.TRACING, AttachType.TRACE_ITER, _type_id("bpf_iter_task", Func)) as program,
        links.create(links.LinkRequest(program.number, AttachType.TRACE_ITER)) as link,
        links.create_iterator(link.number) as iterator,
    ):
        os.read(iterator.number, 1)


def _raw_tracepoint() -> None:
    with _load(ProgType.RAW_TRACEPOINT) as program, links.open_raw_tracepoint(TRACEPOINT[1], program.number):
        pass


def _pmu(name: str) -> int:
    path = Path("/sys/bus/event_source/devices") / name / "type"
    if not path.exists():
        raise NotOfferedError(f"no perf event source '{name}'")
    return int(path.read_text())


def _open_perf_event(kind: int, config: int = 0, period: int = 0, config1: int = 0, config2: int = 0) -> Fd:
    attr = struct.pack("<IIQQQQQIIQQ", kind, _PERF_ATTR_BYTES, config, period, 0, 0, 0, 0, 0, config1, config2)
    buffer = ctypes.create_string_buffer(attr, _PERF_ATTR_BYTES)
    libc = ctypes.CDLL(None, use_errno=True)
    number = _PERF_EVENT_OPEN[platform.machine()]
    fd = libc.syscall(number, buffer, 0, -1, -1, 0)  # this process, on any CPU
    if fd < 0:
        raise OSError(ctypes.get_errno(), f"perf_event_open: {os.strerror(ctypes.get_errno())}")
    return Fd(fd, "perf event")


def _on_perf_event(prog_type: ProgType, event: Fd) -> None:
    with (
        event,
        _load(prog_type) as program,
        links.create(links.LinkRequest(program.number, AttachType.PERF_EVENT, event.number)),
    ):
        pass


def _kprobe() -> None:
    name = ctypes.create_string_buffer(FUNCTION.encode())
    _on_perf_event(ProgType.KPROBE, _open_perf_event(_pmu("kprobe"), config1=ctypes.addressof(name)))


@contextmanager
def _own_program() -> Iterator[tuple[bytes, int]]:
    """(path, file offset of the first instruction) of a copy of /bin/true, so that nobody else runs into the probe."""
    true = shutil.which("true")
    assert true is not None
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "probed"
        shutil.copy(true, copy)
        image = copy.read_bytes()
        entry, headers = struct.unpack_from("<QQ", image, 24)
        size, count = struct.unpack_from("<HH", image, 54)
        for number in range(count):
            kind, _, offset, address, _, length = struct.unpack_from("<IIQQQQ", image, headers + number * size)
            if kind == 1 and address <= entry < address + length:
                yield bytes(copy), entry - address + offset
                return
    raise AssertionError("no segment holds the entry point of true")


def _uprobe() -> None:
    with _own_program() as (path, offset):
        name = ctypes.create_string_buffer(path)
        event = _open_perf_event(_pmu("uprobe"), config1=ctypes.addressof(name), config2=offset)
        _on_perf_event(ProgType.KPROBE, event)


def _tracepoint() -> None:
    for root in ("/sys/kernel/tracing", "/sys/kernel/debug/tracing"):
        path = Path(root, "events", *TRACEPOINT, "id")
        if path.exists():
            return _on_perf_event(ProgType.TRACEPOINT, _open_perf_event(_PERF_TRACEPOINT, int(path.read_text())))
    raise NotOfferedError(f"no tracefs with {'/'.join(TRACEPOINT)}")


def _perf_event() -> None:
    _on_perf_event(ProgType.PERF_EVENT, _open_perf_event(_PERF_SOFTWARE, _PERF_CPU_CLOCK, 10_000_000))


def _kprobe_multi() -> None:
    name = ctypes.create_string_buffer(FUNCTION.encode())
    names = (ctypes.c_uint64 * 1)(ctypes.addressof(name))
    tail = struct.pack("<IIQQQ", 0, 1, ctypes.addressof(names), 0, 0)
    with (
        _load(ProgType.KPROBE, AttachType.TRACE_KPROBE_MULTI) as program,
        links.create(links.LinkRequest(program.number, AttachType.TRACE_KPROBE_MULTI, tail=tail)),
    ):
        pass


def _uprobe_multi() -> None:
    with _own_program() as (path, offset):
        name, offsets = ctypes.create_string_buffer(path), (ctypes.c_uint64 * 1)(offset)
        tail = struct.pack("<QQQQIII", ctypes.addressof(name), ctypes.addressof(offsets), 0, 0, 1, 0, os.getpid())
        with (
            _load(ProgType.KPROBE, AttachType.TRACE_UPROBE_MULTI) as program,
            links.create(links.LinkRequest(program.number, AttachType.TRACE_UPROBE_MULTI, tail=tail)),
        ):
            pass


def _in_own_netns(work: Callable[[], None]) -> Callable[[], None]:
    """In a thread with a network namespace of its own, which ends with it."""

    def probe() -> None:
        errors: list[Exception] = []

        def body() -> None:
            try:
                if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNET)")
                work()
            except Exception as error:
                errors.append(error)

        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]

    return probe


def _on_lo(prog_type: ProgType, attach_type: AttachType, flags: int = 0) -> Callable[[], None]:
    def work() -> None:
        with (
            _load(prog_type, attach_type) as program,
            links.create(links.LinkRequest(program.number, attach_type, _LO, flags)),
        ):
            pass

    return _in_own_netns(work)


def _on_netns(prog_type: ProgType, attach_type: AttachType) -> Callable[[], None]:
    def work() -> None:
        with (
            Fd(os.open("/proc/thread-self/ns/net", os.O_RDONLY), "netns") as netns,
            _load(prog_type, attach_type) as program,
            links.create(links.LinkRequest(program.number, attach_type, netns.number)),
        ):
            pass

    return _in_own_netns(work)


def _netfilter() -> None:
    ipv4, local_out = 2, 3
    tail = struct.pack("<IIiI", ipv4, local_out, -100, 0)
    with (
        _load(ProgType.NETFILTER, AttachType.NETFILTER) as program,
        links.create(links.LinkRequest(program.number, AttachType.NETFILTER, tail=tail)),
    ):
        pass


def _netkit() -> None:
    made = subprocess.run(
        ["ip", "link", "add", "skep-nk0", "type", "netkit"], capture_output=True, text=True, check=False, timeout=60
    )
    try:
        index = socket.if_nametoindex("skep-nk0")
    except OSError:
        raise NotOfferedError(f"ip link add type netkit: {made.stderr.strip()}") from None
    with (
        _load(ProgType.SCHED_CLS, AttachType.NETKIT_PRIMARY) as program,
        links.create(links.LinkRequest(program.number, AttachType.NETKIT_PRIMARY, index)),
    ):
        pass


def _cgroup_folder() -> Path:
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(place)
    raise NotOfferedError("no cgroup2 is mounted")


def _on_cgroup(prog_type: ProgType, attach_type: AttachType, function: str | None = None) -> Callable[[], None]:
    def probe() -> None:
        folder = Path(tempfile.mkdtemp(prefix="skep-offer-", dir=_cgroup_folder()))
        with ExitStack() as stack:
            stack.callback(folder.rmdir)
            cgroup = stack.enter_context(Fd(os.open(folder, os.O_RDONLY), "cgroup"))
            target = _type_id(function, Func) if function else 0
            program = stack.enter_context(_load(prog_type, attach_type, target))
            stack.enter_context(links.create(links.LinkRequest(program.number, attach_type, cgroup.number)))

    return probe


def _map(map_type: MapType, key: int, value: int, entries: int, flags: int = 0) -> Callable[[], None]:
    return lambda: maps.create(maps.MapRequest(map_type, key, value, entries, flags)).close()


def _takes(text: str) -> Callable[[], None]:
    """The kernel's verifier takes an instruction."""

    def probe() -> None:
        code = encode(assemble(text))
        programs.load(programs.LoadRequest(ProgType.SOCKET_FILTER, code))[0].close()

    return probe


def _token() -> None:
    """A token comes only from a bpffs of a user namespace; the rest of a kernel's tokens is seen in its types."""
    _type_id("bpf_token_create", Func)


_TRAMPOLINES: Final = ("CONFIG_FUNCTION_TRACER", "CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS")
_LSM: Final = ("CONFIG_BPF_LSM", *_TRAMPOLINES)

OFFERS: Final[tuple[Offer, ...]] = (
    Offer("kprobe", (4, 17), _kprobe, ("CONFIG_KPROBES", "CONFIG_BPF_EVENTS")),
    Offer("kprobe.multi", (5, 18), _kprobe_multi, ("CONFIG_FPROBE",)),
    Offer("uprobe", (4, 17), _uprobe, ("CONFIG_UPROBE_EVENTS", "CONFIG_BPF_EVENTS")),
    Offer("uprobe.multi", (6, 6), _uprobe_multi, ("CONFIG_UPROBES", "CONFIG_BPF_EVENTS")),
    Offer("tracepoint", (4, 7), _tracepoint, ("CONFIG_BPF_EVENTS",)),
    Offer("raw tracepoint", (4, 17), _raw_tracepoint, ("CONFIG_BPF_EVENTS",)),
    Offer("tp_btf", (5, 5), _trampoline(
        ProgType.TRACING, AttachType.TRACE_RAW_TP, f"btf_trace_{TRACEPOINT[1]}", Typedef
    )),
    Offer("perf_event", (4, 9), _perf_event, ("CONFIG_BPF_EVENTS",)),
    Offer("fentry", (5, 5), _trampoline(ProgType.TRACING, AttachType.TRACE_FENTRY, FUNCTION), _TRAMPOLINES),
    Offer("fexit", (5, 5), _trampoline(ProgType.TRACING, AttachType.TRACE_FEXIT, FUNCTION), _TRAMPOLINES),
    Offer("fmod_ret", (5, 7), _trampoline(
        ProgType.TRACING, AttachType.MODIFY_RETURN, "security_task_setnice"
    ), _TRAMPOLINES),
    Offer("lsm", (5, 7), _trampoline(ProgType.LSM, AttachType.LSM_MAC, "bpf_lsm_task_setnice"), _LSM),
    Offer("lsm_cgroup", (6, 0), _on_cgroup(
        ProgType.LSM, AttachType.LSM_CGROUP, "bpf_lsm_socket_bind"
    ), (*_LSM, "CONFIG_CGROUP_BPF")),
    Offer("iterator", (5, 8), _iterator),
    Offer("xdp link", (5, 9), _on_lo(ProgType.XDP, AttachType.XDP, _XDP_GENERIC)),
    Offer("tcx", (6, 6), _on_lo(ProgType.SCHED_CLS, AttachType.TCX_INGRESS), ("CONFIG_NET_XGRESS",)),
    Offer("netkit", (6, 7), _in_own_netns(_netkit), ("CONFIG_NETKIT",)),
    Offer("netfilter", (6, 4), _in_own_netns(_netfilter), ("CONFIG_NETFILTER_BPF_LINK",)),
    Offer("sk_lookup", (5, 9), _on_netns(ProgType.SK_LOOKUP, AttachType.SK_LOOKUP)),
    Offer("flow dissector", (5, 7), _on_netns(ProgType.FLOW_DISSECTOR, AttachType.FLOW_DISSECTOR)),
    Offer("cgroup skb", (5, 7), _on_cgroup(ProgType.CGROUP_SKB, AttachType.CGROUP_INET_EGRESS), ("CONFIG_CGROUP_BPF",)),
    Offer("cgroup connect4", (5, 7), _on_cgroup(
        ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET4_CONNECT
    ), ("CONFIG_CGROUP_BPF",)),
    Offer("cgroup unix connect", (6, 7), _on_cgroup(
        ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_UNIX_CONNECT
    ), ("CONFIG_CGROUP_BPF",)),
    Offer("map ringbuf", (5, 8), _map(MapType.RINGBUF, 0, 0, 4096)),
    Offer("map bloom_filter", (5, 16), _map(MapType.BLOOM_FILTER, 0, 4, 8)),
    Offer("map user_ringbuf", (6, 1), _map(MapType.USER_RINGBUF, 0, 0, 4096)),
    Offer("map arena", (6, 9), _map(MapType.ARENA, 0, 0, 1, _MMAPABLE), ("CONFIG_64BIT",)),
    Offer("BPF token", (6, 9), _token),
    Offer("instructions v4", (6, 6), _takes("r1 = -1\nr0 = (s8)r1\nr0 = bswap32 r0\nr0 = 0\nexit")),
    Offer("may_goto", (6, 9), _takes("r0 = 0\nmay_goto +1\ngoto -2\nexit")),
    Offer("load_acquire", (6, 15), _takes("*(u64 *)(r10 - 8) = 0\nr0 = load_acquire((u64 *)(r10 -8))\nr0 = 0\nexit")),
)  # fmt: skip
