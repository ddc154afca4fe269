"""What the instructions of a program need: the instruction set, helpers, kernel functions, the shape of the code."""

from __future__ import annotations

from collections.abc import Iterator

from skep.abi.helpers import HELPERS
from skep.abi.history import NEWEST, feature_since
from skep.abi.history_sets import FIELD_SINCE, HELPER_SINCE, HELPERS_FOR, KFUNCS_FOR
from skep.abi.kfuncs import KFUNCS
from skep.abi.limits import MAX_INSNS_UNPRIVILEGED
from skep.isa import opcodes as op
from skep.isa.disassembler import disassemble
from skep.isa.forms import Form, find_form
from skep.isa.instruction import Instruction, slots
from skep.model.programs import Facts, LinkedProgram, Region
from skep.verifier.flow.cfg import Flow, is_jump, jump_target
from skep.verifier.requirements.kinds import Rule
from skep.verifier.since import shape
from skep.verifier.since.need import Need, feature

_CALL = op.JMP | op.CALL
_MAY_GOTO = op.JMP | op.JCOND
_TAIL_CALL = 12
_OLD_COMPLEXITY = 131_072
# Where the instruction set's row is not the whole story: LD_IMM64 and calls stand for features of the kernel.
_FEATURE_OF = {
    "load_map_value": "global_data",
    "load_btf_id": "kernel_symbols",
    "load_function": "callbacks",
    "call_local": "bpf_to_bpf_calls",
    "call_kfunc": "kfuncs",
    "may_goto": "may_goto",
    "addr_space_cast": "arena",
}
_SPIN_LOCK = 93


def code_needs(linked: LinkedProgram, flow: Flow, visited: frozenset[int], facts: Facts | None) -> Iterator[Need]:
    """Everything, several times over where several instructions need it.

    Args:
        visited: slots that some path executes: what is dead for sure is not looked at by any verifier.
    """
    code = slots(linked.insns)
    for slot, insn in enumerate(code):
        if insn is None:
            continue
        form = find_form(insn)
        # Opcodes are checked before anything is executed; what the fields mean, on the path that comes there.
        if form is not None and form.since is not None and (slot in visited or form.name in ("gotol", "may_goto")):
            yield _instruction(insn, form, slot)
        if insn.opcode == _CALL and (slot in visited or insn.src == op.CALL_KFUNC):  # kfuncs are looked up dead or not
            yield from _call(linked, insn, slot)
        if insn.opcode == _MAY_GOTO and insn.off == 0:
            yield feature("may_goto_nowhere", "invalid may_goto off 0 imm 0", slot)
        if insn.opcode == _CALL and insn.src == op.CALL_LOCAL and slot not in visited:
            yield feature("bpf_to_bpf_calls", f"unknown opcode {insn.opcode:02x}", slot)
        if is_jump(insn) and jump_target(insn, slot) in flow.loop_heads and jump_target(insn, slot) <= slot:
            yield feature("bounded_loops", f"back-edge from insn {slot} to {jump_target(insn, slot)}", slot)
    yield from _shape(flow, visited, len(code), facts)
    if facts is not None:
        yield from _accesses(linked, code, facts)


def _instruction(insn: Instruction, form: Form, slot: int) -> Need:
    said = f"unknown opcode {insn.opcode:02x}"
    known = _FEATURE_OF.get(form.name)
    if known is not None:
        return feature(known, said, slot)
    text = disassemble(insn)
    if insn.opcode & op.CLASS_MASK in (op.ALU, op.ALU64) or insn.opcode & op.CLASS_MASK == op.LDX:
        said = f"{_CLASSES[insn.opcode & op.CLASS_MASK]} uses reserved fields"
    since = form.since or NEWEST
    values = {"instruction": text, "cpu": f"v{max(1, form.isa_version - 1)}"}
    return Need(Rule.NEWER_INSTRUCTION, since, f"'{text}'", said, slot, values)


_CLASSES = {op.ALU: "BPF_ALU", op.ALU64: "BPF_ALU", op.LDX: "BPF_LDX"}


