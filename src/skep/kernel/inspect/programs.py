"""Programs that are loaded: facts, translated code, machine code."""

from __future__ import annotations

import ctypes
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from skep.abi.helpers import HELPERS
from skep.abi.names import name_of
from skep.abi.prog_types import ProgType
from skep.btf.strings import name_at
from skep.btf.types import Btf, Func
from skep.diagnostics import Diagnostic, Span
from skep.errors import EngineError, SkepError, UnsupportedError
from skep.isa import opcodes as op
from skep.isa.codec import decode
from skep.isa.disassembler import disassemble
from skep.isa.instruction import Instruction
from skep.kernel import host
from skep.kernel.bpf import objects
from skep.kernel.bpf.attr import ProgInfo
from skep.kernel.bpf.call import BpfCallError, address, data_buffer
from skep.kernel.bpf.objects import Kind
from skep.kernel.fd import Fd
from skep.kernel.inspect.ids import open_all, open_by_id, row_end
from skep.kernel.inspect.owners import Owner, memlock_of
from skep.kernel.prepare import read_types_by_id

_NAME_LIMIT: Final = 15
_COLUMN_BITS: Final = 10
_PERCPU: Final = -1  # off of a move that makes a per-CPU address (BPF_ADDR_PERCPU)


@dataclass(frozen=True, slots=True)
class ProgramFacts:
    """A loaded program, as ``skep prog show`` tells of it. Times in ns, sizes in bytes."""

    id: int
    type: str
    name: str
    tag: str
    gpl_compatible: bool
    run_time_ns: int
    run_cnt: int
    recursion_misses: int
    loaded_at: float
    uid: int
    bytes_xlated: int
    bytes_jited: int
    bytes_memlock: int
    map_ids: tuple[int, ...]
    btf_id: int
    verified_insns: int
    ifindex: int

    def to_json(self, owners: tuple[Owner, ...] = (), pinned: list[str] | None = None) -> dict[str, Any]:
        """The row in bpftool's shape."""
        row: dict[str, Any] = {"id": self.id, "type": self.type}
        if self.name:
            row["name"] = self.name
        row |= {"tag": self.tag, "gpl_compatible": self.gpl_compatible}
        if self.run_cnt:
            row |= {"run_time_ns": self.run_time_ns, "run_cnt": self.run_cnt}
        if self.recursion_misses:
            row["recursion_misses"] = self.recursion_misses
        if self.ifindex:
            row["dev"] = {"ifindex": self.ifindex}
        row |= {"loaded_at": int(self.loaded_at), "uid": self.uid, "orphaned": False}
        row |= {"bytes_xlated": self.bytes_xlated, "jited": bool(self.bytes_jited)}
        if self.bytes_jited:
            row["bytes_jited"] = self.bytes_jited
        row["bytes_memlock"] = self.bytes_memlock
        if self.map_ids:
            row["map_ids"] = list(self.map_ids)
        return row | row_end(self.btf_id, pinned, owners)


def open_program(number: int) -> Fd:
    """A program by id.

    Raises:
        EngineError: E0241 there is none, or we may not open it.
    """
    return open_by_id(Kind.PROGRAM, number)


def list_programs() -> Iterator[tuple[Fd, ProgramFacts]]:
    """Every loaded program; its descriptor is closed after each step."""
    for fd in open_all(Kind.PROGRAM):
        yield fd, read_facts(fd)


def read_facts(fd: Fd) -> ProgramFacts:
    """The facts of one program."""
    info = objects.read_info(fd.number, ProgInfo())
    maps = (ctypes.c_uint32 * int(info.nr_map_ids))()
    if info.nr_map_ids:
        objects.read_info(fd.number, ProgInfo(nr_map_ids=info.nr_map_ids, map_ids=ctypes.addressof(maps)))
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    name = info.name.decode(errors="replace")
    return ProgramFacts(
        id=int(info.id),
        type=type_name(int(info.type)),
        name=_full_name(fd, info, name),
        tag=bytes(info.tag).hex(),
        gpl_compatible=bool(info.bits & 1),
        run_time_ns=int(info.run_time_ns),
        run_cnt=int(info.run_cnt),
        recursion_misses=int(info.recursion_misses),
        loaded_at=booted + info.load_time / 1e9,
        uid=int(info.created_by_uid),
        bytes_xlated=int(info.xlated_prog_len),
        bytes_jited=int(info.jited_prog_len),
        bytes_memlock=memlock_of(fd.number),
        map_ids=tuple(maps),
        btf_id=int(info.btf_id),
        verified_insns=int(info.verified_insns),
        ifindex=int(info.ifindex),
    )


def type_name(number: int) -> str:
    """``xdp``; ``type 99`` for what we do not know."""
    try:
        return name_of(ProgType(number))
    except ValueError:
        return f"type {number}"


