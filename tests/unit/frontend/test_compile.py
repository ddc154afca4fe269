"""Compiling: errors as diagnostics, the cache, and input that is no program."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skep.diagnostics import Severity, SourceFile
from skep.errors import BtfError, CompileError, InputError, UsageError
from skep.frontend import compile_c, compile_source
from skep.frontend.c import compiler
from skep.frontend.c.compiler import find_compiler
from skep.frontend.c.depfile import parse_depfile
from skep.frontend.c.messages import parse_messages

PROGRAM = """\
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "limit.h"
SEC("xdp") int count(struct xdp_md *ctx) { return ctx->data > LIMIT ? XDP_DROP : XDP_PASS; }
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    directory = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("SKEP_CACHE", str(directory))
    return directory


@pytest.fixture
def program(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "limit.h").write_text("#define LIMIT 5\n")
    path = pathlib.Path("count.bpf.c")
    path.write_text(PROGRAM)
    settle(tmp_path / "limit.h", path)
    return path


def settle(*paths: pathlib.Path) -> None:
    """Files that are clearly older than the next compilation."""
    for path in paths:
        past = time.time() - 10
        os.utime(path, (past, past))


def compile_or_codes(source: SourceFile | pathlib.Path | str, **options: object) -> set[str]:
    """Codes of the diagnostics; empty when it compiles to an object."""
    try:
        compiled = compile_c(source, **options)  # type: ignore[arg-type]
    except (CompileError, InputError) as error:
        return {diagnostic.code for diagnostic in error.diagnostics}
    assert compiled.startswith(b"\x7fELF")
    return set()


def errors_of(text: str, **options: object) -> CompileError:
    with pytest.raises(CompileError) as caught:
        compile_c(SourceFile("dir/prog.bpf.c", text), **options)  # type: ignore[arg-type]
    return caught.value


# ---- diagnostics ----


def test_an_error_has_file_line_column_and_source() -> None:
    error = errors_of("int f(int a)\n{\n\treturn a + bb;\n}\nint g(void) { return cc; }\n")
    first, second = error.diagnostics
    assert (first.code, first.what) == ("C0100", "use of undeclared identifier 'bb'")
    assert first.span is not None
    assert (first.span.file, first.span.line, first.span.column, first.span.length) == ("dir/prog.bpf.c", 3, 13, 2)
    assert first.span.text == "\treturn a + bb;"
    assert second.what == "use of undeclared identifier 'cc'"
    assert "3 |     return a + bb;\n  |                ^^" in str(error)


def test_notes_and_includes_are_reasons(tmp_path: pathlib.Path) -> None:
    (tmp_path / "bad.h").write_text("int f(int);\nint f(long);\n")
    error = errors_of('#include "bad.h"\n', flags=("-I", str(tmp_path)))
    assert error.diagnostic.span is not None
    assert error.diagnostic.span.file.endswith("bad.h")
    assert any("previous declaration is here" in reason for reason in error.diagnostic.why)
    assert any("included from dir/prog.bpf.c:1" in reason for reason in error.diagnostic.why)


def test_missing_header() -> None:
    error = errors_of("#include <no/such.h>\n")
    assert error.diagnostic.code == "C0101"
    assert error.diagnostic.help is not None


def test_columns_are_characters() -> None:
    error = errors_of("int f(void) { /* ä€😀 */ return bb; }\n")
    assert error.diagnostic.span is not None
    assert error.diagnostic.span.column == "int f(void) { /* ä€😀 */ return bb; }".index("bb") + 1


def test_warnings_come_with_the_object_and_from_the_cache() -> None:
    source = SourceFile("w.c", "int f(void) { int unused; return 1; }\n")
    fresh = compile_source(source, flags=("-Wall",))
    again = compile_source(source, flags=("-Wall",))
    assert not fresh.from_cache
    assert again.from_cache
    assert fresh.warnings == again.warnings
    (warning,) = fresh.warnings
    assert (warning.code, warning.severity) == ("C0150", Severity.WARNING)
    assert warning.span is not None
    assert warning.span.line == 1


