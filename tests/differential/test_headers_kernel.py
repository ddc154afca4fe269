"""What our headers mean, asked of the running kernel: programs made with them load, and read what is really there."""

from __future__ import annotations

import ctypes
import os
import pathlib
import struct
from dataclasses import replace

import pytest

from skep.abi.prog_types import ProgType
from skep.btf.reader import parse_btf
from skep.diagnostics import SourceFile
from skep.frontend import compile_c
from skep.isa.codec import encode
from skep.isa.instruction import Instruction, MapRef, MapValueRef
from skep.kernel import host
from skep.kernel.bpf import maps, programs
from skep.kernel.bpf.call import BpfCallError
from skep.kernel.fd import Fd
from skep.linker import link
from skep.model.programs import LinkedProgram
from skep.model.target import Target
from skep.objfile import read_object

BTF = host.read_btf()
PROGRAMS = pathlib.Path(__file__).parents[1] / "unit" / "frontend" / "programs"
# Types that attach by trampoline are refused on some machines by policy; sleepable and seq_file programs need more.
LOADABLE = {ProgType.KPROBE, ProgType.TRACEPOINT, ProgType.RAW_TRACEPOINT, ProgType.SCHED_CLS}

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(BTF is None, reason="this kernel has no BTF"),
    pytest.mark.skipif(not programs.is_allowed(), reason="loading programs needs Linux with CAP_BPF"),
]


@pytest.fixture(scope="module")
def target() -> Target:
    assert BTF is not None
    kernel_btf = parse_btf(BTF)
    return Target("linux", (6, 18, 0), btf=kernel_btf, kconfig=host.read_kconfig(), kallsyms=host.read_kallsyms())


class Loaded:
    """A program in the kernel with its maps."""

    def __init__(self, program: LinkedProgram) -> None:
        self.maps: dict[str, Fd] = {}
        self.linked = program
        code = encode(self._with_fd(insn) for insn in program.insns)
        self.program, _ = programs.load(programs.LoadRequest(program.prog_type, code))

    def _with_fd(self, insn: Instruction) -> Instruction:
        if isinstance(insn.ref, MapRef | MapValueRef):
            offset = insn.ref.offset if isinstance(insn.ref, MapValueRef) else 0
            return replace(insn, imm=self._map(insn.ref.name).number | offset << 32, ref=None)
        return insn

    def _map(self, name: str) -> Fd:
        if name not in self.maps:
            spec = self.linked.maps[name]
            flags = spec.flags
            entries = spec.max_entries or 1
            made = maps.create(maps.MapRequest(spec.type, spec.key_size, spec.value_size, entries, flags))
            if spec.contents is not None:
                maps.update(made.number, bytes(4), spec.contents.ljust(spec.value_size, b"\0"))
                if spec.frozen:
                    maps.freeze(made.number)
            self.maps[name] = made
        return self.maps[name]

    def close(self) -> None:
        for fd in (self.program, *self.maps.values()):
            fd.close()


@pytest.mark.parametrize("whole", [True, False], ids=["whole vmlinux.h", "trimmed vmlinux.h"])
@pytest.mark.parametrize("name", ["tracing", "usdt"])
def test_programs_load(name: str, whole: bool, target: Target) -> None:
    data = compile_c(PROGRAMS / f"{name}.bpf.c", btf=BTF if whole else None)
    spec = read_object(data, name)
    loaded = 0
    for program in spec.programs.values():
        # bpf_core_cast is a kernel function and BPF_CORE_WRITE_BITFIELD writes: neither is for these program types.
        if program.prog_type not in LOADABLE or program.name == "questions":
            continue
        try:
            Loaded(link(spec, program.name, target)).close()
        except BpfCallError as error:
            pytest.fail(f"{program.name}: {error}\n{error.log[-3000:]}")
        loaded += 1
    assert loaded >= 4


READS = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
char LICENSE[] SEC("license") = "GPL";
long got[12];
char comm[16];
struct task_struct___no { int there_is_no_such_member; } __attribute__((preserve_access_index));
SEC("raw_tp") int reads(void *ctx)
{
    struct task_struct *task = (void *)bpf_get_current_task();
    struct tcphdr tcp = {};
    unsigned char *bytes = (void *)&tcp;

    got[0] = BPF_CORE_READ(task, tgid);
    got[1] = BPF_CORE_READ(task, group_leader, pid);
    got[2] = BPF_CORE_READ(task, real_parent, tgid);
    BPF_CORE_READ_STR_INTO(&comm, task, group_leader, comm);
    got[3] = BPF_CORE_READ(task, nsproxy, pid_ns_for_children, ns.inum);
    bytes[12] = 0x5a; /* doff 5, reserved 5 */
    bytes[13] = 0x12; /* syn, ack */
    got[4] = BPF_CORE_READ_BITFIELD_PROBED(&tcp, doff);
    got[5] = BPF_CORE_READ_BITFIELD(&tcp, syn) * 10 + BPF_CORE_READ_BITFIELD(&tcp, fin);
    BPF_CORE_WRITE_BITFIELD(&tcp, doff, 11);
    got[6] = bytes[12];
    BPF_CORE_WRITE_BITFIELD(&tcp, fin, 1);
    got[7] = bytes[13];
    got[8] = bpf_core_field_exists(struct task_struct, tgid) * 10 +
        bpf_core_field_exists(struct task_struct___no, there_is_no_such_member);
    got[9] = bpf_core_type_size(struct task_struct);
    got[10] = bpf_core_enum_value(enum bpf_map_type, BPF_MAP_TYPE_RINGBUF);
    got[11] = bpf_core_field_size(struct task_struct, comm);
    return 0;
}
"""


@pytest.mark.parametrize("target_cpu", ["v1", "v2", "v3", "v4"])
@pytest.mark.parametrize("whole", [True, False], ids=["whole vmlinux.h", "trimmed vmlinux.h"])
def test_reads(whole: bool, target_cpu: str, target: Target) -> None:
    data = compile_c(SourceFile("reads.bpf.c", READS), btf=BTF if whole else None, target_cpu=target_cpu)
    spec = read_object(data, "reads")
    try:
        loaded = Loaded(link(spec, "reads", target))
    except BpfCallError as error:
        pytest.fail(error.log[-3000:])
    try:
        programs.test_run(loaded.program.number, programs.RunRequest())
        name = next(name for name in loaded.maps if name.endswith(".bss"))
        size = loaded.linked.maps[name].value_size
        memory = maps.lookup(loaded.maps[name].number, bytes(4), size)
    finally:
        loaded.close()
    assert memory is not None
    variables = {variable.name: variable for variable in spec.variables.values()}
    got = struct.unpack_from("<12q", memory, variables["got"].offset)
    comm = ctypes.create_string_buffer(memory[variables["comm"].offset :][:16]).value.decode()
    assert target.btf is not None
    task = target.btf[target.btf.find("task_struct") or 0]
    assert got[:3] == (os.getpid(), os.getpid(), os.getppid())
    assert comm == pathlib.Path("/proc/self/comm").read_text().strip()
    assert f"[{got[3]}]" in os.readlink("/proc/self/ns/pid")
    assert got[4:8] == (5, 10, 0xBA, 0x13)
    assert got[8:] == (10, task.size, 27, 16)  # type: ignore[union-attr]
