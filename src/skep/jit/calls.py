"""Calls: helpers through rows of native functions, subprograms, tail calls, and bpf_loop as a loop."""

from __future__ import annotations

from skep.errors import InternalError
from skep.isa.instruction import Instruction
from skep.jit.blocks import is_helper_call, is_kfunc_call, is_local_call
from skep.jit.kinds import Routine
from skep.jit.native import Lowering, Native, Returns
from skep.jit.unit import Unit, map_argument
from skep.jit.values import Body
from skep.model.programs import CallFact

E2BIG, EINVAL = 7, 22
MAX_LOOPS = 8 << 20  # BPF_MAX_LOOPS, include/linux/bpf.h

_SPEC_FIELDS = {"key_size": "key_size", "value_size": "value_size", "max_entries": "max_entries", "map_flags": "flags"}


def emit_call(body: Body, unit: Unit, insn: Instruction, slot: int) -> None:
    """One CALL, except bpf_tail_call, which may not come back."""
    if is_local_call(insn):
        _emit_local(body, unit.routines[slot + 1 + insn.imm])
        return
    fact = None
    if is_kfunc_call(insn):
        native = unit.find_kfunc(insn, slot)
    else:
        fact = unit.call_fact(insn, slot)
        native = unit.find_native(fact, slot)
        if native.lowering is Lowering.INLINE_LOOP:
            _emit_loop(body, unit, fact)
            return
    result = call_native(body, unit, native, fact)
    body.forget(range(6))
    if native.returns is Returns.PTR:
        body.set_pointer(0, result)
    elif native.returns is Returns.I64:
        body.set_integer(0, result)


def call_native(body: Body, unit: Unit, native: Native, fact: CallFact | None = None) -> str:
    """Emit the call of a row's C function; the name of its result ("" for void)."""
    operands = [_operand(body, unit, token, fact) for token in native.params]
    types = [operand.split(" ", 1)[0] for operand in operands]
    declare(unit, native.symbol, native.returns.value, types)
    call = f"call {native.returns.value} @{native.symbol}({', '.join(operands)})"
    if native.returns is Returns.VOID:
        body.emit(call)
        return ""
    return body.assign(call)


def declare(unit: Unit, symbol: str, returns: str, types: list[str]) -> None:
    """Note that a C function is used, with this type; two types for one function are a bug in a table."""
    prototype = f"{returns} ({', '.join(types)})"
    if unit.declared.setdefault(symbol, prototype) != prototype:
        raise InternalError(f"{symbol} is used as {prototype} and as {unit.declared[symbol]}")


def _operand(body: Body, unit: Unit, token: str, fact: CallFact | None) -> str:
    """One argument with its type, from a token of jit.native.PARAM_TOKENS."""
    if token in ("run", "ctx"):
        return f"ptr %{token}"
    if token[0] == "r" and token[1:].isdigit():
        return f"i64 {body.integer(int(token[1:]))}"
    if token[0] == "p" and token[1:].isdigit():
        return f"ptr {body.pointer(int(token[1:]))}"
    if fact is None:
        raise InternalError(f"parameter {token!r} without a helper call")
    if token == "map":
        if fact.map is not None:
            return f"ptr {unit.map_symbol(fact.map)}"
        return f"ptr {body.pointer(map_argument(fact.helper))}"
    if token in _SPEC_FIELDS:
        return f"i32 {_spec_constant(unit, token, fact)}"
    raise InternalError(f"unknown parameter {token!r} in a row of native functions")


def _spec_constant(unit: Unit, token: str, fact: CallFact) -> int:
    """A number from the map's blueprint; 0: not known (an inner map shares only the sizes of its template)."""
    spec = unit.map_spec(fact)
    if spec is None or (fact.map is None and token not in ("key_size", "value_size")):
        return 0
    return int(getattr(spec, _SPEC_FIELDS[token]))


def signature(routine: Routine) -> tuple[str, list[str]]:
    """LLVM result and parameter types of a subprogram, without the leading ``run`` and ``ctx``."""
    if routine.callback:
        return "i64", ["i64"] * 5
    types = ["ptr" if routine.parameters >> number & 1 else "i64" for number in range(1, 6)]
    return ("ptr" if routine.returns_pointer else "i64"), types


