"""A folder of programs with the real kernel's verdicts, as linked programs.

The folder holds ``SET.jsonl.gz`` (one program a line: ``id``, ``name``, ``section``, ``features``, ``prog``,
``kernel``; numbers and flags as BPF_PROG_LOAD takes them) and ``btf.tar.gz`` (the BTF and other blobs that they name).
"""

from __future__ import annotations

import gzip
import json
import struct
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from skep.abi.map_types import MapType
from skep.abi.prog_types import AttachType, ProgType
from skep.btf.reader import parse_btf
from skep.btf.types import Btf, Func, Struct
from skep.isa import opcodes as op
from skep.isa.codec import decode
from skep.isa.instruction import Instruction, KfuncRef, KsymRef, MapRef, MapValueRef, slots
from skep.model.maps import MapSpec
from skep.model.programs import LinkedProgram, Subprogram
from skep.model.target import Target
from skep.verifier import Options

_STRICT_ALIGNMENT, _SAVE_OFTEN, _SLEEPABLE, _FRAGS = 1, 8, 16, 32
_ATTACH_PREFIXES = {23: "btf_trace_", 27: "bpf_lsm_", 28: "bpf_iter_", 43: "bpf_lsm_"}
_ROWS = ".jsonl.gz"
_BLOBS = "btf.tar.gz"

Row = dict[str, Any]


class Corpus:
    """One folder of rows.

    Attributes:
        folder: where the rows are.
        target: what the kernel that judged them was; its types are needed for tracing programs.
    """

    def __init__(self, folder: Path, target: Target) -> None:
        self.folder = folder
        self.target = target
        self._btfs: dict[str, Btf] = {}

    @property
    def sets(self) -> tuple[str, ...]:
        """Names of the sets that are there."""
        return tuple(sorted(path.name.removesuffix(_ROWS) for path in self.folder.glob(f"*{_ROWS}")))

    def rows(self, *sets: str) -> Iterator[Row]:
        """All rows of some sets (default: all), as they are in the files."""
        for name in sets or self.sets:
            with gzip.open(self.folder / f"{name}{_ROWS}", "rt") as lines:
                yield from (json.loads(line) for line in lines)

    @cached_property
    def _blobs(self) -> dict[str, bytes]:
        found = {}
        if (self.folder / _BLOBS).exists():
            with tarfile.open(self.folder / _BLOBS) as archive:
                for member in archive:
                    file = archive.extractfile(member)
                    if file is not None:
                        found[Path(member.name).name] = file.read()
        return found

    def _btf(self, name: str) -> Btf:
        if name not in self._btfs:
            self._btfs[name] = parse_btf(self._blobs[name])
        return self._btfs[name]

    def options(self, row: Row) -> Options:
        """How the kernel was asked to verify the row."""
        flags = row["prog"]["prog_flags"]
        return Options(strict_alignment=bool(flags & _STRICT_ALIGNMENT), save_often=bool(flags & _SAVE_OFTEN))

    def in_scope(self, row: Row) -> bool:
        """Whether the row asks for something that a linked program can say."""
        prog = row["prog"]
        if _casts_by_number(prog):
            return False
        if "insns" not in prog and prog["insns_blob"] not in self._blobs:
            return False
        if any("content_blob" in item and item["content_blob"] not in self._blobs for item in prog["maps"]):
            return False
        return all(0 <= index < len(prog["maps"]) for _, index in prog["map_refs"])

    def link(self, row: Row) -> LinkedProgram:
        """The row as a linked program.

        Raises:
            SkepError: its bytes are no instructions.
        """
        prog = row["prog"]
        data = bytes.fromhex(prog["insns"]) if "insns" in prog else self._blobs[prog["insns_blob"]]
        maps = [self._map(spec, index) for index, spec in enumerate(prog["maps"])]
        refs = {slot: maps[index].name for slot, index in prog["map_refs"]}
        kfuncs, ksyms = dict(prog["kfuncs"]), {item[0]: item[1] for item in prog["ksyms"]}
        insns = []
        slot = 0
        for insn in decode(data):
            insns.append(_named(insn, slot, refs, kfuncs, ksyms))
            slot += insn.width
        btf = self._btf(prog["btf"]) if "btf" in prog else None
        attach = prog["expected_attach_type"]
        prog_type = ProgType(prog["prog_type"])
        typed = attach != 0 or prog_type in (ProgType.CGROUP_SKB, ProgType.CGROUP_SOCK_ADDR)
        return LinkedProgram(
            name=row["name"],
            section=row["section"] or "",
            prog_type=prog_type,
            attach_type=AttachType(attach) if typed and attach in list(AttachType) else None,
            attach_to=self._attach_to(prog),
            sleepable=bool(prog["prog_flags"] & _SLEEPABLE),
            frags=bool(prog["prog_flags"] & _FRAGS),
            license=prog["license"],
            insns=tuple(insns),
            subprograms=_subprograms(tuple(insns), btf, prog),
            lines={},
            maps={spec.name: spec for spec in maps},
            target=self.target,
            btf=btf,
        )

    def _attach_to(self, prog: Row) -> str:
        """What the program attaches to, as a section name says it; ``table.member`` for struct_ops."""
        name = prog.get("attach_btf_name") or ""
        attach = prog["expected_attach_type"]
        if prog["prog_type"] != ProgType.STRUCT_OPS:
            return str(name.removeprefix(_ATTACH_PREFIXES.get(attach, "")))
        btf = self.target.btf
        found = btf.find(name, Struct) if btf is not None else None
        table = btf[found] if btf is not None and found is not None else None
        members = table.members if isinstance(table, Struct) else ()
        return f"{name}.{members[attach].name if attach < len(members) else f'#{attach}'}"

    def _map(self, row: Row, index: int) -> MapSpec:
        create = row["create"]
        contents = None
        if "content" in row:
            contents = bytes.fromhex(row["content"])
        elif "content_blob" in row:
            contents = self._blobs[row["content_blob"]]
        elif row.get("content_zero") or row["frozen"]:
            contents = bytes(create["value_size"])
        inner = row.get("inner")
        return MapSpec(
            name=f"{index}:{row['name']}",
            type=MapType(create["map_type"]),
            key_size=create["key_size"],
            value_size=create["value_size"],
            max_entries=create["max_entries"],
            flags=create["map_flags"],
            map_extra=create.get("map_extra", 0),
            key_type=create.get("btf_key_type_id", 0),
            value_type=create.get("btf_value_type_id", 0),
            btf=self._btf(row["btf"]) if "btf" in row else None,
            inner=None if inner is None else self._inner(inner, row),
            contents=contents,
            frozen=row["frozen"],
        )

    def _inner(self, inner: Row, outer: Row) -> MapSpec:
        btf = inner.get("btf") or outer.get("btf")
        return MapSpec(
            name="inner",
            type=MapType(inner["map_type"]),
            key_size=inner["key_size"],
            value_size=inner["value_size"],
            max_entries=inner["max_entries"],
            flags=inner.get("map_flags", 0),
            value_type=inner.get("btf_value_type_id", 0),
            btf=self._btf(btf) if btf else None,
        )


