"""Whatever bytes come as BTF: BtfError or types that every reader of types can walk, quickly."""

from __future__ import annotations

import contextlib
import struct
import time

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skep.btf.c_dump import dump_c
from skep.btf.c_names import c_name
from skep.btf.catalog import align_of, places, size_of
from skep.btf.core_relo import CoreKind, CoreRelocation, resolve
from skep.btf.ext import parse_btf_ext
from skep.btf.reader import parse_btf
from skep.btf.types import (
    Array,
    Btf,
    Const,
    Datasec,
    DeclTag,
    Enum,
    Enum64,
    Float,
    Func,
    FuncProto,
    Fwd,
    Int,
    Member,
    Param,
    Ptr,
    SectionVar,
    Struct,
    Typedef,
    TypeTag,
    Union,
    Var,
    Void,
)
from skep.btf.values import codec
from skep.btf.writer import encode_btf
from skep.errors import BtfError, LinkError, UsageError

SEED = encode_btf(
    Btf(
        (
            Void(), Int("int", 4, 32, True), Ptr(3), Struct("node", 24, (Member("next", 2, 0), Member("v", 1, 64, 7))),
            Array(1, 1, 4), Union("u", 16, (Member("a", 4, 0), Member("", 3, 0))), Enum("e", 4, True, (("A", -1),)),
            Enum64("w", 8, False, (("B", 1 << 40),)), Fwd("f"), Typedef("t", 5), Const(9),
            FuncProto(1, (Param("p", 2),)),
            Func("fn", 11, 1), Var("x", 10, 1), Datasec(".bss", 16, (SectionVar(13, 0, 16),)), Float("double", 8),
            DeclTag("tag", 3, 0), TypeTag("rcu", 3), Typedef("n", 17),
        )
    )
)  # fmt: skip
EXT = struct.pack("<HBBI6I", 0xEB9F, 1, 0, 32, 0, 20, 20, 28, 48, 28)
EXT += struct.pack("<5I", 8, 1, 1, 0, 12) + struct.pack("<7I", 16, 1, 1, 0, 1, 1, 1 << 10)
EXT += struct.pack("<7I", 16, 1, 1, 0, 3, 1, 0)

FUZZ = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
LIMIT_SECONDS = 2.0  # for one input of a few hundred bytes


@st.composite
def mutated(draw: st.DrawFn, seed: bytes) -> bytes:
    """The seed with bytes and words changed, cut or repeated."""
    data = bytearray(seed)
    for _ in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(["byte", "word", "cut", "repeat"]))
        behind_header = min(draw(st.sampled_from([0, 24, 24, 24])), len(data))
        at = draw(st.integers(behind_header, max(len(data) - 4, behind_header)))
        if kind == "byte" and at < len(data):
            data[at] = draw(st.integers(0, 255))
        elif kind == "word":
            word = draw(
                st.sampled_from([0, 1, 2, 3, 5, 8, 13, 18, 19, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 4 << 24 | 1, 10 << 24])
            )
            at -= at % 4
            data[at : at + 4] = struct.pack("<I", word)
        elif kind == "cut":
            del data[at : at + draw(st.integers(1, 24))]
        else:
            data[at:at] = data[at : at + draw(st.integers(1, 36))]
    return bytes(data)


def walk(btf: Btf) -> None:
    """Use every type in every way."""
    for type_id in range(len(btf)):
        for use in (size_of, align_of, places, c_name, codec):
            try:
                made = use(btf, type_id)
                if use is codec and made.size < 4096:
                    value = made.decode(bytes(range(256)) * 16 if made.size == 4096 else bytes(made.size))
                    repr(value)
                    made.encode(value)
            except (BtfError, UsageError):
                pass
        for kind in CoreKind:
            with contextlib.suppress(BtfError, LinkError):
                resolve(btf, CoreRelocation(kind, type_id, "0:1:0"[: 1 + 2 * (kind < 6)]), btf)
    with contextlib.suppress(BtfError):
        dump_c(btf)
    assert list(parse_btf(encode_btf(btf))) == list(btf)


def check(data: bytes) -> None:
    start = time.process_time()
    try:
        btf = parse_btf(data)
    except BtfError:
        pass
    else:
        walk(btf)
    assert time.process_time() - start < LIMIT_SECONDS


@FUZZ
@given(mutated(SEED))
def test_mutated_btf(data: bytes) -> None:
    check(data)


@FUZZ
@given(st.binary(max_size=200))
def test_any_bytes_behind_a_good_header(body: bytes) -> None:
    body = body[: len(body) // 4 * 4]
    check(struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(body), len(body), 8) + body + b"\0int\0x\0\0")


@FUZZ
@given(mutated(EXT))
def test_mutated_ext(data: bytes) -> None:
    btf = parse_btf(SEED)
    try:
        ext = parse_btf_ext(data, btf)
    except BtfError:
        return
    for relocations in ext.core.values():
        for _, relocation in relocations:
            with contextlib.suppress(BtfError, LinkError):
                resolve(btf, relocation, btf)


def test_the_seeds_are_good() -> None:
    btf = parse_btf(SEED)
    walk(btf)
    ext = parse_btf_ext(EXT, btf)
    assert sum(map(len, (ext.functions, ext.lines, ext.core))) == 3


def test_huge_counts_in_few_bytes_cost_nothing() -> None:
    """Each is small; what it claims is not."""
    start = time.process_time()
    for kind in range(32):
        for count in (0, 1, 0xFFFF):
            check(
                struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, 12, 12, 1)
                + struct.pack("<3I", 0, kind << 24 | count, 1)
                + b"\0"
            )
    base = [Void(), Int("int", 4, 32)]
    check(encode_btf(Btf([*base, *(Array(i, 1, 0xFFFFFFFF) for i in range(1, 60))])))
    check(encode_btf(Btf([*base, *(Struct("", 8, (Member("", i, 0), Member("", i, 0))) for i in range(1, 60))])))
    protos = [FuncProto(i, (Param("", i), Param("", i))) for i in range(1, 60)]
    check(encode_btf(Btf([*base, *protos, Typedef("t", 60)])))
    assert time.process_time() - start < 10
