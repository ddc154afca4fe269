"""The 12 workloads of ../shared/bench/workloads.c: skep's JIT and the kernel's against the same C compiled with -O2.

All engines get the same bytes, take turns round by round, and the median of the ratios counts. skep and native code are
called through a pointer by the same loop; the kernel has its own loop (PROG_TEST_RUN), so what its empty program costs
is taken off.
"""

from __future__ import annotations

import ctypes
import math
import os
import random
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.bpf_syscall import KernelProgram
from skep import llvm
from skep.jit.library import read_library
from skep.linker import link
from skep.model.programs import LinkedProgram
from skep.objfile import read_object
from skep.verifier import verify
from skep.vm.engine import VmEngine
from skep.vm.runs import runs
from skep.vm.runtime import bitcode, runtime

SHARED = Path(os.environ.get("SKEP_SHARED", Path(__file__).parent.parent.parent / "shared"))
SOURCE = SHARED / "bench" / "workloads.c"
NAMES = [
    "sieve",
    "bytesum",
    "copy",
    "siphash",
    "fnv1a",
    "bsearch",
    "divmix",
    "matmul",
    "log2hist",
    "strcmp",
    "csum",
    "ipv6ext",
]
PACKETS = {"csum", "ipv6ext"}
MEMORY = 8192
ROUNDS = 15
ROUND_NS = 3_000_000
_CLANG = [sys.executable, "-m", "ziglang", "clang"]
_BPF = ["--target=bpfel", "-O2", "-g", "-mcpu=v3", "-fno-builtin", "-fno-jump-tables", "-DKERN", "-c"]
_NATIVE = ["-O2", "-fPIC", "-DNATIVE", "-DNAME=f", "-c"]
_LOOP = (
    "typedef unsigned long long u64; u64 loop(u64 (*f)(void *, u64), void *a, u64 b, u64 n)"
    "{ u64 r = 0; while (n--) r = f(a, b); return r; }"
)


@dataclass
class Row:
    """One workload: ns per run, and ratios of every round."""

    name: str
    native_ns: float
    skep_ns: float
    kernel_ns: float | None
    skep: float
    kernel: float | None
    insns: int
    compile_ms: float


def _clang(*args: str, source: bytes | None = None) -> bytes:
    done = subprocess.run([*_CLANG, *args, "-o", "-"], input=source, capture_output=True, check=False)
    if done.returncode:
        sys.exit(done.stderr.decode())
    return done.stdout


def _triple() -> str:
    return f"--target={llvm.host().triple}"


def input_for(name: str) -> tuple[bytes, int]:
    """8 KiB of memory, or a packet, and its length: data on which the workload does all of its work."""
    rng = random.Random(5)
    memory = bytearray(rng.randbytes(MEMORY))
    if name == "bsearch":
        memory[:4096] = struct.pack("<1024I", *sorted(rng.randrange(1 << 32) for _ in range(1024)))
        memory[4352:4356] = bytes(4)
    elif name == "strcmp":
        memory[:512] = bytes(rng.randrange(1, 255) for _ in range(512))
        memory[4096:4608] = memory[:511] + b"\xff"
    elif name == "csum":
        return _tcp(rng.randbytes(1446))
    elif name == "ipv6ext":
        chain = (
            bytes([43, 0]) + bytes(6) + bytes([60, 0]) + bytes(6) + bytes([44, 0]) + bytes(6) + bytes([6, 0]) + bytes(6)
        )
        packet = bytes(12) + b"\x86\xdd" + bytes([0x60, 0, 0, 0, 0, 92, 0, 64]) + bytes(32) + chain + rng.randbytes(60)
        return packet, len(packet)
    return bytes(memory), MEMORY


def _tcp(payload: bytes) -> tuple[bytes, int]:
    """Ethernet, IPv4 and TCP with right checksums."""
    segment = struct.pack(">HHIIHHHH", 1, 2, 3, 4, 0x5010, 8192, 0, 0) + payload
    addresses = bytes([1, 2, 3, 4, 5, 6, 7, 8])
    total = _sum16(addresses + struct.pack(">HH", 6, len(segment)) + segment)
    segment = segment[:16] + struct.pack(">H", total) + segment[18:]
    header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(segment), 0, 0, 64, 6, 0) + addresses
    header = header[:10] + struct.pack(">H", _sum16(header)) + header[12:]
    packet = bytes(12) + b"\x08\x00" + header + segment
    return packet, len(packet)


def _sum16(data: bytes) -> int:
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


Turn = Callable[[int], tuple[float, int]]  # repeat -> (ns per run, low 32 bits of the result)


def _timed(loop: Any, function: int, first: int, second: int) -> Turn:
    def turn(repeat: int) -> tuple[float, int]:
        start = time.perf_counter_ns()
        result: int = loop(function, first, second, repeat)
        return (time.perf_counter_ns() - start) / repeat, result & 0xFFFFFFFF

    return turn


