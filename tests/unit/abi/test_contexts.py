"""Context tables: complete, without overlap, and laid out as the kernel's header lays them out."""

from __future__ import annotations

import pytest

from skep.abi.contexts import BTF_CONTEXTS, CONTEXTS, FieldKind, context_for, kernel_sentence
from skep.abi.prog_types import AttachType, ProgType


def test_every_program_type_has_a_context_or_is_typed_by_btf() -> None:
    assert set(CONTEXTS) | BTF_CONTEXTS | {ProgType.UNSPEC} == set(ProgType)
    assert not set(CONTEXTS) & BTF_CONTEXTS


@pytest.mark.parametrize("prog_type", sorted(CONTEXTS), ids=lambda t: t.name)
def test_fields_lie_in_order_inside(prog_type: ProgType) -> None:
    context = CONTEXTS[prog_type]
    assert len({field.name for field in context.fields}) == len(context.fields)
    end = 0
    for field in context.fields:
        assert field.offset >= end, field
        assert field.size % (field.element or field.size) == 0
        assert field.parts is None or (0, field.size) in field.parts
        assert field.writable or field.writable_for is None
        end = field.end
    assert end <= context.size


@pytest.mark.parametrize("prog_type", sorted(CONTEXTS), ids=lambda t: t.name)
def test_pointers_are_read_whole_and_never_written(prog_type: ProgType) -> None:
    for field in CONTEXTS[prog_type].fields:
        if field.kind not in (FieldKind.SCALAR, FieldKind.TRACEPOINT_BUFFER):
            assert not field.narrow
            assert not field.writable
        assert (field.btf_name is not None) == (field.kind is FieldKind.BTF_OBJECT)


def test_xdp() -> None:
    xdp = CONTEXTS[ProgType.XDP]
    data = xdp.field_at(0, 4)
    assert data is not None
    assert (data.name, data.kind) == ("data", FieldKind.PACKET)
    assert xdp.field_at(0, 8) is None
    assert xdp.field_at(0, 2) is None
    assert xdp.field_at(24, 4) is None
    assert xdp.field_at(-4, 4) is None
    assert xdp.field_at(12, 4, write=True) is None
    assert xdp.field_at(20, 4, attach_type=AttachType.XDP) is None
    egress = xdp.field_at(20, 4, attach_type=AttachType.XDP_DEVMAP)
    assert egress is xdp.field_named("egress_ifindex")


def test_narrow_and_wide() -> None:
    tc = CONTEXTS[ProgType.SCHED_CLS]
    mark = tc.field_named("mark")
    assert mark is not None
    assert tc.field_at(mark.offset + 2, 2) is mark
    assert tc.field_at(mark.offset + 1, 2) is None
    assert tc.field_at(mark.offset, 4, write=True) is mark
    assert tc.field_at(mark.offset, 2, write=True) is None
    cb = tc.field_named("cb")
    assert cb is not None
    assert tc.field_at(cb.offset, 8, write=True) is cb
    assert tc.field_at(cb.offset + 4, 8) is None
    assert tc.field_at(cb.offset + 16, 8) is None
    assert tc.field_at(cb.offset + 3, 1, write=True) is cb


def test_sk_buff_depends_on_the_program_type() -> None:
    assert CONTEXTS[ProgType.SOCKET_FILTER].field_named("data") is None
    assert CONTEXTS[ProgType.SCHED_CLS].field_named("data_meta") is not None
    assert CONTEXTS[ProgType.CGROUP_SKB].field_named("data_meta") is None
    assert CONTEXTS[ProgType.CGROUP_SKB].field_named("family") is not None
    assert CONTEXTS[ProgType.SCHED_CLS].field_named("family") is None


def test_registers_of_both_machines() -> None:
    x86 = context_for(ProgType.KPROBE)
    arm = context_for(ProgType.KPROBE, "aarch64")
    assert x86 is CONTEXTS[ProgType.KPROBE]
    assert arm is not None
    assert x86 is not None
    assert x86.size == 168
    assert arm.size == 272
    assert context_for(ProgType.KPROBE, "riscv64") is None
    assert context_for(ProgType.XDP, "riscv64") is CONTEXTS[ProgType.XDP]
    first_argument = x86.field_at(112, 8)
    assert first_argument is not None
    assert first_argument.name == "di"


def test_why_not() -> None:
    tc = CONTEXTS[ProgType.SCHED_CLS]
    assert "outside" in tc.why_not(400, 4)
    assert "no field" in tc.why_not(88, 4)
    assert "cannot be written" in tc.why_not(0, 4, write=True)
    assert "not aligned" in tc.why_not(1, 2)
    assert "8 bytes at a time" in tc.why_not(0, 8)
    xdp = CONTEXTS[ProgType.XDP]
    assert "attach type" in xdp.why_not(20, 4, attach_type=AttachType.XDP)
    assert kernel_sentence(20, 4) == "invalid bpf_context access off=20 size=4"