@pytest.mark.parametrize(
    "text",
    [
        "void *memcpy(void *, const void *, unsigned long); void f(void *a, void *b, long n) { memcpy(a, b, n); }",
        "_Complex double f(_Complex double a, double b) { return a / b; }",
        "int f(int a, ...) { __builtin_va_list l; __builtin_va_start(l, a); return __builtin_va_arg(l, int); }",
    ],
)
def test_what_the_bpf_backend_refuses(text: str) -> None:
    error = errors_of(text)
    assert all(diagnostic.code.startswith("C01") for diagnostic in error.diagnostics), error
    assert any(diagnostic.program == "f" or diagnostic.span for diagnostic in error.diagnostics), error


def test_placeless_and_backend_messages() -> None:
    text = (
        "clang: error: unknown argument: '-foo'\n"
        "error: x.c:3:5: in function f i32 (ptr): A call to built-in function 'memcpy' is not supported.\n"
        "error: <unknown>:0:0: in function g i32 (): stack arguments are not supported\n"
        "nonsense\n2 errors generated.\n"
    )
    unknown, backend, unplaced = parse_messages(text, lambda file, line: "text")
    assert unknown.span is None
    assert unknown.what == "unknown argument: '-foo'"
    assert backend.span is not None
    assert (backend.span.line, backend.program) == (3, "f")
    assert unplaced.span is None
    assert unplaced.program == "g"


# ---- the cache ----


