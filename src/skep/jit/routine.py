"""One subprogram as one LLVM function: its blocks, the registers that flow between them, and its control flow."""

from __future__ import annotations

from skep.errors import InternalError
from skep.isa import opcodes as op
from skep.isa.instruction import Instruction, MapRef, MapValueRef, Reg
from skep.jit.alu import emit_alu
from skep.jit.blocks import Block, jump_target
from skep.jit.calls import MAX_LOOPS, call_native, declare, emit_call, emit_tail_call, is_tail_call, signature
from skep.jit.kinds import Kinds, Routine, is_address
from skep.jit.memory import emit_atomic, emit_load, emit_store
from skep.jit.unit import Unit
from skep.jit.values import Body, Value, signed
from skep.model.programs import Region

CONDITIONS = {
    op.JEQ: "eq", op.JNE: "ne", op.JGT: "ugt", op.JGE: "uge", op.JLT: "ult", op.JLE: "ule",
    op.JSGT: "sgt", op.JSGE: "sge", op.JSLT: "slt", op.JSLE: "sle",
}  # fmt: skip
STACK_ALIGN = 16

_ON_THE_KERNEL = 'load it with engine="kernel"'


class Writer:
    """Writes the LLVM function of one routine."""

    def __init__(self, unit: Unit, kinds: Kinds, routine: Routine, is_entry: bool) -> None:
        self.unit = unit
        self.flow = kinds
        self.routine = routine
        self.is_entry = is_entry
        self.body = Body()
        self.exits: dict[int, tuple[dict[int, Value], str]] = {}  # registers and label at the end of each block
        self.phi_places: list[tuple[Block, int]] = []
        self.kinds = 0  # of the instruction being written
        self.traps = False
        self.loads_packet = False
        self.counts_turns = any(_is_may_goto(self._insn(s)) for b in routine.blocks.values() for s in b.slots)

    def _insn(self, slot: int) -> Instruction:
        insn = self.unit.table[slot]
        if insn is None:
            raise InternalError(f"slot {slot} is the middle of an instruction")
        return insn

    def text(self) -> str:
        """The whole definition."""
        body, routine = self.body, self.routine
        body.start("entry")
        self._open()
        self._prepare(routine.blocks[routine.start])
        self.exits[-1] = (body.registers, body.label)
        body.emit(f"br label %b{routine.start}")
        for block in routine.blocks.values():
            self._write_block(block)
        if self.traps:
            body.start("trap")
            body.emit("call void @llvm.trap()")
            body.emit("unreachable")
        if self.loads_packet:
            body.start("outside")
            body.emit(f"ret {self._result_type()} {'null' if self._result_type() == 'ptr' else '0'}")
        self._insert_phis()
        return "\n".join([f"define {self._head()} {{", *body.lines, "}"])

    def _head(self) -> str:
        if self.is_entry:
            return "i64 @skep_program(ptr noundef nonnull %run, ptr noundef nonnull %ctx) nounwind"
        returns, types = signature(self.routine)
        arguments = [f"{kind} %a{number}" for number, kind in enumerate(types, 1)]
        hidden = ["ptr %run"] if self.routine.callback else ["ptr %run", "ptr %ctx"]
        return f"internal {returns} @{self.routine.name}({', '.join(hidden + arguments)}) nounwind"

    def _result_type(self) -> str:
        return "i64" if self.is_entry else signature(self.routine)[0]

    def _open(self) -> None:
        """The entry block: arguments, stack frame."""
        body, unit = self.body, self.unit
        if self.is_entry:
            body.set_pointer(Reg.R1, "%ctx")
            if unit.memory_size is not None:
                body.set_integer(Reg.R2, str(unit.memory_size))
        else:
            for number, kind in enumerate(signature(self.routine)[1], 1):
                (body.set_pointer if kind == "ptr" else body.set_integer)(number, f"%a{number}")
        if self.routine.callback and unit.rows.context is not None:
            native = unit.rows.context
            declare(unit, native.symbol, "ptr", ["ptr"])
            body.emit(f"%ctx = call ptr @{native.symbol}(ptr %run)")
        depth = -(-unit.facts.stack_depth.get(self.routine.start, 512) // STACK_ALIGN) * STACK_ALIGN
        body.emit(f"%stack = alloca [{depth} x i8], align {STACK_ALIGN}")
        if depth and unit.facts.reads_uninit_stack:
            body.emit(f"store [{depth} x i8] zeroinitializer, ptr %stack, align {STACK_ALIGN}")
        body.set_pointer(Reg.R10, body.offset("%stack", str(depth)))
        if self.counts_turns:
            body.emit("%turns = alloca i64, align 8")
            body.emit(f"store i64 {MAX_LOOPS}, ptr %turns, align 8")

    # ---- registers between blocks ----

    def _edges(self, block: Block) -> list[int]:
        """Where control comes from: block starts, -1 for the entry block."""
        return ([-1] if block.start == self.routine.start else []) + block.predecessors

    def _write_block(self, block: Block) -> None:
        body = self.body
        body.start(f"b{block.start}")
        edges = self._edges(block)
        if len(edges) == 1:
            registers, _ = self.exits[edges[0]]
            body.registers = {r: value.copy() for r, value in registers.items()}
        else:
            self._enter_with_phis(block)
        self.kinds = self.routine.kinds[block.start]
        for slot in block.slots[:-1]:
            self._write(slot)
        last = block.slots[-1]
        insn = self._insn(last)
        ends_with_jump = insn.opcode & op.CLASS_MASK in (op.JMP, op.JMP32) and insn.opcode & op.CODE_MASK != op.CALL
        if not ends_with_jump:
            self._write(last)
        for target in block.successors:
            if target in self.routine.blocks:
                self._prepare(self.routine.blocks[target])
        self.exits[block.start] = (body.registers, body.label)
        if ends_with_jump:
            self._write_jump(insn, last, block)
        else:
            body.emit(f"br label %{self._target(block.successors[0])}")

    def _enter_with_phis(self, block: Block) -> None:
        self.phi_places.append((block, len(self.body.lines)))
        kinds = self.routine.kinds[block.start]
        self.body.registers = {Reg.R10: self.exits[-1][0][Reg.R10].copy()}
        for register in range(10):
            if block.live_in >> register & 1:
                name = f"%p{block.start}.{register}"
                setter = self.body.set_pointer if kinds >> register & 1 else self.body.set_integer
                setter(register, name)

    def _prepare(self, following: Block) -> None:
        """Make the forms of registers that the phis of a block want, while the block before it is still open."""
        if len(self._edges(following)) == 1:
            return
        kinds = self.routine.kinds[following.start]
        for register in range(10):
            if following.live_in >> register & 1:
                (self.body.pointer if kinds >> register & 1 else self.body.integer)(register)

    def _insert_phis(self) -> None:
        for block, place in reversed(self.phi_places):
            kinds = self.routine.kinds[block.start]
            phis = []
            for register in range(10):
                if not block.live_in >> register & 1:
                    continue
                is_pointer = bool(kinds >> register & 1)
                sources = []
                for edge in self._edges(block):
                    registers, label = self.exits[edge]
                    value = registers.get(register, Value("0", "null"))
                    operand = value.pointer if is_pointer else value.integer
                    if operand is None:
                        raise InternalError(f"register {register} enters slot {block.start} in the wrong form")
                    sources.append(f"[ {operand}, %{label} ]")
                kind = "ptr" if is_pointer else "i64"
                phis.append(f"  %p{block.start}.{register} = phi {kind} {', '.join(sources)}")
            self.body.lines[place:place] = phis

    # ---- instructions ----

    def _write(self, slot: int) -> None:
        insn, body, unit = self._insn(slot), self.body, self.unit
        group = insn.opcode & op.CLASS_MASK
        access = unit.facts.accesses.get(slot)
        if access is not None and access.region is Region.KERNEL:
            raise unit.unsupported("the vm engine has no objects of the kernel to look into", slot, _ON_THE_KERNEL)
        if group in (op.ALU, op.ALU64):
            if insn.opcode & op.CODE_MASK == op.MOV and insn.off == 1:
                raise unit.unsupported("arenas (address-space casts) are not compiled", slot, 'use engine="kernel"')
            emit_alu(body, insn, self.kinds, unit.little_endian)
        elif group in (op.JMP, op.JMP32):
            if is_tail_call(unit, insn, slot):
                emit_tail_call(body, unit, insn, slot, self.is_entry)
            else:
                emit_call(body, unit, insn, slot)
        elif group == op.LD:
            self._write_ld(insn, slot)
        elif group == op.LDX:
            self._write_load(insn, slot)
        elif insn.opcode & op.MODE_MASK == op.ATOMIC:
            emit_atomic(body, insn, access, slot in unit.facts.pointer_results)
        else:
            emit_store(body, insn, access, bool(self.kinds >> insn.src & 1))
        self.kinds = self.flow.after(slot, self.kinds, self.routine)

    def _write_load(self, insn: Instruction, slot: int) -> None:
        access = self.unit.facts.accesses.get(slot)
        if access is not None and access.region is Region.CONTEXT and access.field is not None:
            native = self.unit.rows.fields.get(access.field.kind)
            if native is not None:
                self.body.set_pointer(insn.dst, call_native(self.body, self.unit, native))
                return
            if self.flow.loads_pointer(insn, slot):
                what = f"the context field {access.field.name} has no meaning on the vm engine"
                raise self.unit.unsupported(what, slot, _ON_THE_KERNEL)
        emit_load(self.body, insn, access, self.flow.loads_pointer(insn, slot))

    def _write_ld(self, insn: Instruction, slot: int) -> None:
        body, unit = self.body, self.unit
        if insn.opcode & op.MODE_MASK != op.IMM:
            self._write_packet_load(insn, slot)
        elif isinstance(insn.ref, MapRef):
            body.set_pointer(insn.dst, unit.map_symbol(insn.ref.name))
        elif isinstance(insn.ref, MapValueRef):
            body.set_pointer(insn.dst, unit.value_address(insn.ref.name, insn.ref.offset))
        elif is_address(insn):
            function = self._function(insn, slot)
            body.set_pointer(insn.dst, f"@{function.name}" if function is not None else "null")
        elif insn.ref is not None:
            what = "the vm engine has no kernel symbols (ksyms)"
            raise unit.unsupported(what, slot, 'load it with engine="kernel", or make the symbol __weak')
        else:
            body.set_integer(insn.dst, str(signed(insn.imm, 64)))

    def _function(self, insn: Instruction, slot: int) -> Routine | None:
        """The subprogram whose address an LD_IMM64 loads, by name, or by distance as the kernel wants.

        None: it never runs (the callback of a bpf_loop of no turns), so there is no code of it.
        """
        name = getattr(insn.ref, "name", None)
        for subprogram in self.unit.linked.subprograms:
            if name == subprogram.name or (name is None and subprogram.start == slot + 1 + signed(insn.imm, 32)):
                return self.unit.routines.get(subprogram.start)
        raise InternalError(f"instruction {slot} takes the address of an unknown function")

    def _write_packet_load(self, insn: Instruction, slot: int) -> None:
        """LD_ABS, LD_IND: network byte order; outside of the packet the function returns 0 (bpf_gen_ld_abs())."""
        body, unit = self.body, self.unit
        native = unit.rows.load_packet
        if native is None:
            raise unit.unsupported("legacy packet loads are not compiled here", slot, "use direct packet access")
        size = op.SIZE_BYTES[insn.opcode & op.SIZE_MASK]
        offset = str(insn.imm)
        if insn.opcode & op.MODE_MASK == op.IND:
            low = body.narrow(insn.src, 32)  # a 32-bit sum, signed: kernel ld_ind adds in 32 bits
            offset = body.widen(body.assign(f"add i32 {low}, {insn.imm}"), 32, "sext")
        body.forget(range(6))
        body.set_integer(1, offset)
        body.set_integer(2, str(size))
        value = call_native(body, unit, native)
        inside = body.fresh_label()
        missing = body.assign(f"icmp slt i64 {value}, 0")
        self.loads_packet = True
        body.emit(f"br i1 {missing}, label %outside, label %{inside}")
        body.start(inside)
        body.forget(range(6))
        body.set_integer(0, value)

    # ---- control ----

    def _target(self, slot: int) -> str:
        """The label of a slot; dead code (the verifier's word) traps rather than running on."""
        if slot in self.routine.blocks:
            return f"b{slot}"
        self.traps = True
        return "trap"

    def _write_jump(self, insn: Instruction, slot: int, block: Block) -> None:
        body, code = self.body, insn.opcode & op.CODE_MASK
        if code == op.EXIT:
            kind = self._result_type()
            body.emit(f"ret {kind} {body.pointer(0) if kind == 'ptr' else body.integer(0)}")
        elif len(block.successors) == 1:
            body.emit(f"br label %{self._target(block.successors[0])}")
        else:
            condition = self._turns_left() if code == op.JCOND else self._condition(insn, code)
            taken = self._target(jump_target(insn, slot))
            body.emit(f"br i1 {condition}, label %{taken}, label %{self._target(slot + 1)}")

    def _turns_left(self) -> str:
        """may_goto: jump out once the frame has done 8 M turns (kernel: do_misc_fixups(), BPF_MAX_LOOPS)."""
        body = self.body
        left = body.assign("load i64, ptr %turns, align 8")
        done = body.assign(f"icmp eq i64 {left}, 0")
        body.emit(f"store i64 {body.assign(f'sub i64 {left}, 1')}, ptr %turns, align 8")
        return done

    def _condition(self, insn: Instruction, code: int) -> str:
        body = self.body
        by_register = insn.opcode & op.SOURCE_MASK == op.X
        bits = 64 if insn.opcode & op.CLASS_MASK == op.JMP else 32
        dst_pointer = bits == 64 and self.kinds >> insn.dst & 1
        if dst_pointer and code != op.JSET:
            if by_register and self.kinds >> insn.src & 1:
                return body.assign(f"icmp {CONDITIONS[code]} ptr {body.pointer(insn.dst)}, {body.pointer(insn.src)}")
            if not by_register and insn.imm == 0:
                return body.assign(f"icmp {CONDITIONS[code]} ptr {body.pointer(insn.dst)}, null")
        left = body.narrow(insn.dst, bits)
        right = body.narrow(insn.src, bits) if by_register else str(signed(insn.imm, bits))
        if code == op.JSET:
            both = body.assign(f"and i{bits} {left}, {right}")
            return body.assign(f"icmp ne i{bits} {both}, 0")
        return body.assign(f"icmp {CONDITIONS[code]} i{bits} {left}, {right}")


def _is_may_goto(insn: Instruction) -> bool:
    return insn.opcode & op.CLASS_MASK == op.JMP and insn.opcode & op.CODE_MASK == op.JCOND
