"""What only a running Linux has: such programs can be verified anywhere, but the vm must not run them."""

from __future__ import annotations

from skep.abi.contexts import BTF_CONTEXTS, FieldKind
from skep.abi.prog_types import ProgType
from skep.diagnostics import Diagnostic
from skep.errors import UnsupportedError
from skep.isa.instruction import KfuncRef, KsymRef, slots
from skep.model.programs import LinkedProgram, Region, VerifiedProgram
from skep.vm.helpers.kfuncs import KFUNCS

_HELP = 'load it with engine="kernel"'


def refuse_kernel_only(program: VerifiedProgram) -> None:
    """Let pass only what means something without a kernel.

    Raises:
        UnsupportedError: E0301 its context is made of kernel objects, it looks into one, or it calls into the kernel.
    """
    linked = program.linked
    if linked.prog_type is ProgType.EXT:
        raise _refusal(linked, "the vm engine does not replace functions of programs", None)
    if linked.prog_type in BTF_CONTEXTS:
        kind = linked.prog_type.name.lower()
        raise _refusal(linked, f"{kind} programs get objects of the kernel; the vm engine has none", None)
    for slot, insn in enumerate(slots(linked.insns)):
        if insn is None or slot not in program.facts.reachable:
            continue
        if isinstance(insn.ref, KfuncRef) and insn.ref.name not in KFUNCS:
            raise _refusal(linked, f"the vm engine has no kernel function {insn.ref.name}()", slot)
        if isinstance(insn.ref, KsymRef):
            raise _refusal(linked, f"the vm engine has no kernel variables: {insn.ref.name}", slot)
    for slot, access in program.facts.accesses.items():
        field = access.field
        if access.region is Region.KERNEL:
            raise _refusal(linked, "the vm engine has no objects of the kernel to look into", slot)
        if field is not None and field.kind is FieldKind.BTF_OBJECT:
            raise _refusal(linked, f"the context field {field.name} has no meaning on the vm engine", slot)


def _refusal(linked: LinkedProgram, what: str, slot: int | None) -> UnsupportedError:
    span = linked.lines.get(slot) if slot is not None else None
    return UnsupportedError(Diagnostic(code="E0301", what=what, span=span, program=linked.name, insn=slot, help=_HELP))
