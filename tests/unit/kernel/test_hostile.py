"""Bytes that are not what they claim to be: target files, type files, logs."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skep.btf.types import Btf, Int, Void
from skep.btf.writer import encode_btf
from skep.errors import InputError
from skep.kernel.btf_file import read_btf_file
from skep.kernel.target_file import unpack_target
from skep.kernel.verifier_log import parse_log

TYPES = encode_btf(Btf((Void(), Int("int", 4, 32))))
FACTS = {
    "format": 1, "name": "linux 6.18", "kernel_version": [6, 18, 44], "byte_order": "little",
    "kconfig": {"CONFIG_X": "y"}, "symbols": ["schedule"], "features": {}, "prog_types": ["xdp"],
    "map_types": ["hash", "not_yet_known"], "helpers": [1],
}  # fmt: skip


def packed(facts: object = FACTS, types: bytes = TYPES) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("target.json", json.dumps(facts))
        archive.writestr("vmlinux.btf", types)
    return stream.getvalue()


def test_a_target_file_says_what_was_packed() -> None:
    target = unpack_target(packed(), "x")
    assert (target.name, target.kernel_version, target.kconfig) == ("linux 6.18", (6, 18, 44), {"CONFIG_X": "y"})
    assert {found.name for found in target.map_types or ()} == {"HASH"}
    assert 1 not in target.refused_helpers
    assert target.refused_helpers[2] == "linux 6.18 does not have it"
    assert target.kallsyms == {"schedule": 0}


@pytest.mark.parametrize("name", FACTS)
@pytest.mark.parametrize("value", [None, 7, "text", [], {}, [[]], {"a": []}])
def test_facts_of_the_wrong_kind(name: str, value: object) -> None:
    try:
        target = unpack_target(packed(FACTS | {name: value}), "x")
    except InputError as error:
        assert error.diagnostic.code in ("B0003", "B0101", "B0102")  # noqa: PT017
        return
    assert len(target.kernel_version) == 3


@given(st.data())
def test_broken_files(data: st.DataObject) -> None:
    whole = packed()
    at = data.draw(st.integers(0, len(whole) - 1))
    broken = bytearray(whole)
    broken[at] ^= data.draw(st.integers(1, 255))
    for attempt in (bytes(broken), whole[:at], data.draw(st.binary(max_size=64))):
        try:
            unpack_target(attempt, "x")
        except InputError:
            continue


def test_a_bomb_is_not_unpacked() -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("target.json", json.dumps(FACTS))
        info = zipfile.ZipInfo("vmlinux.btf")
        archive.writestr(info, bytes(1 << 20), zipfile.ZIP_DEFLATED)
    # The directory's size of the entry, made enormous: it is looked at before anything is read.
    raw = bytearray(stream.getvalue())
    place = raw.rindex(b"PK\x01\x02") + 24
    raw[place : place + 4] = (0xFFFFFFF0).to_bytes(4, "little")
    with pytest.raises(InputError):
        unpack_target(bytes(raw), "x")


@given(content=st.one_of(st.binary(max_size=200), st.binary(max_size=200).map(lambda b: b"\x7fELF\x02\x01\x01" + b)))
def test_type_files(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path: Path = tmp_path_factory.getbasetemp() / "hostile.btf"
    path.write_bytes(content)
    with pytest.raises(InputError):
        read_btf_file(path)


@given(st.text())
def test_logs(text: str) -> None:
    parse_log(text)
