"""The public verbs: they join the stations of the walk and pick the engine. What people start is built on these."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skep.collection import Object, Program
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

if TYPE_CHECKING:
    from skep.kernel.xsk_redirect import Redirect

ENGINES = ("vm", "interpreter", "kernel")
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


def compile_filter(
    expression: str, *, link_type: str = "EN10MB", snaplen: int = 262144, netmask: int | None = None
) -> ObjectSpec:
    """Compile a pcap-filter(7) expression to a blueprint with one socket filter, named ``filter``.

    Args:
        expression: as tcpdump takes it, e.g. ``tcp port 443 and not host 10.0.0.1``.
        link_type: what packets start with: ``EN10MB``, ``RAW``, ``LINUX_SLL``, ``NULL`` or ``LOOP``.
        snaplen: bytes to keep of a packet that matches: what the program returns for it.
        netmask: of the packets' network, for ``ip broadcast``.

    Raises:
        CompileError: what is wrong with the expression, and where.
        UnsupportedError: a part of the language that skep has not, by name.
        UsageError: an unknown link type.
    """
    from skep.frontend.pcap import LINK_NAMES, compile_expression, translate  # late: most programs are no filters

    if link_type not in LINK_NAMES:
        known = ", ".join(LINK_NAMES)
        raise UsageError(Diagnostic("U0504", f"there is no link type '{link_type}'", help=f"there are: {known}"))
    return translate(compile_expression(expression, link=LINK_NAMES[link_type], keep=snaplen, netmask=netmask))


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
    extends: Mapping[str, Program] | None = None,
    target: Target | None = None,
) -> Object:
    """Link, verify and load a blueprint; nothing is created before everything is proved.

    On the kernel engine the kernel's verifier decides; when it rejects, skep's own explains.

    Args:
        spec: from :func:`compile` or :func:`open_object`.
        engine: ``vm`` (native code in this process), ``interpreter`` (the same, slowly, with every access checked),
            ``kernel`` (the running Linux), or an engine of your own making.
        programs: names of the programs to load; default: all that are not marked ``SEC("?...")``.
        variables: values for global variables, set before loading; constants in ``.rodata`` are known to the verifier.
        options: limits for the verifier.
        extends: for ``SEC("freplace/FUNCTION")``: by name, the live program whose function it replaces.
        target: what to link for, instead of the facts that the engine tells (another kernel's types: ``--btf``).

    Raises:
        LinkError, RejectedError, UnsupportedError, EngineError: see errors.py; nothing is left behind.
        UsageError: an unknown engine, program or variable.
    """
    if not isinstance(engine, str):
        return load_object(spec, engine, programs=programs, variables=variables, options=options, extends=extends)
    owned = make_engine(engine, spec, target)
    try:
        return load_object(
            spec, owned, programs=programs, variables=variables, options=options, extends=extends, close_engine=True
        )
    except BaseException:
        owned.close()
        raise


def host_btf() -> bytes | None:
    """The running kernel's type information, or None where there is none (no Linux, CONFIG_DEBUG_INFO_BTF off)."""
    return host.read_btf()


def default_target(spec: ObjectSpec, engine: str = "vm") -> Target:
    """An engine's Target for an object: what ``skep verify`` judges for, and what :func:`load` runs on.

    The running kernel's types, configuration and symbols are read only where the object asks for them: CO-RE
    relocations are resolved against this kernel, so that the same object gives the same program on both engines.

    Raises:
        UsageError: U0110 there is no such engine.
    """
    _check_engine_name(engine)
    kinds = {extern.kind for extern in spec.externs.values()}
    wants_btf = spec.asks_for_types
    wants_kconfig, wants_kallsyms = ExternKind.KCONFIG in kinds, bool(kinds & {ExternKind.KSYM, ExternKind.KCONFIG})
    if engine == "kernel":
        from skep.kernel.target import kernel_target

        return kernel_target(btf=wants_btf, kconfig=wants_kconfig, kallsyms=wants_kallsyms)
    target = vm_target()
    if wants_btf or wants_kconfig or wants_kallsyms:
        from skep.kernel.target import kernel_target

        known = kernel_target(btf=wants_btf, kconfig=wants_kconfig, kallsyms=wants_kallsyms)
        target = replace(
            target, btf=known.btf, module_btf=known.module_btf, kconfig=known.kconfig, kallsyms=known.kallsyms
        )
    return target


def target_with_types(target: Target, path: str | os.PathLike[str]) -> Target:
    """A Target with the kernel types in a file instead of its own: for kernels that do not tell theirs (``--btf``).

    Raises:
        InputError: no such file, or it has no types.
    """
    from skep.kernel.btf_file import read_btf_file

    return replace(target, btf=read_btf_file(path), module_btf={})


def save_target(path: str | os.PathLike[str]) -> None:
    """Write the running kernel's facts to a file, whole or not at all: types, features, helpers, version.

    Raises:
        InputError: this kernel has no types.
    """
    from skep.kernel.target_file import pack_target

    data = pack_target()
    temporary = Path(f"{os.fspath(path)}.{os.getpid()}.part")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_target(path: str | os.PathLike[str]) -> Target:
    """The Target in a file that :func:`save_target` wrote.

    Raises:
        InputError: no such file, or it is none.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(Diagnostic("B0004", f"cannot read '{os.fspath(path)}': {error.strerror}")) from None
    from skep.kernel.target_file import unpack_target

    return unpack_target(data, os.fspath(path))


def make_engine(name: str, spec: ObjectSpec, target: Target | None = None) -> Engine:
    """An engine by name, with a Target that knows what this object asks for.

    Raises:
        UsageError: U0110 there is no such engine.
    """
    _check_engine_name(name)
    if name == "kernel":
        from skep.kernel.engine import KernelEngine

        return KernelEngine(target or default_target(spec, "kernel"))
    return VmEngine(target or default_target(spec), interpret=name == "interpreter", redirector=_redirect_queue)


def _redirect_queue(ifindex: int, queue: int, socket: int, generic: bool) -> Redirect:
    """What the vm engine's Xsk hook needs of Linux; imported when it is needed."""
    from skep.kernel.xsk_redirect import redirect_queue

    return redirect_queue(ifindex, queue, socket, generic)


def _check_engine_name(name: str) -> None:
    if name not in ENGINES:
        raise UsageError(Diagnostic("U0110", f"there is no engine '{name}'", help=f"engines: {', '.join(ENGINES)}"))


def _stem(name: str) -> str:
    base = os.path.basename(name)
    for suffix in (".bpf.c", ".bpf.o", ".c", ".o"):
        if base.endswith(suffix):
            return base[: -len(suffix)]
    return base
