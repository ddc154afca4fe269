"""Loads, stores and atomics (RFC 9669 section 5) as LLVM IR.

Plain accesses have alignment 1, because eBPF promises none; it costs nothing on the machines we make code for. The
region that the verifier proved goes into alias metadata: packet, map value and context never overlap.

Loads are neither volatile nor atomic, so that LLVM can vectorise and combine them. Another thread may change a map
value between two loads of the program, and the verifier knows that; what it relies on is that one load of the program
is not made twice (once for a check, once for the use). LLVM repeats loads only from memory known to be constant.
"""

from __future__ import annotations

from skep.errors import InternalError
from skep.isa import opcodes as op
from skep.isa.instruction import Instruction
from skep.jit.values import Body, signed
from skep.model.programs import Access, Region

SCOPES = {Region.PACKET: 1, Region.MAP_VALUE: 2, Region.CONTEXT: 3}
RMW = {op.ATOMIC_ADD: "add", op.ATOMIC_OR: "or", op.ATOMIC_AND: "and", op.ATOMIC_XOR: "xor"}


_FIRST_NODE = 900000  # far from the numbers of the runtime's metadata, which is put into the same text
_ALL_REGIONS = _FIRST_NODE + 30


def alias_metadata() -> list[str]:
    """The module's metadata nodes that :func:`alias_suffix` refers to (LLVM LangRef, alias.scope)."""
    lines = [f'!{_FIRST_NODE} = distinct !{{!{_FIRST_NODE}, !"regions"}}']
    scopes = {region: _FIRST_NODE + number for region, number in SCOPES.items()}
    for region, scope in scopes.items():
        lines.append(f'!{scope} = distinct !{{!{scope}, !{_FIRST_NODE}, !"{region.value}"}}')
        lines.append(f"!{scope + 10} = !{{!{scope}}}")
        others = ", ".join(f"!{other}" for other in scopes.values() if other != scope)
        lines.append(f"!{scope + 20} = !{{{others}}}")
    lines.append(f"!{_ALL_REGIONS} = !{{" + ", ".join(f"!{scope}" for scope in scopes.values()) + "}")
    return lines


def alias_suffix(access: Access | None) -> str:
    """Metadata of one access: the region it is in, and those it is not in. Unknown regions say nothing."""
    if access is None:
        return ""
    number = SCOPES.get(access.region)
    if number is not None:
        return f", !alias.scope !{_FIRST_NODE + number + 10}, !noalias !{_FIRST_NODE + number + 20}"
    return f", !noalias !{_ALL_REGIONS}" if access.region is Region.STACK else ""


def emit_load(body: Body, insn: Instruction, access: Access | None, yields_pointer: bool) -> None:
    """LDX in mode MEM or MEMSX."""
    bits = op.SIZE_BYTES[insn.opcode & op.SIZE_MASK] * 8
    address = body.offset(body.pointer(insn.src), str(insn.off))
    suffix = alias_suffix(access)
    if yields_pointer:
        body.set_pointer(insn.dst, body.assign(f"load ptr, ptr {address}, align 1{suffix}"))
        return
    value = body.assign(f"load i{bits}, ptr {address}, align 1{suffix}")
    extend = "sext" if insn.opcode & op.MODE_MASK == op.MEMSX else "zext"
    body.set_integer(insn.dst, body.widen(value, bits, extend))


def emit_store(body: Body, insn: Instruction, access: Access | None, stores_pointer: bool) -> None:
    """ST (immediate) and STX (register) in mode MEM; ``stores_pointer``: the register holds an address."""
    bits = op.SIZE_BYTES[insn.opcode & op.SIZE_MASK] * 8
    address = body.offset(body.pointer(insn.dst), str(insn.off))
    suffix = alias_suffix(access)
    if insn.opcode & op.CLASS_MASK == op.ST:
        body.emit(f"store i{bits} {signed(insn.imm, bits)}, ptr {address}, align 1{suffix}")
    elif bits == 64 and stores_pointer:
        body.emit(f"store ptr {body.pointer(insn.src)}, ptr {address}, align 1{suffix}")
    else:
        body.emit(f"store i{bits} {body.narrow(insn.src, bits)}, ptr {address}, align 1{suffix}")


def emit_atomic(body: Body, insn: Instruction, access: Access | None, yields_pointer: bool) -> None:
    """Atomics (RFC 9669 section 5.3). Those that fetch are full barriers, the others are relaxed, as in the kernel."""
    size = op.SIZE_BYTES[insn.opcode & op.SIZE_MASK]
    bits = size * 8
    if insn.imm == op.LOAD_ACQUIRE:
        address = body.offset(body.pointer(insn.src), str(insn.off))
        if yields_pointer:
            body.set_pointer(insn.dst, body.assign(f"load atomic ptr, ptr {address} acquire, align 8"))
            return
        value = body.assign(f"load atomic i{bits}, ptr {address} acquire, align {size}")
        body.set_integer(insn.dst, body.widen(value, bits))
        return
    address = body.offset(body.pointer(insn.dst), str(insn.off))
    value = body.narrow(insn.src, bits)
    if insn.imm == op.STORE_RELEASE:
        body.emit(f"store atomic i{bits} {value}, ptr {address} release, align {size}")
    elif insn.imm == op.CMPXCHG:
        expected = body.narrow(0, bits)
        pair = body.assign(f"cmpxchg ptr {address}, i{bits} {expected}, i{bits} {value} seq_cst seq_cst, align {size}")
        old = body.assign(f"extractvalue {{ i{bits}, i1 }} {pair}, 0")
        body.set_integer(0, body.widen(old, bits))
    elif insn.imm == op.XCHG:
        old = body.assign(f"atomicrmw xchg ptr {address}, i{bits} {value} seq_cst, align {size}")
        body.set_integer(insn.src, body.widen(old, bits))
    elif insn.imm & ~op.FETCH in RMW:
        fetches = bool(insn.imm & op.FETCH)
        order = "seq_cst" if fetches else "monotonic"
        name = RMW[insn.imm & ~op.FETCH]
        old = body.assign(f"atomicrmw {name} ptr {address}, i{bits} {value} {order}, align {size}")
        if fetches:
            body.set_integer(insn.src, body.widen(old, bits))
    else:
        raise InternalError(f"atomic operation {insn.imm:#x} reached the JIT")