def _call(linked: LinkedProgram, insn: Instruction, slot: int) -> Iterator[Need]:
    if insn.src == op.CALL_HELPER:
        yield from _helper(linked, insn.imm, slot)
    elif insn.src == op.CALL_KFUNC:
        name = str(getattr(insn.ref, "name", ""))
        row = KFUNCS.get(name)
        since = row.since if row is not None else feature_since("kfuncs")
        widened = KFUNCS_FOR.get((name, linked.prog_type), since)
        if row is not None:
            said = f"calling kernel function {name} is not allowed"
            yield Need(Rule.NEWER_KFUNC, max(since, widened), f"{name}()", said, slot, {"kfunc": name})


def _helper(linked: LinkedProgram, number: int, slot: int) -> Iterator[Need]:
    row = HELPERS.get(number)
    if row is None:
        return
    since = HELPER_SINCE.get(row.name, row.since)
    yield Need(Rule.NEWER_HELPER, since, f"{row.name}()", f"invalid func unknown#{number}", slot, {"helper": number})
    widened = HELPERS_FOR.get((row.name, linked.prog_type))
    if widened is not None and widened > since:
        kind = linked.prog_type.name.lower()
        said = f"unknown func {row.name}#{number}"
        what = f"{row.name}() in programs of type {kind}"
        yield Need(Rule.NEWER_HELPER_TYPE, widened, what, said, slot, {"helper": number})
    if number == _SPIN_LOCK and linked.sleepable:
        yield feature("sleepable_spin_locks", "sleepable progs cannot use bpf_spin_lock yet", slot)


def _shape(flow: Flow, visited: frozenset[int], count: int, facts: Facts | None) -> Iterator[Need]:
    if count > MAX_INSNS_UNPRIVILEGED:
        values = {"insns": count, "limit": MAX_INSNS_UNPRIVILEGED}
        yield Need(Rule.NEWER_SIZE, feature_since("large_programs"), f"{count} instructions", "E2BIG", -1, values)
    yield from shape.entered_in_the_middle(flow)
    yield from shape.callback_loads(flow, visited)
    if facts is not None:
        yield from shape.frames(flow, facts)
    reached = {flow.subprogram_at(slot).start for slot in visited}
    if len(reached) < 2:
        return
    for slot in sorted(visited):
        insn = flow.code[slot]
        if insn is not None and insn.opcode == _CALL and insn.src == op.CALL_HELPER and insn.imm == _TAIL_CALL:
            said = "tail_calls are not allowed in programs with bpf-to-bpf calls"
            yield feature("tail_calls_in_subprograms", said, slot)
            return


def complexity_need(processed: int) -> Iterator[Need]:
    """Kernels before 5.2 give up sooner. How much an older verifier would simulate is not known exactly."""
    if processed > _OLD_COMPLEXITY:
        values = {"insns": processed, "limit": _OLD_COMPLEXITY}
        said = f"BPF program is too large. Processed {_OLD_COMPLEXITY + 1} insn"
        what = f"{processed} simulated instructions"
        yield Need(Rule.NEWER_SIZE, feature_since("large_programs"), what, said, -1, values)


def _accesses(linked: LinkedProgram, code: tuple[Instruction | None, ...], facts: Facts) -> Iterator[Need]:
    for slot, access in facts.accesses.items():
        insn = code[slot]
        if insn is None or access.region is not Region.CONTEXT or access.field is None:
            continue
        since = FIELD_SINCE.get((linked.prog_type, access.field.name))
        if since is not None:
            name = access.field.name
            said = f"invalid bpf_context access off={access.field.offset} size={access.field.size}"
            yield Need(Rule.NEWER_FIELD, since, f"the context's {name}", said, slot, {"field": name})
        if insn.opcode & op.CLASS_MASK == op.ST:
            said = f"BPF_ST stores into R{insn.dst} ctx is not allowed"
            yield feature("context_store_imm", said, slot)
