"""Dynptrs: made, cloned, given back; memory taken out of them; the one that a callback is handed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from skep.abi.map_types import MapType
from skep.abi.prog_types import ProgType
from skep.isa.instruction import MapRef, MapValueRef
from skep.model.maps import MapSpec
from skep.model.programs import Outcome, Verdict
from skep.verifier import judge
from skep.verifier.state.dynptr_places import first_cell
from skep.verifier.state.dynptrs import Dynptr, DynptrType, Slice
from skep.verifier.state.values import Kind, Pointer
from tests.unit.verifier.core.kernel_types import typed
from tests.unit.verifier.core.linked import said

MAPS = {
    "state": MapSpec("state", MapType.ARRAY, 4, 64, 1),
    "events": MapSpec("events", MapType.RINGBUF, 0, 0, 4096),
    "commands": MapSpec("commands", MapType.USER_RINGBUF, 0, 0, 4096),
    "table": MapSpec("table", MapType.HASH, 8, 8, 4),
}
REFS = {900: MapValueRef("state", 0), 901: MapRef("events"), 902: MapRef("commands"), 903: MapRef("table")}
STATE, EVENTS, COMMANDS, TABLE = REFS

END = "r0 = 0\nexit\n"
SIZE, CLONE, SLICE, SLICE_RDWR = "bpf_dynptr_size", "bpf_dynptr_clone", "bpf_dynptr_slice", "bpf_dynptr_slice_rdwr"
SKB = "bpf_dynptr_from_skb"


def at(register: int, place: int) -> str:
    return f"r{register} = r10\nr{register} += {place}\n"


def reserve(place: int = -16) -> str:
    return f"r1 = {EVENTS} ll\nr2 = 16\nr3 = 0\n{at(4, place)}call 198\n"


def submit(place: int = -16) -> str:
    return f"{at(1, place)}r2 = 0\ncall 199\n"


def from_mem(place: int = -16) -> str:
    return f"r1 = {STATE} ll\nr2 = 32\nr3 = 0\n{at(4, place)}call 197\n"


def ask(place: int = -16) -> str:
    return f"{at(1, place)}call 0\n"


def clone(source: int = -16, place: int = -32) -> str:
    return f"{at(1, source)}{at(2, place)}call 0\n"


def data(place: int = -16) -> str:
    """r7: 8 bytes of the dynptr, or of the map."""
    return f"{at(1, place)}r2 = 0\nr3 = 8\ncall 203\nif r0 != 0 goto +2\nr0 = {STATE} ll\nr7 = r0\n"


FROM_SKB = f"r6 = r1\nr2 = 0\n{at(3, -16)}call 0\n"
TAKE = f"{at(1, -16)}r2 = 0\nr3 = 0\nr4 = 8\ncall 0\nif r0 != 0 goto +2\nr0 = {STATE} ll\nr7 = r0\n"
BUFFERED = TAKE.replace("r3 = 0\n", at(3, -64))
SPILL = f"r1 = {STATE} ll\n*(u64 *)(r10 -64) = r1\n"
FILL = "r1 = *(u64 *)(r10 -64)\nr0 = *(u8 *)(r1 +0)\n"
PULL = "r1 = r6\nr2 = 0\ncall 39\n"
LOAD = "r0 = *(u8 *)(r7 +0)\n"


def check(text: str, *kfuncs: str, prog_type: ProgType = ProgType.SCHED_CLS) -> Verdict:
    linked = typed(text, *kfuncs, prog_type=prog_type, attach_type=None, maps=MAPS)
    insns = tuple(
        replace(insn, src=2 if insn.imm == STATE else 1, imm=0, ref=REFS[insn.imm])
        if insn.opcode == 0x18 and insn.imm in REFS
        else insn
        for insn in linked.insns
    )
    return judge(replace(linked, insns=insns))


@pytest.mark.parametrize(
    ("text", "kfuncs"),
    [
        (from_mem() + ask(), (SIZE,)),
        (from_mem() + from_mem() + ask(), (SIZE,)),
        (reserve() + submit(), ()),
        (reserve() + clone() + submit(-32), (CLONE,)),
        (from_mem() + data() + LOAD, ()),
        (reserve() + data() + "*(u8 *)(r7 +7) = 1\n" + submit(), ()),
        (FROM_SKB + TAKE + LOAD, (SKB, SLICE)),
        (FROM_SKB + TAKE + "*(u8 *)(r7 +0) = 1\n", (SKB, SLICE_RDWR)),
        (from_mem() + "*(u8 *)(r10 -9) = 0\nr0 = *(u8 *)(r10 -9)\n", ()),
        (from_mem() + TAKE + from_mem() + LOAD, (SLICE,)),
        (FROM_SKB + BUFFERED + "*(u64 *)(r7 +0) = 5\n" + SPILL + FILL, (SKB, SLICE_RDWR)),
        (FROM_SKB + BUFFERED + SPILL + LOAD + FILL, (SKB, SLICE)),
    ],
)
def test_accepted(text: str, kfuncs: tuple[str, ...]) -> None:
    verdict = check(text + END, *kfuncs)
    assert verdict.outcome is Outcome.ACCEPTED, said(verdict)


@pytest.mark.parametrize(
    ("text", "kfuncs", "sentence"),
    [
        (ask(), (SIZE,), "Expected an initialized dynptr as arg #0"),
        (from_mem() + ask(-8), (SIZE,), "Expected an initialized dynptr as arg #0"),
        (from_mem() + f"r1 = {STATE} ll\ncall 0\n", (SIZE,), "expected pointer to stack or const struct bpf_dynptr"),
        (reserve(), (), "BPF_EXIT instruction in main prog would lead to reference leak"),
        (reserve() + submit() + submit(), (), "arg 1 is an unacquired reference"),
        (reserve() + from_mem(), (), "cannot overwrite referenced dynptr"),
        (reserve() + "*(u8 *)(r10 -1) = 0\n" + submit(), (), "cannot overwrite referenced dynptr"),
        (reserve() + clone() + submit() + ask(-32), (CLONE, SIZE), "Expected an initialized dynptr as arg #0"),
        (from_mem(-12), (), "Dynptr has to be an uninitialized dynptr"),
        (from_mem() + "r0 = *(u64 *)(r10 -8)\n", (), "invalid read from stack off -8+0 size 8"),
        (reserve() + data() + submit() + LOAD, (), "R7 invalid mem access 'scalar'"),
        (from_mem() + data() + from_mem() + LOAD, (), "R7 invalid mem access 'scalar'"),
        (FROM_SKB + TAKE + PULL + LOAD, (SKB, SLICE), "R7 invalid mem access 'scalar'"),
        (FROM_SKB + TAKE + "*(u8 *)(r7 +0) = 1\n", (SKB, SLICE), "R7 cannot write into rdonly_mem"),
        (
            from_mem() + f"{at(1, -16)}r2 = 8\n{at(3, -16)}r4 = 0\nr5 = 0\ncall 201\n",
            (),
            "potential write to dynptr at off=-16 disallowed",
        ),
        (f"{at(1, -64)}r2 = 8\nr3 = 0\n{at(4, -16)}call 197\n", (), "Unsupported reg type fp"),
        (FROM_SKB + TAKE + f"r2 = r7\nr1 = {TABLE} ll\ncall 1\n", (SKB, SLICE_RDWR), "R2 type=mem expected="),
        # Stricter than Linux 6.18: a slice may be the buffer on the stack that was given,
        (
            FROM_SKB + BUFFERED + SPILL + "*(u64 *)(r7 +0) = 5\n" + FILL,
            (SKB, SLICE_RDWR),
            "R1 invalid mem access 'scalar'",
        ),
        # and what bpf_dynptr_slice() gave of a record dies with it.
        (reserve() + TAKE + submit() + LOAD, (SLICE,), "R7 invalid mem access 'scalar'"),
    ],
)
def test_rejected(text: str, kfuncs: tuple[str, ...], sentence: str) -> None:
    verdict = check(text + END, *kfuncs)
    assert verdict.outcome is Outcome.REJECTED
    assert sentence in said(verdict)


def test_writable_slices_only_where_packets_are_written() -> None:
    text = from_mem() + TAKE + END
    assert (
        said(check(text, SLICE_RDWR, prog_type=ProgType.CGROUP_SKB)) == "the prog does not allow writes to packet data"
    )
    assert check(text, SLICE_RDWR).outcome is Outcome.ACCEPTED


DRAIN = f"r1 = {COMMANDS} ll\nr2 = subprog[+6]\nr3 = 0\nr4 = 0\ncall 209\n{END}"


@pytest.mark.parametrize(
    ("callback", "sentence"),
    [
        ("r0 = 0\nexit\n", None),
        ("r2 = 0\nr3 = 8\ncall 203\nr0 = 0\nexit\n", None),
        ("r0 = 2\nexit\n", "should have been in [0, 1]"),
        ("r0 = *(u8 *)(r1 +0)\nexit\n", "R1 invalid mem access 'dynptr_ptr'"),
        ("r2 = 0\ncall 199\nr0 = 0\nexit\n", "cannot release unowned const bpf_dynptr"),
        (
            "r1 += 8\nr2 = 0\nr3 = 8\ncall 203\nr0 = 0\nexit\n",
            "dereference of modified dynptr_ptr ptr R1 off=8 disallowed",
        ),
        (
            "*(u64 *)(r10 -8) = r1\nr1 = *(u64 *)(r10 -8)\nr2 = 0\nr3 = 8\ncall 203\nr0 = 0\nexit\n",
            "R1 type=scalar expected=fp, dynptr_ptr",
        ),
    ],
)
def test_a_callback_is_handed_a_dynptr(callback: str, sentence: str | None) -> None:
    verdict = check(DRAIN + callback)
    if sentence is None:
        assert verdict.outcome is Outcome.ACCEPTED, said(verdict)
    else:
        assert sentence in said(verdict)


def test_identities_are_mapped() -> None:
    pairs: dict[int, int] = {0: 0}

    def same(old: int, new: int) -> bool:
        return pairs.setdefault(old, new) == new

    old = Dynptr(0, 3, DynptrType.RINGBUF, 4)
    assert old.covers(Dynptr(0, 7, DynptrType.RINGBUF, 8), same)
    assert Slice(4, None).covers(Slice(8, None), same)
    assert not Slice(4, None).covers(Slice(9, None), same)
    assert not Slice(4, None).covers(Slice(8, DynptrType.RINGBUF), same)
    assert not old.covers(Dynptr(0, 7, DynptrType.LOCAL, 8), same)
    assert not old.covers(Dynptr(1, 7, DynptrType.RINGBUF, 8), same)


@pytest.mark.parametrize(("off", "cell"), [(-16, 1), (-24, 2), (-512, 63)])
def test_places(off: int, cell: int) -> None:
    assert first_cell(Pointer(Kind.STACK, off=off)) == cell


@pytest.mark.parametrize("off", [0, 8, -8, -12, -20])
def test_no_place(off: int) -> None:
    assert first_cell(Pointer(Kind.STACK, off=off)) == f"cannot pass in dynptr at an offset={off}"