def call_routine(body: Body, routine: Routine, operands: list[str]) -> str:
    """Emit the call of a subprogram; the name of its result."""
    returns, types = signature(routine)
    arguments = [f"{kind} {operand}" for kind, operand in zip(types, operands, strict=True)]
    hidden = ["ptr %run"] if routine.callback else ["ptr %run", "ptr %ctx"]
    return body.assign(f"call {returns} @{routine.name}({', '.join(hidden + arguments)})")


def _emit_local(body: Body, routine: Routine) -> None:
    returns, types = signature(routine)
    operands = [body.pointer(n) if kind == "ptr" else body.integer(n) for n, kind in enumerate(types, 1)]
    result = call_routine(body, routine, operands)
    body.forget(range(6))
    if returns == "ptr":
        body.set_pointer(0, result)
    else:
        body.set_integer(0, result)


def _emit_loop(body: Body, unit: Unit, fact: CallFact) -> None:
    """bpf_loop(nr_loops, callback, context, flags): kernel/bpf/bpf_iter.c, bpf_loop().

    Returns the number of iterations done; the callback ends the loop with a result other than 0.
    """
    count = body.widen(body.narrow(1, 32), 32)
    context_pointer, context = body.pointer(3), body.integer(3)
    flags = body.integer(4)
    callback = unit.routines.get(fact.callback) if fact.callback is not None else None
    function = "" if callback is not None else body.pointer(2)
    checked, head, run, done = (body.fresh_label() for _ in range(4))
    bad_flags = body.assign(f"icmp ne i64 {flags}, 0")
    too_many = body.assign(f"icmp ugt i64 {count}, {MAX_LOOPS}")
    bad = body.assign(f"or i1 {bad_flags}, {too_many}")
    errno = body.assign(f"select i1 {bad_flags}, i64 {-EINVAL}, i64 {-E2BIG}")
    start = body.label
    body.emit(f"br i1 {bad}, label %{done}, label %{checked}")
    body.start(checked)
    body.emit(f"br label %{head}")
    body.start(head)
    index, following = f"%{head}.i", f"%{run}.i"
    body.emit(f"{index} = phi i64 [ 0, %{checked} ], [ {following}, %{run} ]")
    more = body.assign(f"icmp ult i64 {index}, {count}")
    body.emit(f"br i1 {more}, label %{run}, label %{done}")
    body.start(run)
    if callback is not None:
        returns, types = signature(callback)
        operands = [index, context_pointer if types[1] == "ptr" else context]
        operands += ["null" if kind == "ptr" else "0" for kind in types[2:]]
        result = call_routine(body, callback, operands)
        if returns == "ptr":  # r0 holds a pointer that is known to be NULL there
            result = body.assign(f"ptrtoint ptr {result} to i64")
    else:
        result = body.assign(f"call i64 {function}(ptr %run, i64 {index}, i64 {context}, i64 0, i64 0, i64 0)")
    body.emit(f"{following} = add nuw i64 {index}, 1")
    stop = body.assign(f"icmp ne i64 {result}, 0")
    body.emit(f"br i1 {stop}, label %{done}, label %{head}")
    body.start(done)
    turns = body.assign(f"phi i64 [ {errno}, %{start} ], [ {index}, %{head} ], [ {following}, %{run} ]")
    body.forget(range(6))
    body.set_integer(0, turns)


def is_tail_call(unit: Unit, insn: Instruction, slot: int) -> bool:
    """Whether a CALL is bpf_tail_call, by its row."""
    if not is_helper_call(insn):
        return False
    fact = unit.call_fact(insn, slot)
    return unit.find_native(fact, slot).lowering is Lowering.TAIL_CALL


def emit_tail_call(body: Body, unit: Unit, insn: Instruction, slot: int, in_program: bool) -> None:
    """bpf_tail_call: jump to another program's code, and come back only where there is none (or after 33)."""
    fact = unit.call_fact(insn, slot)
    native = unit.find_native(fact, slot)
    function = call_native(body, unit, native, fact)
    exists = body.assign(f"icmp ne ptr {function}, null")
    jump, stay = body.fresh_label(), body.fresh_label()
    body.emit(f"br i1 {exists}, label %{jump}, label %{stay}")
    body.start(jump)
    how = "musttail call" if in_program else "call"
    result = body.assign(f"{how} i64 {function}(ptr %run, ptr %ctx)")
    body.emit(f"ret i64 {result}")
    body.start(stay)
    body.forget(range(6))
    body.set_integer(0, str(-EINVAL))
