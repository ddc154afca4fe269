"""The proof of an accepted program, and the log in the kernel's format, on good.bpf.c."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from skep.api import load
from skep.diagnostics import SourceFile
from skep.errors import CompileError
from skep.frontend import compile_c
from skep.isa.assembler import assemble
from skep.kernel.bpf.programs import LOG_ALL, is_allowed
from skep.kernel.engine import KernelEngine
from skep.kernel.host import kernel_version
from skep.linker import link
from skep.model.objects import ObjectSpec
from skep.model.programs import LinkedProgram, Outcome, Subprogram
from skep.model.target import Target
from skep.objfile import read_object
from skep.verifier import Options, judge
from skep.verifier.domains.scalar import Scalar
from skep.verifier.explain.log import LogWriter
from skep.verifier.explain.proof import Line, Recorder
from skep.verifier.explain.words import say_number

SOURCE = Path(__file__).with_name("good.bpf.c")


@pytest.fixture(scope="module")
def spec() -> ObjectSpec:
    try:
        return read_object(compile_c(SourceFile(SOURCE.name, SOURCE.read_text())), "good.bpf.o")
    except CompileError as error:
        pytest.skip(error.diagnostic.what)


@pytest.fixture(scope="module")
def linked(spec: ObjectSpec) -> LinkedProgram:
    return link(spec, "prog", Target("vm", (6, 18, 0)))


@pytest.fixture(scope="module")
def lines(linked: LinkedProgram) -> dict[int, Line]:
    recorder = Recorder(linked)
    assert judge(linked, Options(listener=recorder)).outcome is Outcome.ACCEPTED
    return {line.span.line: line for line in recorder.lines() if line.span is not None}


def why(line: Line) -> set[tuple[str, str]]:
    return {(access.what, access.why) for access in line.accesses}


def test_checks_by_line(lines: dict[int, Line]) -> None:
    assert ("reads 1 byte of the packet at offset 12 through data", "14 bytes of packet checked at line 18") in why(
        lines[20]
    )
    assert why(lines[24]) == {
        (
            f"{verb} 8 bytes of a value of map 'hits' (packets) through v",
            "not NULL, checked at line 22; bytes 0 to 7 of 24",
        )
        for verb in ("reads", "writes")
    }
    (access,) = lines[11].accesses
    assert access.why == "not NULL, checked at line 22; bytes 8 to 23 of 24: index 0 to 15, checked at line 9"
    assert access.line == 9


def test_states_by_line(lines: dict[int, Line]) -> None:
    assert dict(lines[22].state)["v (r1)"] == "a pointer to a value of map 'hits' (24 bytes) that may be NULL"
    assert dict(lines[24].state)["v (r1)"] == "a pointer to a value of map 'hits' (24 bytes)"
    assert dict(lines[9].state)["index (r2)"] == "any 32-bit number"
    assert dict(lines[11].state)["index (r2)"] == "0 to 15"
    found = lines[20].to_json()
    assert found["line"] == 20
    assert found["accesses"][0]["checked_at"] == 18


def test_numbers_in_words() -> None:
    assert say_number(Scalar.constant(7)) == "7"
    assert say_number(Scalar.constant(-1)) == "-1"
    assert say_number(Scalar.unsigned(0, 255)) == "0 to 255"
    assert say_number(Scalar.signed(-3, 4)) == "-3 to 4"
    assert say_number(Scalar.UNKNOWN) == "any number"


def our_log(linked: LinkedProgram) -> str:
    written: list[str] = []
    judge(linked, Options(listener=LogWriter(linked, written.append)))
    return "".join(written)


def test_log_of_a_rejection_ends_with_the_sentence(linked: LinkedProgram) -> None:
    insns = assemble("r0 = 1\nr0 = r5\nexit")
    bad = replace(linked, insns=insns, subprograms=(Subprogram("p", 0, 3),), lines={}, maps={}, btf=None)
    said = our_log(bad).splitlines()
    assert said[-2] == "R5 !read_ok"
    assert said[-1].startswith("processed 2 insns (limit 1000000) ")
    assert "0: (b7) r0 = 1                        ; R0=1" in said


def comparable(log: str) -> list[str]:
    """Without what cannot be alike: addresses, numbers of ids, how precision and liveness were found out."""
    log = re.sub(r"^(mark_precise|\(\d+\)).*\n", "", log, flags=re.MULTILINE)
    # a state that the kernel puts on its own line, because it had something to say about precision in between
    log = re.sub(r"^(\d+: \(..\) [^;\n]*)\n\d+:( frame\d+: R.*)\n(?=\d)", r"\1;\2\n", log, flags=re.MULTILINE)
    log = re.sub(r"0xffff[0-9a-f]{12}|map\[name:\w+\]", "MAP", log)
    log = re.sub(r"id=\d+,?", "", log)
    log = re.sub(r"^(.*?)\s*;", r"\1 ;", log, flags=re.MULTILINE)
    return [line for line in log.splitlines() if line and not line.startswith("processed")]


@pytest.mark.kernel
def test_log_is_the_kernels(spec: ObjectSpec, linked: LinkedProgram) -> None:
    if not is_allowed():
        pytest.skip("needs Linux and root")
    if kernel_version()[:2] < (6, 18):
        pytest.skip("the format is that of Linux 6.18")
    with load(spec, engine=KernelEngine(log_level=LOG_ALL), programs=["prog"]) as live:
        theirs = live.programs["prog"].handle.log  # type: ignore[attr-defined]
    assert comparable(our_log(linked)) == comparable(theirs)