def _casts_by_number(prog: Row) -> bool:
    """Whether it holds the number of a kernel type for bpf_rdonly_cast(), which is another in this build of the kernel.

    Kernel functions, variables and attach targets come by name; type numbers of CO-RE do not.
    """
    if not any(name == "bpf_rdonly_cast" for _, name in prog["kfuncs"]):
        return False
    plain = {slot for slot, _ in prog["map_refs"]} | {item[0] for item in prog["ksyms"]}
    data = bytes.fromhex(prog["insns"])
    loads = (at for at in range(0, len(data), 8) if data[at] == op.LD_IMM64 and data[at + 1] >> 4 == 0)
    return any(at // 8 not in plain for at in loads)


def _named(
    insn: Instruction, slot: int, refs: dict[int, str], kfuncs: dict[int, str], ksyms: dict[int, str]
) -> Instruction:
    if insn.opcode == op.LD_IMM64 and slot in refs:
        if insn.src == op.PSEUDO_MAP_VALUE:
            return replace(insn, ref=MapValueRef(refs[slot], insn.imm >> 32))
        return replace(insn, ref=MapRef(refs[slot]))
    if slot in kfuncs:
        return replace(insn, ref=KfuncRef(str(kfuncs[slot])))
    if slot in ksyms:
        return replace(insn, ref=KsymRef(str(ksyms[slot])))
    return insn


def _subprograms(insns: tuple[Instruction, ...], btf: Btf | None, prog: Row) -> tuple[Subprogram, ...]:
    """Where functions begin: func_info says, and calls do."""
    types: dict[int, int] = {}
    info = bytes.fromhex(prog.get("func_info", ""))
    size = prog.get("func_info_rec_size", 8)
    for place in range(0, len(info), size):
        start, type_id = struct.unpack_from("<II", info, place)
        types[start] = type_id
    starts = {0, *types}
    code = slots(insns)
    for slot, insn in enumerate(code):
        if insn is None:
            continue
        if insn.opcode == op.JMP | op.CALL and insn.src == op.CALL_LOCAL:
            starts.add(slot + 1 + insn.imm)
        elif insn.opcode == op.LD_IMM64 and insn.src == op.PSEUDO_FUNC:
            low = insn.imm & 0xFFFFFFFF
            starts.add(slot + 1 + ((low ^ 0x80000000) - 0x80000000))
    ordered = sorted(start for start in starts if 0 <= start < len(code))
    found = []
    for start, end in zip(ordered, [*ordered[1:], len(code)], strict=True):
        type_id = types.get(start, 0)
        func = btf[type_id] if btf is not None and 0 < type_id < len(btf) else None
        is_global = isinstance(func, Func) and func.linkage == 1 and start != 0
        name = func.name if isinstance(func, Func) else f"sub_{start}"
        found.append(Subprogram(name if start else "entry", start, end, is_global, type_id))
    return tuple(found)
