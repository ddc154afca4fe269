"""Real programs with every macro of our headers, for every target, without a warning; and what the macros mean."""

from __future__ import annotations

import pathlib
import platform

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from skep.abi.helpers import HELPERS
from skep.diagnostics import SourceFile
from skep.errors import CompileError
from skep.frontend import compile_c, compile_source
from skep.frontend.c.helper_defs import HEADER_PATH, render
from skep.isa.codec import decode
from skep.isa.disassembler import disassemble
from skep.isa.forms import find_form

PROGRAMS = pathlib.Path(__file__).parent / "programs"
NAMES = ("helpers", "tracing", "usdt")
STRICT = ("-Wall", "-Wextra", "-Wno-unused-parameter", "-Wno-unused-variable", "-Wno-sign-compare")
BTF = pathlib.Path("/sys/kernel/btf/vmlinux")


def elf(data: bytes, tmp_path: pathlib.Path) -> ELFFile:
    path = tmp_path / "object.o"
    path.write_bytes(data)
    return ELFFile(path.open("rb"))


def code_of(data: bytes, section: str, tmp_path: pathlib.Path, byte_order: str = "little") -> list[str]:
    found = elf(data, tmp_path).get_section_by_name(section)
    return [disassemble(insn) for insn in decode(found.data(), byte_order)]


@pytest.mark.parametrize("byte_order", ["little", "big"])
@pytest.mark.parametrize("target_cpu", ["v1", "v2", "v3", "v4"])
@pytest.mark.parametrize("name", NAMES)
def test_every_macro_compiles(name: str, target_cpu: str, byte_order: str, tmp_path: pathlib.Path) -> None:
    compiled = compile_source(
        PROGRAMS / f"{name}.bpf.c", target_cpu=target_cpu, byte_order=byte_order, flags=STRICT, cache=False
    )
    assert compiled.warnings == ()
    found = elf(compiled.elf, tmp_path)
    assert found.little_endian is (byte_order == "little")
    assert found.get_section_by_name(".BTF") is not None
    assert found.get_section_by_name(".BTF.ext") is not None
    for section in found.iter_sections():
        if section["sh_flags"] & 4 and section["sh_size"]:
            insns = decode(section.data(), byte_order)
            forms = [find_form(insn) for insn in insns]
            illegal = [insn for insn, form in zip(insns, forms, strict=True) if form is None]
            assert not illegal, section.name
            assert max(form.isa_version for form in forms if form) <= int(target_cpu[1])


@pytest.mark.parametrize("architecture", ["arm64", "riscv", "loongarch"])
def test_other_machines(architecture: str) -> None:
    compiled = compile_source(PROGRAMS / "usdt.bpf.c", architecture=architecture, flags=STRICT, cache=False)
    assert compiled.warnings == ()