def _aligned(size: int) -> tuple[Any, int]:
    block = ctypes.create_string_buffer(size + 8192)
    return block, -(-ctypes.addressof(block) // 4096) * 4096


@contextmanager
def native_turn(loop: Any, name: str) -> Iterator[Turn]:
    """The C itself."""
    code = _clang(_triple(), *_NATIVE, f"-DWL_{name}", str(SOURCE))
    library = llvm.link_object(code, {}, ("f",))
    data, length = input_for(name)
    block, address = _aligned(len(data))
    ctypes.memmove(address, data, len(data))
    yield _timed(loop, library.addresses["f"], address, length)
    library.close()
    del block


@contextmanager
def skep_turn(loop: Any, name: str, linked: LinkedProgram) -> Iterator[tuple[Turn, float]]:
    """Verified, compiled, on the vm's maps; and how long compiling took, ms."""
    data, length = input_for(name)
    engine = VmEngine()
    maps = {map_name: engine.create_map(spec) for map_name, spec in linked.maps.items()}
    if name not in PACKETS:
        for handle in maps.values():
            handle.update(bytes(4), data)
    program = engine.load_program(verify(linked), maps)
    start = time.perf_counter()
    entry = program.entry()
    compile_ms = (time.perf_counter() - start) * 1e3
    block, address = _aligned(length + 1024)
    ctypes.memmove(address + 256, data, len(data))
    context = ctypes.create_string_buffer(64)
    with runs().take() as run:
        run.ctx, run.prog_type = ctypes.addressof(context), int(linked.prog_type)
        run.data = run.data_meta = address + 256
        run.data_end = address + 256 + length
        yield _timed(loop, entry, ctypes.addressof(run), ctypes.addressof(context)), compile_ms
    engine.close()
    del block


@contextmanager
def kernel_turn(name: str, linked: LinkedProgram) -> Iterator[Turn | None]:
    """The kernel's JIT, where bpf(2) may be used."""
    data, length = input_for(name)
    contents = {} if name in PACKETS else dict.fromkeys(linked.maps, data)
    packet = data[:length] if name in PACKETS else bytes(64)
    try:
        program = KernelProgram(linked, contents)
    except OSError:
        yield None
        return

    def turn(repeat: int) -> tuple[float, int]:
        result, ns = program.run(packet, repeat)
        return float(ns), result

    yield turn
    program.close()


def linked_program(name: str) -> LinkedProgram:
    """The workload as an XDP program, linked for the vm."""
    elf = _clang(*_BPF, f"-DWL_{name}", str(SOURCE))
    return link(read_object(elf, name), "prog", VmEngine().target)


def measure(loop: Any, name: str, kernel_overhead: float = 0.0) -> Row:
    """All engines in turns."""
    linked = linked_program(name)
    with (
        native_turn(loop, name) as native,
        skep_turn(loop, name, linked) as (skep, compile_ms),
        kernel_turn(name, linked) as kernel,
    ):
        repeat = 100
        while native(repeat)[0] * repeat < ROUND_NS:
            repeat *= 2
        times: dict[str, list[float]] = {"native": [], "skep": [], "kernel": []}
        for _ in range(ROUNDS):
            answers = {}
            for engine, turn in (("native", native), ("skep", skep), ("kernel", kernel)):
                if turn is not None:
                    ns, answers[engine] = turn(repeat)
                    times[engine].append(ns - (kernel_overhead if engine == "kernel" else 0.0))
            if len(set(answers.values())) != 1:
                sys.exit(f"{name}: the engines do not agree: {answers}")
    ratio = statistics.median(a / b for a, b in zip(times["skep"], times["native"], strict=True))
    middle = {engine: statistics.median(values) for engine, values in times.items() if values}
    kernel_ratio = None
    if times["kernel"]:
        kernel_ratio = statistics.median(a / b for a, b in zip(times["kernel"], times["native"], strict=True))
    return Row(
        name, middle["native"], middle["skep"], middle.get("kernel"), ratio, kernel_ratio, len(linked.insns), compile_ms
    )


def _mean(ratios: list[float]) -> float:
    return math.exp(statistics.fmean(math.log(max(ratio, 1e-3)) for ratio in ratios))


def main(console: Console) -> None:
    """Print the table."""
    if not SOURCE.exists():
        console.print(f"no workloads at {SOURCE} (set SKEP_SHARED)")
        return
    runtime()  # once per machine, and not part of a program's compile time
    read_library(bitcode())
    os.environ["SKEP_CACHE"] = ""  # each program's is
    library = llvm.link_object(
        _clang(_triple(), "-O2", "-fPIC", "-c", "-x", "c", "-", source=_LOOP.encode()), {}, ("loop",)
    )
    address = library.addresses["loop"]
    u64, pointer = ctypes.c_uint64, ctypes.c_void_p
    loop = ctypes.CFUNCTYPE(u64, pointer, pointer, u64, u64)(address)
    empty = measure(loop, "empty")
    overhead = max(0.0, (empty.kernel_ns or 0.0) - empty.native_ns)
    rows = [measure(loop, name, overhead) for name in NAMES]
    table = Table("workload", "insns", "native -O2", "skep", "kernel JIT", "skep / native", "kernel / native", "JIT ms")
    for row in [empty, *rows]:
        kernel_ns = f"{row.kernel_ns:.1f} ns" if row.kernel_ns is not None else "-"
        kernel = f"{row.kernel:.2f}" if row.kernel is not None and row is not empty else "-"
        table.add_row(
            row.name, str(row.insns), f"{row.native_ns:.1f} ns", f"{row.skep_ns:.1f} ns", kernel_ns, f"{row.skep:.2f}",
            kernel, f"{row.compile_ms:.0f}",
        )  # fmt: skip
    kernel_ratios = [row.kernel for row in rows if row.kernel is not None]
    kernel_mean = f"{_mean(kernel_ratios):.2f}" if kernel_ratios else "-"
    table.add_section()
    table.add_row("geometric mean", "", "", "", "", f"{_mean([row.skep for row in rows]):.2f}", kernel_mean, "")
    console.print(table)
    console.print("medians of ratios; the kernel's times are without the cost of its empty program", style="dim")
    library.close()
