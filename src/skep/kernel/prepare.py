"""A linked program as the kernel takes it: names become numbers, types and lines go along."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Final

from skep.abi.prog_types import AttachType, ProgType
from skep.abi.sections import match
from skep.btf.reader import parse_btf
from skep.btf.types import Btf, Func, Struct, Typedef, Var
from skep.diagnostics import Diagnostic
from skep.errors import EngineError, InternalError, UsageError
from skep.isa.codec import encode
from skep.isa.instruction import FuncRef, Instruction, KfuncRef, KsymRef, MapRef, MapValueRef
from skep.kernel import host
from skep.kernel.bpf import objects
from skep.kernel.bpf.attr import BtfInfo, ProgInfo
from skep.kernel.bpf.call import address, data_buffer
from skep.kernel.bpf.programs import LoadRequest
from skep.kernel.fd import Fd
from skep.kernel.maps.create import kernel_name
from skep.kernel.maps.handle import KernelMap
from skep.kernel.target import KernelTypes, TypePlace, open_module_types
from skep.kernel.typeinfo import TypeStore, func_info, line_info, texts_of
from skep.model.programs import LinkedProgram

F_SLEEPABLE, F_XDP_HAS_FRAGS = 1 << 4, 1 << 5
_MAX_FD_ARRAY: Final = (1 << 15) - 1

#: attach type -> what stands before the name in the kernel's BTF, and the kind of type (libbpf's find_kernel_btf_id).
_TARGETS: Final[Mapping[AttachType, tuple[str, type]]] = {
    AttachType.TRACE_RAW_TP: ("btf_trace_", Typedef),
    AttachType.TRACE_ITER: ("bpf_iter_", Func),
    AttachType.LSM_MAC: ("bpf_lsm_", Func),
    AttachType.LSM_CGROUP: ("bpf_lsm_", Func),
    AttachType.TRACE_FENTRY: ("", Func),
    AttachType.TRACE_FEXIT: ("", Func),
    AttachType.MODIFY_RETURN: ("", Func),
    AttachType.TRACE_FSESSION: ("", Func),
}
_WITH_TARGET: Final = frozenset({ProgType.TRACING, ProgType.LSM})


class Preparation:
    """Makes the request for one program; descriptors that it opened are open until close()."""

    def __init__(self, linked: LinkedProgram, maps: Mapping[str, KernelMap], types: KernelTypes) -> None:
        self.linked = linked
        self._maps = maps
        self._types = types
        self._opened = ExitStack()
        self._modules: dict[str, int] = {}  # module -> index in fd_array
        self._fds: list[int] = [0]

    def request(self, store: TypeStore, token: int, extends: Fd | None) -> LoadRequest:
        """The request with everything that the kernel may know.

        Raises:
            EngineError: E0225 what it attaches to, or a kernel function, is not there.
            UsageError: E0226 it does not say what it attaches to.
        """
        linked = self.linked
        code = encode((self._resolved(insn) for insn in linked.insns), linked.target.byte_order)
        loaded = store.get(linked.btf, texts_of(linked))
        attach_btf_id, attach_to, attach_type = self._attach_target(extends)
        major, minor, patch = host.kernel_version()
        return LoadRequest(
            prog_type=linked.prog_type,
            code=code,
            license=linked.license,
            name=kernel_name(linked.name),
            expected_attach_type=attach_type,
            flags=(F_SLEEPABLE * linked.sleepable) | (F_XDP_HAS_FRAGS * linked.frags),
            kernel_version=(major << 16) + (minor << 8) + min(patch, 255),
            btf=loaded.fd.number if loaded is not None else 0,
            func_info=func_info(linked, loaded) if loaded is not None else b"",
            line_info=line_info(linked, loaded) if loaded is not None else b"",
            attach_btf_id=attach_btf_id,
            attach_to=attach_to,
            fd_array=tuple(self._fds) if len(self._fds) > 1 else (),
            token=token,
        )

    def close(self) -> None:
        """Close what was only needed for loading."""
        self._opened.close()

    # ---- names in instructions ----

    def _resolved(self, insn: Instruction) -> Instruction:
        if insn.ref is None:
            return insn
        resolver = _RESOLVERS.get(type(insn.ref))
        if resolver is None:
            raise InternalError(f"the linker left {insn.ref} in program {self.linked.name}")
        return resolver(self, insn, insn.ref)

    def map(self, insn: Instruction, ref: MapRef) -> Instruction:
        """LD_IMM64 of a map."""
        return replace(insn, imm=self._maps[ref.name].fd.number, ref=None)

    def map_value(self, insn: Instruction, ref: MapValueRef) -> Instruction:
        """LD_IMM64 of an address in global data."""
        return replace(insn, imm=self._maps[ref.name].fd.number | ref.offset << 32, ref=None)

    def kernel_function(self, insn: Instruction, ref: KfuncRef) -> Instruction:
        """A call of a kfunc: its BTF id, and the module's place in fd_array."""
        place = self._find(ref.name, Func)
        return replace(insn, imm=place.btf_id, off=self._module_index(place), ref=None)

    def kernel_symbol(self, insn: Instruction, ref: KsymRef) -> Instruction:
        """LD_IMM64 of a kernel variable or function: its BTF id, and the module's BTF in the high half."""
        place = self._find(ref.name, Var, Func)
        fd = self._fds[self._module_index(place)] if place.module else 0
        return replace(insn, imm=place.btf_id | fd << 32, ref=None)

    def _find(self, name: str, *kinds: type) -> TypePlace:
        place = self._types.find(name, *kinds)
        if place is None:
            raise self._missing(f"the running kernel has no '{name}' in its types", "load on a kernel that has it")
        return place

    def _module_index(self, place: TypePlace) -> int:
        if place.module is None:
            return 0
        known = self._modules.get(place.module)
        if known is None:
            fd = open_module_types(place.module)
            if fd is None or len(self._fds) > _MAX_FD_ARRAY:
                raise self._missing(
                    f"the types of module '{place.module}' cannot be opened", "this needs CAP_SYS_ADMIN"
                )
            self._opened.callback(fd.close)
            known = self._modules[place.module] = len(self._fds)
            self._fds.append(fd.number)
        return known

    # ---- what it attaches to ----

    def _attach_target(self, extends: Fd | None) -> tuple[int, int, int]:
        """(attach_btf_id, attach_btf_obj_fd or attach_prog_fd, expected_attach_type)."""
        linked = self.linked
        attach_type = int(linked.attach_type or 0)
        if extends is not None:
            return self._in_program(extends), extends.number, attach_type
        if linked.prog_type is ProgType.STRUCT_OPS:
            return self._in_table()
        if linked.prog_type is ProgType.EXT:
            raise UsageError(
                Diagnostic(
                    "E0226", f"program '{linked.name}' replaces a function of another program: which?",
                    program=linked.name, help='load it with skep.load(..., extends={"' + linked.name + '": program})',
                )
            )  # fmt: skip
        row = _TARGETS.get(linked.attach_type) if linked.attach_type is not None else None
        if row is None or linked.prog_type not in _WITH_TARGET:
            return 0, 0, attach_type
        prefix, kind = row
        module, _, name = linked.attach_to.rpartition(":")
        if not name:
            raise UsageError(
                Diagnostic(
                    "E0226", f"program '{linked.name}' does not say what it attaches to", program=linked.name,
                    why=(f'its section is SEC("{linked.section}")',),
                    help=f'write SEC("{_section_name(linked.section)}/NAME")',
                )
            )  # fmt: skip
        place = self._types.find(prefix + name, kind, module=module or None)
        if place is None:
            what = f"the running kernel has nothing to attach to by the name '{linked.attach_to}'"
            raise self._missing(what, f"look for it: skep btf dump | grep '{prefix}{name}'")
        index = self._module_index(place)
        return place.btf_id, self._fds[index] if index else 0, attach_type

    def _in_table(self) -> tuple[int, int, int]:
        """For a member of a structure of functions: the structure, and the member's number as attach type."""
        name, _, member = self.linked.attach_to.partition(".")
        place = self._find(name, Struct)
        btf = self._types.vmlinux if place.module is None else self._types.modules[place.module]
        struct = btf[place.btf_id] if btf is not None else None
        members = [each.name for each in struct.members] if isinstance(struct, Struct) else []
        if member not in members:
            raise self._missing(f"struct {name} of the running kernel has no member '{member}'", "leave it out")
        index = self._module_index(place)
        return place.btf_id, self._fds[index] if index else 0, members.index(member)

    def _in_program(self, target: Fd) -> int:
        """BTF id of the function to replace, in the types of the target program."""
        info = objects.read_info(target.number, ProgInfo())
        types = read_types_by_id(int(info.btf_id)) if info.btf_id else None
        name = self.linked.attach_to
        found = types.find(name, Func) if types is not None else None
        if found is None:
            raise self._missing(
                f"the program to extend has no function '{name}'", "is it global, and compiled with -g?"
            )
        return found

    def _missing(self, what: str, advice: str) -> EngineError:
        return EngineError(Diagnostic("E0225", what, program=self.linked.name, help=advice, kernel="ENOENT"))