def test_cache_hit_without_clang(program: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = compile_source(program)
    assert not first.from_cache

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    second = compile_source(program)
    assert second.from_cache
    assert second.elf == first.elf
    with pytest.raises(AssertionError):
        compile_source(program, cache=False)


def test_cache_hit_without_clang_also_for_a_chosen_one(
    program: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zig = find_compiler().command[0]
    monkeypatch.setenv("SKEP_CLANG", f"{zig} clang")
    compile_c(program)
    compiler._find.cache_clear()  # as in a new process

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setattr(subprocess, "run", refuse)
    assert compile_source(program).from_cache


def test_a_changed_include_is_noticed(program: pathlib.Path) -> None:
    first = compile_c(program)
    pathlib.Path("limit.h").write_text("#define LIMIT 6\n")
    settle(pathlib.Path("limit.h"))
    second = compile_source(program)
    assert not second.from_cache
    assert second.elf != first
    pathlib.Path("limit.h").unlink()
    with pytest.raises(CompileError):
        compile_c(program)


def test_an_include_that_appears_earlier_in_the_search_is_noticed(
    program: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    (tmp_path / "second" / "value.h").write_text("#define VALUE 1\n")
    settle(tmp_path / "second" / "value.h")
    source = SourceFile("s.c", "#include <value.h>\nint value = VALUE;\n")
    flags = ("-Ifirst", "-Isecond")
    before = compile_c(source, flags=flags)
    assert compile_source(source, flags=flags).from_cache
    (tmp_path / "first" / "value.h").write_text("#define VALUE 2\n")
    assert compile_c(source, flags=flags) != before


def test_everything_that_matters_is_in_the_key(program: pathlib.Path) -> None:
    compile_c(program)
    for options in ({"target_cpu": "v1"}, {"byte_order": "big"}, {"flags": ("-DX",)}, {"architecture": "arm64"}):
        assert not compile_source(program, **options).from_cache  # type: ignore[arg-type]
        assert compile_source(program, **options).from_cache  # type: ignore[arg-type]


def test_damaged_entries_are_not_believed(program: pathlib.Path, own_cache: pathlib.Path) -> None:
    good = compile_c(program)
    (entry,) = [path for path in own_cache.rglob("*") if path.is_file()]
    data = entry.read_bytes()
    for damaged in (b"", data[:10], data[:-1], data[:50] + bytes([data[50] ^ 1]) + data[51:], os.urandom(500)):
        entry.write_bytes(damaged)
        compiled = compile_source(program)
        assert not compiled.from_cache
        assert compiled.elf == good


def test_a_file_that_changes_meanwhile_is_not_stored(program: pathlib.Path) -> None:
    future = time.time() + 100
    os.utime("limit.h", (future, future))
    compile_c(program)
    assert not compile_source(program).from_cache


def test_a_cache_that_cannot_be_written(program: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("/proc/nothing", "count.bpf.c/below", ""):
        monkeypatch.setenv("SKEP_CACHE", place)
        assert compile_c(program).startswith(b"\x7fELF")


def test_no_files_are_left_behind(
    program: pathlib.Path, own_cache: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = own_cache / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    compile_c(program)
    with pytest.raises(CompileError):
        compile_c(SourceFile("x.c", "int"))
    assert list(scratch.iterdir()) == []
    assert not any(path.name.startswith(".new-") for path in own_cache.rglob("*"))
    assert sorted(path.name for path in pathlib.Path.cwd().iterdir()) == ["count.bpf.c", "limit.h"]


# ---- sources ----


def test_text_and_file_give_the_same_object(program: pathlib.Path) -> None:
    from_text = compile_c(SourceFile("count.bpf.c", PROGRAM), flags=("-I.",))
    assert from_text == compile_c(program)


def test_objects_are_reproducible_anywhere(
    program: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = compile_c(program)
    other = tmp_path / "other"
    other.mkdir()
    for name in ("limit.h", "count.bpf.c"):
        (other / name).write_bytes((tmp_path / name).read_bytes())
    monkeypatch.chdir(other)
    assert compile_c(program) == here


@pytest.mark.parametrize("name", ["-o.c", "@file.c", "with space.c", "dollar$.c", "hash#.c", "ünï.c", "a:b.c"])
def test_strange_names(name: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = pathlib.Path(name)
    path.write_text("int x = 1;\n")
    settle(path)
    assert compile_c(name).startswith(b"\x7fELF")
    assert compile_source(name).from_cache
    path.write_text("int x = 2;\n")
    settle(path)
    assert not compile_source(name).from_cache
    assert compile_c(SourceFile(name, "int x;")).startswith(b"\x7fELF")


@pytest.mark.parametrize("name", ["", "..", "/etc/../x.c", "a/b/c.c", "/", "x\0y", "n" * 300, "con\nfig.c"])
def test_strange_names_of_texts(name: str) -> None:
    assert compile_or_codes(SourceFile(name, "int x;")) <= {"C0005"}


@pytest.mark.parametrize("bad", ["missing.c", ".", "/dev/null", "/dev/zero", "x\0y", "int main() {\n}", "n" * 5000])
def test_sources_that_cannot_be_read(bad: str) -> None:
    with pytest.raises(InputError) as caught:
        compile_c(bad)
    assert caught.value.diagnostic.code == "C0005"


@given(st.binary(max_size=200) | st.text(alphabet='#include<>"{}()/*\\\n intx;', max_size=80).map(str.encode))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_garbage(tmp_path: pathlib.Path, data: bytes) -> None:
    path = tmp_path / "garbage.c"
    path.write_bytes(data)
    assert all(code.startswith("C01") for code in compile_or_codes(path, cache=False))


def test_an_include_of_itself() -> None:
    error = errors_of('#include "prog.bpf.c"\n')
    assert "nested too deeply" in str(error)


def test_flags_that_make_no_object() -> None:
    assert errors_of("int x;", flags=("-S",)).diagnostic.code == "C0007"
    assert errors_of("int x;", flags=("-nonsense-flag",)).diagnostic.span is None


def test_places_that_are_gone(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert compile_or_codes("x.c") == {"C0006"}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(gone))
    assert compile_or_codes(SourceFile("x.c", "int x;")) == {"C0006"}


def test_wrong_options() -> None:
    for options in ({"target_cpu": "v9"}, {"target_cpu": ""}, {"byte_order": "middle"}):
        with pytest.raises(UsageError):
            compile_c(SourceFile("x.c", "int x;"), **options)  # type: ignore[arg-type]


def test_broken_btf() -> None:
    with pytest.raises(BtfError):
        compile_c(SourceFile("x.c", '#include "vmlinux.h"\n'), btf=b"not BTF")
    assert compile_c(SourceFile("x.c", "int x;"), btf=b"not BTF")  # it is not looked at


# ---- the compiler ----


def fake_clang(directory: pathlib.Path, body: str, version: str = "22.1.0") -> pathlib.Path:
    path = directory / "clang"
    path.write_text(
        f"#!{sys.executable}\nimport os, signal, sys, time\n"
        f"if '--version' in sys.argv: print('clang version {version}'); sys.exit(0)\n{body}\n"
    )
    path.chmod(0o755)
    return path


def test_a_hang_is_ended(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    note = f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))"
    body = f"import subprocess; child = subprocess.Popen(['sleep', '60'])\n{note}\ntime.sleep(60)"
    monkeypatch.setenv("SKEP_CLANG", str(fake_clang(tmp_path, body)))
    start = time.monotonic()
    with pytest.raises(CompileError) as caught:
        compile_source(SourceFile("x.c", "int x;"), deadline_seconds=1.0)
    assert caught.value.diagnostic.code == "C0003"
    assert time.monotonic() - start < 10
    state = pathlib.Path(f"/proc/{(tmp_path / 'pid').read_text()}/stat")
    for _ in range(50):
        if not state.exists() or state.read_text().split()[2] == "Z":
            return
        time.sleep(0.05)
    pytest.fail("a child of the compiler lives on")


@pytest.mark.parametrize(
    "body",
    [
        "os.kill(os.getpid(), signal.SIGSEGV)",
        "print('PLEASE submit a bug report to https://...', file=sys.stderr); sys.exit(1)",
        "sys.exit(139)",
        "sys.exit(1)",
    ],
)
def test_a_crash_is_reported(body: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKEP_CLANG", str(fake_clang(tmp_path, body)))
    assert errors_of("int x;").diagnostic.code == "C0004"


def test_an_object_that_is_none(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKEP_CLANG", str(fake_clang(tmp_path, "sys.exit(0)")))
    assert errors_of("int x;").diagnostic.code == "C0007"


def test_hints() -> None:
    assert errors_of("bool f(void);").diagnostic.help == "include <stdbool.h>"
    assert "vmlinux.h" in str(errors_of("#include <bpf/bpf_helpers.h>").diagnostic.help)


def test_which_compiler(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_compiler().lib is not None
    for chosen, code in (("/no/such/clang", "C0002"), ("'", "C0002"), (str(tmp_path), "C0002"), ("true", "C0002")):
        monkeypatch.setenv("SKEP_CLANG", chosen)
        assert errors_of("int x;").diagnostic.code == code
    monkeypatch.setenv("SKEP_CLANG", str(fake_clang(tmp_path, "", "14.0.6")))
    assert errors_of("int x;").diagnostic.code == "C0002"
    monkeypatch.setenv("SKEP_CLANG", f"{sys.executable} -m ziglang clang")
    assert compile_c(SourceFile("x.c", "#include <stdint.h>\nint x;"), cache=False).startswith(b"\x7fELF")


def test_no_compiler_at_all(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "_ziglang", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    compiler._find.cache_clear()
    try:
        error = errors_of("int x;")
        assert error.diagnostic.code == "C0001"
        assert "pip install 'skep[clang]'" in str(error.diagnostic.help)
        fake_clang(tmp_path, "", "14.0.6")
        compiler._find.cache_clear()
        assert "clang 14" in str(errors_of("int x;"))
        fake_clang(tmp_path, "", "15.0.0")
        compiler._find.cache_clear()
        assert compiler.find_compiler().lib is None
    finally:
        compiler._find.cache_clear()


def test_depfiles() -> None:
    text = "out: a.c \\\n  dir/b\\ c.h x$$y.h \\\n  h\\#.h a.c\n"
    assert parse_depfile(text) == ("a.c", "dir/b c.h", "x$y.h", "h#.h")
    assert parse_depfile("") == ()
