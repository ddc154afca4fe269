"""The runtime in pieces: what a program is compiled with, and copies of large functions per map."""

from __future__ import annotations

import pytest

from skep import llvm
from skep.errors import InternalError
from skep.jit.library import Library, read_library
from skep.jit.specialise import LARGE_LINES, specialise

_LARGE = "\n".join(f"  %x{i} = add i64 %x{i - 1}, {i}" for i in range(1, LARGE_LINES + 5))
TEXT = f"""
%pair = type {{ i64, i64 }}
@table = internal constant [2 x i64] [i64 7, i64 9]
declare i64 @skep_program(ptr, ptr)
declare i64 @getpid()
define i64 @small(ptr %map) #0 {{
  %p = getelementptr %pair, ptr @table, i64 0, i32 1
  %v = load i64, ptr %p
  %r = call i64 @slow(i64 %v)
  ret i64 %r
}}
define internal i64 @slow(i64 %v) #1 {{ %p = call i64 @getpid()  %r = add i64 %v, %p  ret i64 %r }}
define i64 @loop(ptr %run) #1 {{ %r = call i64 @skep_program(ptr %run, ptr null)  ret i64 %r }}
define i64 @large(ptr %map, i64 %x0, i32 %size) #0 {{
{_LARGE}
  %wide = zext i32 %size to i64
  %r = mul i64 %x{LARGE_LINES + 4}, %wide
  ret i64 %r
}}
attributes #0 = {{ alwaysinline "target-cpu"="x86-64" }}
attributes #1 = {{ noinline }}
"""


@pytest.fixture(scope="module")
def library() -> Library:
    return read_library(llvm.assemble(TEXT))


def test_functions_that_are_never_inlined_are_compiled_once(library: Library) -> None:
    assert library.outlined == ("slow",)
    text = library.closure(["small"])
    assert "declare i64 @slow(i64" in text
    assert "@large" not in text
    assert "target-cpu" not in text
    llvm.compile_module(text, ("small",))


def test_loops_stay_with_their_program(library: Library) -> None:
    assert "define i64 @loop" in library.closure(["loop"])


def test_a_function_that_is_not_there_is_our_bug(library: Library) -> None:
    with pytest.raises(InternalError, match="no_such"):
        library.closure(["no_such"])


def test_large_functions_are_copied_once_per_map(library: Library) -> None:
    calls = [
        'call i64 @large(ptr @"map.a", i64 %x, i32 4)',
        'call i64 @large(ptr @"map.a", i64 %y, i32 4)',
        'call i64 @large(ptr @"map.b", i64 %x, i32 4)',
        'call i64 @small(ptr @"map.a")',
    ]
    text, copies = specialise("\n".join(f"  %r{n} = {call}" for n, call in enumerate(calls)), library)
    assert [line.split("@")[1].split("(")[0] for line in text.split("\n")] == ["large.0", "large.0", "large.1", "small"]
    assert copies.count("define ") == 2
    assert "alwaysinline" not in copies
    frame = library.closure([])
    llvm.compile_module(frame + copies, ("large.0", "large.1"))


def test_a_program_without_large_calls_is_left_alone(library: Library) -> None:
    assert specialise("  %r = call i64 @small(ptr null)", library) == ("  %r = call i64 @small(ptr null)", "")