def _full_name(fd: Fd, info: ProgInfo, name: str) -> str:
    """The kernel keeps 15 letters; the types know the whole name of the first function."""
    if len(name) < _NAME_LIMIT or not info.btf_id or not info.nr_func_info:
        return name
    size = int(info.func_info_rec_size)
    buffer = data_buffer(bytes(size * int(info.nr_func_info)))
    asked = ProgInfo(func_info=address(buffer), nr_func_info=info.nr_func_info, func_info_rec_size=size)
    try:
        objects.read_info(fd.number, asked)
        found = read_types_by_id(int(info.btf_id))[struct.unpack_from("=II", buffer.raw)[1]]
    except (SkepError, BpfCallError, IndexError):
        return name
    return found.name if isinstance(found, Func) and found.name.startswith(name) else name


@dataclass(frozen=True, slots=True)
class DumpedInsn:
    """One instruction: slot (or address), text, bytes, and the source line that starts here."""

    at: int
    text: str
    code: bytes
    span: Span | None = None
    function: str | None = None


def dump_xlated(fd: Fd) -> list[DumpedInsn]:
    """The code after the kernel's verifier has rewritten it.

    Raises:
        EngineError: E0242 the kernel does not show it to us.
    """
    info = objects.read_info(fd.number, ProgInfo())
    size = int(info.xlated_prog_len)
    if not size:
        raise _hidden("translated code")
    buffer = data_buffer(bytes(size))
    got = objects.read_info(fd.number, ProgInfo(xlated_prog_len=size, xlated_prog_insns=address(buffer)))
    if not got.xlated_prog_insns:
        raise _hidden("translated code")
    raw = buffer.raw[:size]
    types = read_types_by_id(int(info.btf_id)) if info.btf_id else None
    lines, functions = _lines(fd, info, types), _functions(fd, info, types)
    insns = decode(_sanitised(raw))
    targets = _call_targets(insns)
    rows, slot = [], 0
    for insn in insns:
        code = raw[slot * 8 : (slot + insn.width) * 8]
        rows.append(DumpedInsn(slot, _xlated_text(insn, slot, targets), code, lines.get(slot), functions.get(slot)))
        slot += insn.width
    return rows


def _sanitised(raw: bytes) -> bytes:
    """The kernel marks a few instructions in fields that the format says are zero: the second slot of a wide load."""
    data = bytearray(raw)
    at = 0
    while at < len(data):
        if data[at] == op.LD_IMM64 and at + 16 <= len(data):
            data[at + 8 : at + 12] = bytes(4)
            at += 8
        at += 8
    return bytes(data)


def _call_targets(insns: Sequence[Instruction]) -> Mapping[int, str]:
    """What the immediate of a call means here: the distance of a kernel function from __bpf_call_base."""
    wanted = {insn.imm for insn in insns if _is_helper_call(insn) and insn.imm not in HELPERS}
    symbols = host.read_kallsyms() if wanted else {}
    base = symbols.get("__bpf_call_base")
    if base is None:
        return {}
    names = {place: name for name, place in symbols.items()}
    return {imm: names[base + imm] for imm in wanted if base + imm in names}


def _is_helper_call(insn: Instruction) -> bool:
    return insn.opcode == op.JMP | op.CALL and insn.src == op.CALL_HELPER


def _xlated_text(insn: Instruction, slot: int, targets: Mapping[int, str]) -> str:
    start = f"{slot}: ({insn.opcode:02x}) "
    if _is_helper_call(insn):
        known = HELPERS.get(insn.imm)
        name = targets.get(insn.imm) or (known.name if known is not None else "unknown")
        return f"{start}call {name}#{insn.imm}"
    if insn.opcode == op.JMP | op.CALL and insn.src == op.CALL_LOCAL:
        return f"{start}call pc{insn.off or insn.imm:+d}"  # the JIT has put a function's number into imm
    if insn.opcode == op.ALU64 | op.MOV | op.X and insn.off == _PERCPU:
        return f"{start}r{insn.dst} = &(void __percpu *)(r{insn.src})"
    if insn.opcode == op.LD_IMM64 and insn.src == op.PSEUDO_MAP_FD:
        return f"{start}r{insn.dst} = map[id:{insn.imm & 0xFFFFFFFF}]"
    if insn.opcode == op.LD_IMM64 and insn.src == op.PSEUDO_MAP_VALUE:
        return f"{start}r{insn.dst} = map[id:{insn.imm & 0xFFFFFFFF}][0]+{insn.imm >> 32}"
    return disassemble(insn, slot)