def read_types_by_id(number: int, base: Btf | None = None) -> Btf:
    """The types of a BTF object that the kernel holds (BTF ids of programs and maps)."""
    with objects.open_id(objects.Kind.BTF, number) as fd:
        size = int(objects.read_info(fd.number, BtfInfo()).btf_size)
        buffer = data_buffer(bytes(size))
        objects.read_info(fd.number, BtfInfo(btf=address(buffer), btf_size=size))
        return parse_btf(buffer.raw[:size], base)


def may_drop_attach_type(linked: LinkedProgram) -> bool:
    """Whether kernels that do not know expected_attach_type may do without it."""
    found = match(linked.section)
    return found is not None and found.row.attach_type_optional


def _section_name(section: str) -> str:
    found = match(section)
    return found.row.name if found is not None else section


def _plain(preparation: Preparation, insn: Instruction, ref: FuncRef) -> Instruction:
    """A call or address of a subprogram: the linker has written the distance already."""
    return replace(insn, ref=None)


_RESOLVERS: Final[Mapping[type, Callable[[Preparation, Instruction, Any], Instruction]]] = {
    FuncRef: _plain,
    MapRef: Preparation.map,
    MapValueRef: Preparation.map_value,
    KfuncRef: Preparation.kernel_function,
    KsymRef: Preparation.kernel_symbol,
}
