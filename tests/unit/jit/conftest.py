"""Natives for tests of the JIT alone: a runtime in IR text, so that no C compiler is needed."""

from __future__ import annotations

import ctypes
import pathlib
from collections.abc import Callable, Iterator

import pytest

from skep import jit, llvm
from skep.abi.contexts import FieldKind
from skep.jit import Lowering, Native, Returns
from skep.model.programs import VerifiedProgram

RUNTIME = """
define i64 @twice(i64 %a) #0 { %r = mul i64 %a, 2  ret i64 %r }
define ptr @find(ptr %map, ptr %key, i32 %size) #0 {
  %i = load i32, ptr %key
  %n = zext i32 %i to i64
  %s = zext i32 %size to i64
  %o = mul i64 %n, %s
  %q = add i64 %o, 4096
  %inside = icmp ult i32 %i, 4
  %p = getelementptr i8, ptr %map, i64 %q
  %r = select i1 %inside, ptr %p, ptr null
  ret ptr %r
}
define i64 @call_back(ptr %run, ptr %f, i64 %n, i64 %context) {
  %a = call i64 %f(ptr %run, i64 %n, i64 %context, i64 0, i64 0, i64 0)
  %b = call i64 %f(ptr %run, i64 %a, i64 %context, i64 0, i64 0, i64 0)
  ret i64 %b
}
define ptr @find_program(ptr %run, i64 %index) {
  %p = getelementptr ptr, ptr %run, i64 %index
  %f = load ptr, ptr %p
  ret ptr %f
}
define ptr @packet(ptr %run) #0 { %p = load ptr, ptr %run  ret ptr %p }
define i64 @load_packet(ptr %run, i64 %offset, i64 %size) {
  %inside = icmp ult i64 %offset, 8
  %r = select i1 %inside, i64 %offset, i64 -1
  ret i64 %r
}
define ptr @context(ptr %run) #0 { %p = load ptr, ptr %run  ret ptr %p }
declare i64 @skep_program(ptr, ptr)
define i64 @repeat(ptr %run, ptr %ctx, i64 %n) {
entry:
  br label %head
head:
  %i = phi i64 [ 0, %entry ], [ %j, %head ]
  %r = call i64 @skep_program(ptr %run, ptr %ctx)
  %j = add i64 %i, 1
  %more = icmp ult i64 %j, %n
  br i1 %more, label %head, label %done
done:
  ret i64 %r
}
attributes #0 = { alwaysinline "target-cpu"="x86-64" "target-features"="+cx8,+mmx" }
"""
TWICE, FIND, TAIL, LOOP, CALL_BACK = 5, 1, 12, 181, 164
ROWS = jit.Rows(
    helpers={
        (TWICE, None): Native("twice", ("r1",)),
        (FIND, None): Native("find", ("map", "p2", "value_size"), Returns.PTR),
        (TAIL, None): Native("find_program", ("run", "r3"), Returns.PTR, Lowering.TAIL_CALL),
        (LOOP, None): Native("", lowering=Lowering.INLINE_LOOP),
        (CALL_BACK, None): Native("call_back", ("run", "p2", "r1", "r3"), lowering=Lowering.CALLBACK),
    },
    fields={FieldKind.PACKET: Native("packet", ("run",), Returns.PTR)},
    load_packet=Native("load_packet", ("run", "r1", "r2")),
    context=Native("context", ("run",), Returns.PTR),
)

Run = Callable[..., int]


@pytest.fixture(scope="session")
def runtime() -> bytes:
    return llvm.assemble(RUNTIME)


@pytest.fixture(autouse=True)
def private_cache(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.setenv("SKEP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def as_function(address: int) -> Callable[[object, object], int]:
    return ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, ctypes.c_void_p)(address)


@pytest.fixture
def run(runtime: bytes) -> Iterator[Run]:
    """Compile a program and run it once: ``run(program, memory, state, maps)``; the result is r0."""
    loaded: list[jit.NativeProgram] = []

    def go(
        program: VerifiedProgram,
        memory: bytes | ctypes.Array[ctypes.c_char] = b"",
        state: ctypes.Array[ctypes.c_void_p] | None = None,
        maps: dict[str, ctypes.Array[ctypes.c_char]] | None = None,
        level: int = 2,
    ) -> int:
        maps = maps or {}
        sizes = {name: ctypes.sizeof(block) for name, block in maps.items()}
        size = len(memory)
        code = jit.compile_program(program, ROWS, runtime, sizes, memory_size=size, level=level)
        native = jit.load_code(code, {n: ctypes.addressof(b) for n, b in maps.items()}, {}, runtime)
        loaded.append(native)
        buffer = ctypes.create_string_buffer(memory, size + 1) if isinstance(memory, bytes) else memory
        return as_function(native.addresses["skep_program"])(state, buffer)

    yield go
    for native in loaded:
        native.close()