@pytest.mark.skipif(not BTF.exists(), reason=f"this kernel has no {BTF}")
@pytest.mark.parametrize("name", ["tracing", "usdt"])
def test_the_whole_vmlinux_h(name: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKEP_CACHE", str(tmp_path))
    compiled = compile_source(PROGRAMS / f"{name}.bpf.c", btf=BTF.read_bytes(), flags=STRICT)
    assert compiled.warnings == ()
    header = next(tmp_path.glob("vmlinux/*/vmlinux.h")).read_text()
    assert "struct task_struct {" in header
    assert compile_source(PROGRAMS / f"{name}.bpf.c", btf=BTF.read_bytes(), flags=STRICT).from_cache


@pytest.mark.skipif(not BTF.exists(), reason=f"this kernel has no {BTF}")
def test_btf_is_only_fetched_when_vmlinux_h_is_included(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SKEP_CACHE", str(tmp_path))
    fetched = []

    def fetch() -> bytes:
        fetched.append(1)
        return BTF.read_bytes()

    for _ in range(2):
        compile_c(PROGRAMS / "helpers.bpf.c", btf=fetch)
    assert not (tmp_path / "vmlinux").exists()
    assert fetched == []
    first = compile_source(PROGRAMS / "usdt.bpf.c", btf=fetch)
    again = compile_source(PROGRAMS / "usdt.bpf.c", btf=BTF.read_bytes())
    assert (first.from_cache, again.from_cache) == (False, True)
    assert fetched == [1]
    trimmed = compile_source(PROGRAMS / "usdt.bpf.c", btf=lambda: None)
    assert not trimmed.from_cache
    assert compile_source(PROGRAMS / "usdt.bpf.c").from_cache


def test_a_vmlinux_h_of_the_user_wins(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKEP_CACHE", str(tmp_path / "cache"))
    (tmp_path / "vmlinux.h").write_text("typedef unsigned int my_own_type;\n")
    (tmp_path / "x.c").write_text('#include "vmlinux.h"\nmy_own_type x;\n')
    assert compile_c(tmp_path / "x.c", btf=b"not looked at").startswith(b"\x7fELF")


def test_generated_header_is_up_to_date() -> None:
    text = HEADER_PATH.read_text()
    assert text == render(HELPERS.values()), "run: python -m skep.frontend.c.helper_defs"
    assert all(f"(*const {helper.name})" in text for helper in HELPERS.values())


def test_helpers_have_their_numbers(tmp_path: pathlib.Path) -> None:
    calls = "\n".join(f"void *p{helper.id} = (void *){helper.name};" for helper in HELPERS.values())
    text = f'#include <linux/types.h>\n#include "bpf_helpers.h"\n{calls}'
    data = elf(compile_c(SourceFile("all.c", text), cache=False), tmp_path)
    symbols = data.get_section_by_name(".symtab")
    assert isinstance(symbols, SymbolTableSection)
    section = data.get_section_by_name(".data").data()
    for helper in HELPERS.values():
        (symbol,) = symbols.get_symbol_by_name(f"p{helper.id}")
        assert int.from_bytes(section[symbol["st_value"] :][:8], "little") == helper.id


def test_what_the_registers_are(tmp_path: pathlib.Path) -> None:
    text = """
    #include "vmlinux.h"
    #include <bpf/bpf_tracing.h>
    SEC("kprobe") long BPF_KPROBE(f, long a, long b, long c) { return c; }
    SEC("fentry") long BPF_PROG(g, long a, long b, long c) { return c; }
    SEC("kretprobe") long BPF_KRETPROBE(h, long ret) { return ret; }
    """
    data = compile_c(SourceFile("x.c", text), cache=False)
    if platform.machine() == "x86_64":
        assert code_of(data, "kprobe", tmp_path) == ["r0 = *(u64 *)(r1 +96)", "exit"]  # pt_regs.dx
        assert code_of(data, "kretprobe", tmp_path) == ["r0 = *(u64 *)(r1 +80)", "exit"]  # pt_regs.ax
    assert code_of(data, "fentry", tmp_path) == ["r0 = *(u64 *)(r1 +16)", "exit"]


def test_arguments_by_value(tmp_path: pathlib.Path) -> None:
    text = """
    #include "vmlinux.h"
    #include <bpf/bpf_tracing.h>
    struct pair { long x, y; };
    SEC("fentry") long BPF_PROG2(f, int, a, struct pair, p, long, last) { return last + p.y; }
    """
    code = code_of(compile_c(SourceFile("x.c", text), cache=False), "fentry", tmp_path)
    loads = [line for line in code if "*(u64 *)(r1" in line]
    assert sorted(line.split("(r1 ")[1] for line in loads) == ["+16)", "+24)"]


def test_tail_call_has_constant_operands(tmp_path: pathlib.Path) -> None:
    text = """
    #include <linux/bpf.h>
    #include <bpf/bpf_helpers.h>
    struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 4);
             __uint(key_size, 4); __uint(value_size, 4); }
        progs SEC(".maps");
    SEC("xdp") int f(struct xdp_md *ctx) { bpf_tail_call_static(ctx, &progs, 3); return 0; }
    """
    code = code_of(compile_c(SourceFile("x.c", text), cache=False), "xdp", tmp_path)
    assert code[code.index("call unknown#12") - 1] == "r3 = 3"


def test_missing_architecture_is_said_clearly() -> None:
    text = '#include "vmlinux.h"\n#include <bpf/bpf_tracing.h>\nint f(struct pt_regs *c) { return PT_REGS_PARM1(c); }'
    flags = ("-U__TARGET_ARCH_x86", "-U__TARGET_ARCH_arm64")
    with pytest.raises(CompileError) as caught:
        compile_c(SourceFile("x.c", text), flags=flags, cache=False)
    assert "Must specify a BPF target arch" in caught.value.diagnostic.what


def test_includes_in_all_three_ways() -> None:
    for header in ("<bpf/bpf_helpers.h>", '"bpf_helpers.h"', "<bpf_helpers.h>"):
        compile_c(SourceFile("x.c", f'#include <linux/types.h>\n#include {header}\nint x SEC("data");'), cache=False)


def test_c_library_headers() -> None:
    names = ("stdbool", "stdint", "stddef", "string", "errno", "sys/socket", "netinet/in", "linux/tcp", "linux/pkt_cls")
    compile_c(SourceFile("x.c", "".join(f"#include <{name}.h>\n" for name in names) + "int x;"), cache=False)
