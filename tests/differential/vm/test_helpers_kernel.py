"""Helpers and maps: what a program sees on the vm is what it sees in the running kernel."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from skep.frontend import compile_c
from skep.isa.codec import encode
from skep.isa.instruction import FuncRef, MapRef, MapValueRef
from skep.kernel.bpf import maps as kernel_maps
from skep.kernel.bpf import programs as kernel_programs
from skep.kernel.bpf.call import BpfCallError
from skep.kernel.fd import Fd
from skep.linker import link
from skep.model.maps import MapSpec
from skep.model.objects import ObjectSpec
from skep.model.programs import LinkedProgram
from skep.objfile import read_object
from skep.verifier import verify
from skep.vm.engine import VmEngine

SOURCE = Path(__file__).with_name("helpers.c")
UDP = bytes.fromhex("ffffffffffff020000000001 0800 4502 0056 1234 0000 4011 a5a5 0a000001 0a000002 1234 0035 0042 beef")
PACKET = UDP + bytes(range(100 - len(UDP)))
TAGGED = PACKET[:12] + bytes.fromhex("8100 2005 88a8 0006") + PACKET[12:92]
SLOTS = 16
KINDS = ("XDP", "TC", "SOCKET", "CGROUP")


def names() -> list[str]:
    text = SOURCE.read_text()
    return sorted(f"{kind.lower()}_{part.split(')')[0]}" for kind in KINDS for part in text.split(f"\n{kind}(")[1:])


@pytest.fixture(scope="module")
def spec() -> ObjectSpec:
    if os.geteuid() != 0 or not kernel_programs.is_allowed():
        pytest.skip("needs root and bpf(2): the kernel is the judge")
    return read_object(compile_c(SOURCE), "helpers")


class InKernel:
    """One program in the kernel, with its maps."""

    def __init__(self, linked: LinkedProgram) -> None:
        self.maps = {name: self._make(spec) for name, spec in linked.maps.items()}
        insns = []
        slot = 0
        for insn in linked.insns:
            if isinstance(insn.ref, MapRef):
                insn = replace(insn, src=1, imm=self.maps[insn.ref.name].number, ref=None)
            elif isinstance(insn.ref, MapValueRef):
                insn = replace(insn, src=2, imm=self.maps[insn.ref.name].number | insn.ref.offset << 32, ref=None)
            elif isinstance(insn.ref, FuncRef):
                start = next(s.start for s in linked.subprograms if s.name == insn.ref.name)
                assert insn.width == 1, f"the address of slot {start} is taken, which needs types"
                insn = replace(insn, imm=start - slot - 1, ref=None)
            insns.append(insn)
            slot += insn.width
        attach_type = linked.attach_type or 0
        request = kernel_programs.LoadRequest(linked.prog_type, encode(insns), expected_attach_type=attach_type)
        self.program, _ = kernel_programs.load(request)

    @staticmethod
    def _make(spec: MapSpec) -> Fd:
        sizes = (spec.key_size, spec.value_size, spec.max_entries, spec.flags & ~(1 << 10))
        made = kernel_maps.create(kernel_maps.MapRequest(spec.type, *sizes))
        if spec.contents is not None:
            kernel_maps.update(made.number, bytes(4), spec.contents.ljust(spec.value_size, b"\0"))
            if spec.frozen:
                kernel_maps.freeze(made.number)
        return made


@pytest.mark.kernel
@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("packet", [PACKET, TAGGED], ids=["ipv4", "vlan"])
def test_kernel_and_vm_agree(spec: ObjectSpec, name: str, packet: bytes) -> None:
    engine = VmEngine()
    linked = link(spec, name, engine.target)
    try:
        judge = InKernel(linked)
    except BpfCallError as error:
        pytest.fail(f"the kernel rejects the test's program: {error}")
    request = kernel_programs.RunRequest(packet, data_out_size=8192)
    expected = kernel_programs.test_run(judge.program.number, request)
    maps = {key: engine.create_map(value) for key, value in linked.maps.items()}
    actual = engine.load_program(verify(linked), maps).run(packet)
    wanted = [signed(kernel_maps.lookup(judge.maps["out"].number, key(i), 8)) for i in range(SLOTS)]
    found = [signed(maps["out"].lookup(key(i))) for i in range(SLOTS)]
    assert found == wanted
    assert actual.retval == expected.retval
    assert actual.data.hex() == expected.data.hex()


def key(i: int) -> bytes:
    return i.to_bytes(4, "little")


def signed(value: bytes | None) -> int:
    assert value is not None
    return int.from_bytes(value, "little", signed=True)


def test_the_cases_cover_all_kinds_of_packet_programs() -> None:
    assert {name.split("_")[0] for name in names()} == {kind.lower() for kind in KINDS}
    assert len(names()) > 40
