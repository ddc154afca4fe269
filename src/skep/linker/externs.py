"""What a program wants from the place where it will run: kernel configuration, kernel symbols, kernel functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from skep.btf.types import Array, Btf, Enum, Enum64, Func, Int, Var, Void
from skep.model.objects import ExternKind, ExternSpec, ObjectSpec
from skep.model.target import Target

KCONFIG: Final = ".kconfig"
_TRISTATE: Final = {"n": 0, "y": 1, "m": 2}  # enum libbpf_tristate
_COOKIE_KERNEL: Final = (5, 15)  # bpf_get_attach_cookie()
_SYSCALL_PREFIXES: Final = ("__x64_sys_", "__arm64_sys_", "__s390x_sys_", "__riscv_sys_", "__ia32_sys_")


@dataclass(frozen=True, slots=True)
class KconfigValues:
    """The bytes of map ``.kconfig``, and why some externs have no value (they are zero there)."""

    contents: bytes
    missing: Mapping[str, str]


def kconfig_values(spec: ObjectSpec, target: Target) -> KconfigValues:
    """Values of all ``.kconfig`` externs of an object for a Target.

    The result depends on object and Target only, so that all programs of the object agree on the map's contents.
    """
    declared = spec.maps.get(KCONFIG)
    contents = bytearray(declared.contents or b"" if declared is not None else b"")
    missing: dict[str, str] = {}
    for extern in spec.externs.values():
        if extern.kind is not ExternKind.KCONFIG:
            continue
        try:
            value = _encoded(spec, extern, target)
        except _NoValueError as reason:
            if not extern.is_weak:
                missing[extern.name] = str(reason)
            continue
        contents[extern.offset : extern.offset + extern.size] = value
    return KconfigValues(bytes(contents), missing)


class _NoValueError(Exception):
    """Why an extern has no value here; never leaves this module."""


def _encoded(spec: ObjectSpec, extern: ExternSpec, target: Target) -> bytes:
    special = _SPECIAL.get(extern.name)
    if special is not None:
        return _number(extern, special(target), spec.byte_order, signed=False)
    text = target.kconfig.get(extern.name)
    if text is None:
        raise _NoValueError(
            f"the kernel configuration of {target.name} does not set it"
            if target.kconfig
            else f"the kernel configuration of {target.name} is not known"
        )
    return _from_text(spec, extern, text)


def _from_text(spec: ObjectSpec, extern: ExternSpec, text: str) -> bytes:
    btf = spec.btf
    found = btf[btf.strip(extern.type)] if btf is not None else None
    if isinstance(found, Array):
        if not text.startswith('"'):
            raise _NoValueError(f"it is declared as a string, but its value is {text}")
        raw = _unquoted(text).encode()
        return raw[: max(extern.size - 1, 0)].ljust(extern.size, b"\0")
    if text in _TRISTATE:
        if isinstance(found, Enum | Enum64):
            return _number(extern, _TRISTATE[text], spec.byte_order, signed=False)
        if isinstance(found, Int) and found.boolean:
            if text == "m":
                raise _NoValueError("it is declared bool, but its value is m; declare it enum libbpf_tristate")
            return _number(extern, _TRISTATE[text], spec.byte_order, signed=False)
        if extern.size == 1:
            return text.encode()
        raise _NoValueError(f"it is declared as a number, but its value is {text}")
    try:
        number = int(text, 0)
    except ValueError:
        raise _NoValueError(f"its value is {text}, which is no number") from None
    if isinstance(found, Int) and found.boolean:
        raise _NoValueError(f"it is declared bool, but its value is {text}")
    return _number(extern, number, spec.byte_order, signed=isinstance(found, Int) and found.signed)


def _unquoted(text: str) -> str:
    body = text[1:-1] if text.endswith('"') and len(text) > 1 else text[1:]
    return body.replace('\\"', '"').replace("\\\\", "\\")


def _number(extern: ExternSpec, value: int, byte_order: str, *, signed: bool) -> bytes:
    try:
        return value.to_bytes(extern.size, "little" if byte_order == "little" else "big", signed=signed)
    except OverflowError:
        raise _NoValueError(f"its value {value} does not fit {extern.size} bytes") from None


def _kernel_version(target: Target) -> int:
    major, minor, patch = target.kernel_version
    return (major << 16) + (minor << 8) + min(patch, 255)


def _has_cookie(target: Target) -> int:
    return int(target.kernel_version[:2] >= _COOKIE_KERNEL)


def _has_syscall_wrapper(target: Target) -> int:
    if target.kconfig.get("CONFIG_ARCH_HAS_SYSCALL_WRAPPER") == "y":
        return 1
    return int(any(f"{prefix}bpf" in target.kallsyms for prefix in _SYSCALL_PREFIXES))


_SPECIAL: Final[Mapping[str, Callable[[Target], int]]] = {
    "LINUX_KERNEL_VERSION": _kernel_version,
    "LINUX_HAS_BPF_COOKIE": _has_cookie,
    "LINUX_HAS_SYSCALL_WRAPPER": _has_syscall_wrapper,
}


def has_kernel_function(target: Target, name: str) -> bool:
    """Whether the Target's kernel, or a module of it, has a function of this name in its BTF."""
    return _has(target, name, Func)


def has_kernel_variable(target: Target, name: str) -> bool:
    """Whether the Target's kernel, or a module of it, has a variable of this name in its BTF."""
    return _has(target, name, Var)


def _has(target: Target, name: str, kind: type) -> bool:
    if target.btf is not None and target.btf.find(name, kind) is not None:
        return True
    # Modules' types may be read only now: a Target gives them by and by.
    return any(btf.find(name, kind) is not None for btf in target.module_btf.values())


def is_typeless(btf: Btf | None, extern: ExternSpec) -> bool:
    """Whether a ksym was declared ``extern void x``: only its address is wanted."""
    return btf is None or isinstance(btf[btf.strip(extern.type)], Void)
