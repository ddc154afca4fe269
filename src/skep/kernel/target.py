"""The running kernel as a Target, and its types by name. Types are read when they are asked for: they take a second."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property

from skep.btf.reader import parse_btf
from skep.btf.types import Btf
from skep.kernel import host
from skep.kernel.bpf import objects
from skep.kernel.bpf.attr import BtfInfo
from skep.kernel.bpf.call import BpfCallError, address
from skep.kernel.btf_file import find_btf_file
from skep.kernel.fd import Fd
from skep.model.target import Target


@dataclass(frozen=True, slots=True)
class TypePlace:
    """A type of the running kernel: its id, in the types of a module or (None) of the kernel proper."""

    btf_id: int
    module: str | None = None


class _Modules(Mapping[str, Btf]):
    """Types of modules by name; each is read when it is first asked for."""

    def __init__(self, types: KernelTypes) -> None:
        self._types = types
        self._known: dict[str, Btf] = {}

    def __getitem__(self, name: str) -> Btf:
        if self._types.vmlinux is None:
            raise KeyError(name)
        if name not in self._known:
            data = host.read_module_btf(name)
            if data is None:
                raise KeyError(name)
            self._known[name] = parse_btf(data, self._types.vmlinux)
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(host.modules_with_btf() if self._types.vmlinux is not None else ())

    def __len__(self) -> int:
        return len(host.modules_with_btf()) if self._types.vmlinux is not None else 0


class KernelTypes:
    """The types of the running kernel and its modules."""

    @cached_property
    def vmlinux(self) -> Btf | None:
        """The kernel's own; None: it has none."""
        data = host.read_btf()
        return parse_btf(data) if data is not None else None

    @cached_property
    def modules(self) -> Mapping[str, Btf]:
        """The modules', by name."""
        return _Modules(self)

    def find(self, name: str, *kinds: type, module: str | None = None) -> TypePlace | None:
        """A type by name: in the kernel, then in every module; with ``module`` (``vmlinux`` too) only there."""
        if self.vmlinux is None:
            return None
        if module in (None, "vmlinux"):
            found = self.vmlinux.find(name, *kinds)
            if found is not None:
                return TypePlace(found)
        for module_name in self.modules if module is None else [module]:
            own = self.modules.get(module_name)
            if own is None:
                continue
            found = next((i for i in own.find_all(name, *kinds) if i >= own.start_id), None)
            if found is not None:
                return TypePlace(found, module_name)
        return None


@cache
def kernel_types() -> KernelTypes:
    """The types of the running kernel, read once in this process."""
    return KernelTypes()


def open_module_types(name: str) -> Fd | None:
    """The BTF object of a loaded module; None: there is none, or we may not list objects."""
    try:
        for number in objects.ids(objects.Kind.BTF):
            try:
                fd = objects.open_id(objects.Kind.BTF, number)
            except BpfCallError:
                continue
            if _btf_name(fd) == name:
                return fd
            fd.close()
    except BpfCallError:
        return None
    return None


def _btf_name(fd: Fd) -> str:
    buffer = ctypes.create_string_buffer(64)
    info = objects.read_info(fd.number, BtfInfo(name=address(buffer), name_len=len(buffer)))
    return buffer.value.decode(errors="replace") if info.kernel_btf else ""


def kernel_target(
    types: KernelTypes | None = None, *, kconfig: bool = True, kallsyms: bool = True, btf: bool = True
) -> Target:
    """Facts about the running kernel; those that are not wanted are left out, which saves the time to read them."""
    major, minor, patch = host.kernel_version()
    known = types or kernel_types()
    return Target(
        name=f"linux {major}.{minor}",
        kernel_version=(major, minor, patch),
        byte_order=sys.byteorder,
        btf=(known.vmlinux or find_btf_file()) if btf else None,
        module_btf=known.modules if btf else {},
        kconfig=host.read_kconfig() if kconfig else {},
        kallsyms=host.read_kallsyms() if kallsyms else {},
    )
