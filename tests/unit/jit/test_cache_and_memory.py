"""The cache of object code, what stays in memory, and that code is never writable."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

from skep import cache, jit, llvm
from skep.errors import InternalError
from tests.unit.jit.builder import make_program
from tests.unit.jit.conftest import ROWS, as_function

PROGRAM = "r0 = 42\nexit"


def compiled(level: int = 2) -> jit.Code:
    return jit.compile_program(make_program(PROGRAM), ROWS, None, {}, level=level)


def entries(folder: pathlib.Path) -> list[pathlib.Path]:
    return [path for path in (folder / "jit").rglob("*") if path.is_file()]


def test_the_second_compilation_comes_from_the_cache() -> None:
    first, second = compiled(), compiled()
    assert (first.from_cache, second.from_cache) == (False, True)
    assert first.object_code == second.object_code
    assert not compiled(level=1).from_cache


def test_a_damaged_cache_is_no_cache(private_cache: pathlib.Path) -> None:
    compiled()
    (entry,) = entries(private_cache)
    for damage in (b"", entry.read_bytes()[:-1], b"x" * 100):
        entry.write_bytes(damage)
        again = compiled()
        assert not again.from_cache
        native = jit.load_code(again, {}, {}, None)
        assert as_function(native.addresses["skep_program"])(None, None) == 42
        native.close()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give a file away")
def test_code_of_another_user_is_not_run(private_cache: pathlib.Path) -> None:
    compiled()
    (entry,) = entries(private_cache)
    os.chown(entry, 65534, 65534)
    assert not compiled().from_cache


def test_no_cache_directory_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    monkeypatch.setenv("SKEP_CACHE", "")
    assert cache.cache_directory() is None
    assert not compiled().from_cache
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("SKEP_CACHE", str(blocked))
    assert not compiled().from_cache
    assert not compiled().from_cache


def test_the_cache_leaves_no_temporary_files(private_cache: pathlib.Path) -> None:
    compiled()
    assert len(entries(private_cache)) == 1


def test_object_code_that_needs_something_unknown_is_an_error() -> None:
    text = "declare i64 @skep_no_such_thing()\ndefine i64 @f() { %r = call i64 @skep_no_such_thing()  ret i64 %r }"
    built = llvm.compile_module(text, ("f",))
    with pytest.raises(InternalError, match="cannot link"):
        llvm.link_object(built.object_code, {}, ("f",))


_CHILD = """
import sys
from skep import jit
from tests.unit.jit.builder import make_program

def mappings():
    return [line.split() for line in open("/proc/self/maps")]

def kinds():
    return sum("w" in m[1] and "x" in m[1] for m in mappings())

def code_pages():
    return sum("x" in m[1] and len(m) < 6 for m in mappings())

def load():
    return jit.load_code(jit.compile_program(make_program("r0 = 42\\nexit"), jit.Rows({}), None, {}), {}, {}, None)

load().close()
before = kinds(), code_pages()
programs = [load() for _ in range(20)]
during = kinds(), code_pages()
for program in programs:
    program.close()
    program.close()
after = kinds(), code_pages()
print(before, during, after)
assert during[0] == before[0], "writable and executable memory"
assert during[1] >= before[1] + 1, "the test sees no code at all"
assert after == before, "something stayed behind"
"""


@pytest.mark.skipif(not pathlib.Path("/proc/self/maps").exists(), reason="needs Linux's /proc/self/maps")
def test_code_is_never_writable_and_goes_with_its_program() -> None:
    root = pathlib.Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", _CHILD], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
