"""The public verbs: they join the stations of the walk and pick the engine. What people start is built on these."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from skep.btf.reader import parse_btf
from skep.collection import Object
from skep.collection.load import load_object
from skep.diagnostics import Diagnostic, SourceFile
from skep.engine import Engine
from skep.errors import InputError, UsageError
from skep.frontend import compile_c
from skep.kernel import host
from skep.model.objects import ExternKind, ObjectSpec
from skep.model.target import Target
from skep.objfile import read_object
from skep.verifier.options import Options
from skep.vm.engine import VmEngine
from skep.vm.target import vm_target

ELF_MAGIC = b"\x7fELF"
C_SUFFIXES = (".c", ".h")


def compile(
    source: str | os.PathLike[str] | SourceFile,
    *,
    target_cpu: str = "v3",
    flags: Iterable[str] = (),
    byte_order: str = "little",
) -> ObjectSpec:
    """Compile restricted C to a blueprint.

    Args:
        source: path of a C file, or a SourceFile with the text itself.
        target_cpu: instruction set version, ``v1`` to ``v4``.
        flags: more flags for clang, e.g. ``-DLIMIT=10``.
        byte_order: ``little`` or ``big``.

    Raises:
        CompileError: the C does not compile, or there is no clang.
        InputError: there is no such file.
    """
    elf = compile_c(source, target_cpu=target_cpu, flags=tuple(flags), byte_order=byte_order, btf=host_btf)
    name = source.name if isinstance(source, SourceFile) else os.fspath(source)
    return read_object(elf, _stem(name))


def open_object(path: str | os.PathLike[str], *, target_cpu: str = "v3", flags: Iterable[str] = ()) -> ObjectSpec:
    """Read a blueprint from a file: an object file as it is, C source by compiling it first.

    Raises:
        InputError: no such file, or neither C source nor a BPF object.
        CompileError: the C does not compile.
    """
    path = Path(path)
    if path.suffix in C_SUFFIXES:
        return compile(path, target_cpu=target_cpu, flags=flags)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            Diagnostic("O0001", f"cannot read '{path}': {error.strerror}", help="give a C source or a BPF object file")
        ) from None
    if not data.startswith(ELF_MAGIC):
        raise InputError(
            Diagnostic(
                "O0002",
                f"'{path}' is neither C source (*.c) nor an ELF object",
                help="compile it with clang -target bpf, or give the C source",
            )
        )
    return read_object(data, _stem(path.name))


def load(
    spec: ObjectSpec,
    *,
    engine: str | Engine = "vm",
    programs: Iterable[str] | None = None,
    variables: Mapping[str, Any] | None = None,
    options: Options | None = None,
) -> Object:
    """Link, verify and load a blueprint; nothing is created before everything is proved.

    Args:
        spec: from :func:`compile` or :func:`open_object`.
        engine: ``vm`` (this process), or an engine of your own making.
        programs: names of the programs to load; default: all that are not marked ``SEC("?...")``.
        variables: values for global variables, set before loading; constants in ``.rodata`` are known to the verifier.
        options: limits for the verifier.

    Raises:
        LinkError, RejectedError, UnsupportedError, EngineError: see errors.py; nothing is left behind.
        UsageError: an unknown engine, program or variable.
    """
    if not isinstance(engine, str):
        return load_object(spec, engine, programs=programs, variables=variables, options=options)
    owned = _make_engine(engine, spec)
    try:
        return load_object(spec, owned, programs=programs, variables=variables, options=options, close_engine=True)
    except BaseException:
        owned.close()
        raise


def host_btf() -> bytes | None:
    """The running kernel's type information, or None where there is none (no Linux, CONFIG_DEBUG_INFO_BTF off)."""
    return host.read_btf()


def default_target(spec: ObjectSpec) -> Target:
    """The vm's Target for an object: what ``skep verify`` judges for, and what :func:`load` runs on.

    The running kernel's types, configuration and symbols are read only where the object asks for them: CO-RE
    relocations are resolved against this kernel, so that the same object gives the same program on both engines.
    """
    target = vm_target()
    kinds = {extern.kind for extern in spec.externs.values()}
    if kinds & {ExternKind.KSYM, ExternKind.KFUNC} or any(f.core_relocations for f in spec.functions.values()):
        raw = host.read_btf()
        target = replace(target, btf=parse_btf(raw) if raw is not None else None)
    if ExternKind.KCONFIG in kinds:
        target = replace(target, kconfig=host.read_kconfig())
    if ExternKind.KSYM in kinds:
        target = replace(target, kallsyms=host.read_kallsyms())
    return target


def _make_engine(name: str, spec: ObjectSpec) -> Engine:
    if name == "vm":
        return VmEngine(default_target(spec))
    raise UsageError(
        Diagnostic("U0101", f"there is no engine '{name}'", help="engines: vm (kernel follows in a later version)")
    )


def _stem(name: str) -> str:
    base = os.path.basename(name)
    for suffix in (".bpf.c", ".bpf.o", ".c", ".o"):
        if base.endswith(suffix):
            return base[: -len(suffix)]
    return base