def _lines(fd: Fd, info: ProgInfo, types: Btf | None) -> Mapping[int, Span]:
    if types is None or not info.nr_line_info:
        return {}
    size, count = int(info.line_info_rec_size), int(info.nr_line_info)
    buffer = data_buffer(bytes(size * count))
    objects.read_info(fd.number, ProgInfo(line_info=address(buffer), nr_line_info=count, line_info_rec_size=size))
    found: dict[int, Span] = {}
    for at in range(0, size * count, size):
        slot, file, text, place = struct.unpack_from("=IIII", buffer.raw, at)
        column = place & ((1 << _COLUMN_BITS) - 1)
        found[slot] = Span(name_at(types, file), place >> _COLUMN_BITS, column, text=name_at(types, text))
    return found


def _functions(fd: Fd, info: ProgInfo, types: Btf | None) -> Mapping[int, str]:
    if types is None or not info.nr_func_info:
        return {}
    size, count = int(info.func_info_rec_size), int(info.nr_func_info)
    buffer = data_buffer(bytes(size * count))
    objects.read_info(fd.number, ProgInfo(func_info=address(buffer), nr_func_info=count, func_info_rec_size=size))
    rows = (struct.unpack_from("=II", buffer.raw, at) for at in range(0, size * count, size))
    return {slot: types[type_id].name for slot, type_id in rows if type_id < len(types)}


def dump_jited(fd: Fd) -> list[DumpedInsn]:
    """The machine code, disassembled by capstone.

    Raises:
        UnsupportedError: E0243 capstone is not installed, or does not know this machine.
        EngineError: E0242 the kernel does not show it to us, or has no JIT.
    """
    engine = _capstone()
    info = objects.read_info(fd.number, ProgInfo())
    size, count = int(info.jited_prog_len), int(info.nr_jited_func_lens)
    if not size:
        raise _hidden("machine code")
    buffer = data_buffer(bytes(size))
    places, lengths = (ctypes.c_uint64 * max(count, 1))(), (ctypes.c_uint32 * max(count, 1))()
    got = objects.read_info(
        fd.number,
        ProgInfo(
            jited_prog_len=size,
            jited_prog_insns=address(buffer),
            nr_jited_ksyms=count,
            jited_ksyms=ctypes.addressof(places),
            nr_jited_func_lens=count,
            jited_func_lens=ctypes.addressof(lengths),
        ),
    )
    if not got.jited_prog_insns:
        raise _hidden("machine code")
    types = read_types_by_id(int(info.btf_id)) if info.btf_id else None
    names = list(_functions(fd, info, types).values()) or [info.name.decode(errors="replace")]
    symbols = {place: name for name, place in host.read_kallsyms().items()}
    raw, at, rows = buffer.raw[:size], 0, []
    for index in range(max(count, 1)):
        length = int(lengths[index]) if count else size
        function: str | None = names[index] if index < len(names) else f"func#{index}"
        base = int(places[index])
        for insn in engine.disasm(raw[at : at + length], base):
            name = symbols.get(_target(insn.op_str), "")
            text = f"{insn.mnemonic} {insn.op_str}{f'  # {name}' * bool(name)}".strip()
            rows.append(DumpedInsn(int(insn.address) - base, text, bytes(insn.bytes), None, function))
            function = None
        at += length
    return rows


def _target(operands: str) -> int:
    """The address that an instruction names alone, as calls and jumps do; -1: none."""
    try:
        return int(operands, 16)
    except ValueError:
        return -1


def _capstone() -> Any:
    try:
        import capstone  # an optional dependency
    except ImportError:
        raise UnsupportedError(
            Diagnostic("E0243", "machine code needs the disassembler capstone", help="pip install 'skep[inspect]'")
        ) from None
    import platform

    machines = {
        "x86_64": ("CS_ARCH_X86", "CS_MODE_64"),
        "aarch64": ("CS_ARCH_ARM64", "CS_MODE_ARM"),
        "riscv64": ("CS_ARCH_RISCV", "CS_MODE_RISCV64"),
        "s390x": ("CS_ARCH_SYSZ", "CS_MODE_BIG_ENDIAN"),
    }
    found = machines.get(platform.machine())
    if found is None:
        raise UnsupportedError(Diagnostic("E0243", f"machine code of {platform.machine()} cannot be shown"))
    return capstone.Cs(getattr(capstone, found[0]), getattr(capstone, found[1]))


def _hidden(what: str) -> EngineError:
    return EngineError(
        Diagnostic(
            "E0242", f"the kernel does not show the {what} of this program",
            why=("it shows code to CAP_PERFMON only, and only where kernel.kptr_restrict and the JIT allow it",),
            help="run as root; look at /proc/sys/net/core/bpf_jit_enable and /proc/sys/kernel/kptr_restrict",
        )
    )  # fmt: skip
