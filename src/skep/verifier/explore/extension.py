"""Programs that replace a function of another program (freplace): do they stand in for it?

A replacement is judged as the program that it extends would be: its type, its attach type, its context; it begins with
whatever its prototype allows, as a global function does (kernel: bpf_check_attach_target, btf_check_func_type_match).
"""

from __future__ import annotations

from dataclasses import replace

from skep.abi.prog_types import ProgType
from skep.btf import types as t
from skep.model.programs import LinkedProgram, Subprogram
from skep.verifier.flow import cfg
from skep.verifier.options import Options
from skep.verifier.requirements.kinds import Rule, Supported, Violation
from skep.verifier.state.catcher import exception_callback
from skep.verifier.state.functions import Passed
from skep.verifier.state.world import World

_TYPED = frozenset({ProgType.TRACING, ProgType.LSM, ProgType.STRUCT_OPS})
_GLOBAL = 1  # BTF_FUNC_GLOBAL


def as_extended(linked: LinkedProgram, options: Options) -> LinkedProgram | Violation:
    """The replacement as a program of the type that it extends; or why it cannot replace the function."""
    target = linked.extends
    if target is None:
        feature = "programs that replace a function of another one, where nobody says of which"
        instead = f'say which:  --extends FILE:PROGRAM, or skep.load(..., extends={{"{linked.name}": program}})'
        values: dict[str, object] = {"feature": feature, "instead": instead}
        return Violation(Rule.UNSUPPORTED, Supported(feature, instead), feature, None, values, 0)
    if target.prog_type in _TYPED:
        feature = f"programs that replace a function of a {target.prog_type.name.lower()} program"
        return Violation(Rule.UNSUPPORTED, Supported(feature), feature, None, {"feature": feature, "instead": ""}, 0)
    said = _refused(linked, target, options)
    if said is not None:
        return Violation(Rule.EXTENSION, None, said, None, {"function": linked.attach_to, "reason": said}, 0)
    return replace(linked, prog_type=target.prog_type, attach_type=target.attach_type)


def _refused(linked: LinkedProgram, target: LinkedProgram, options: Options) -> str | None:
    """The kernel's sentence; None: it may stand in."""
    name = linked.attach_to
    replaced = next((sub for sub in target.subprograms if sub.name == name), None)
    if target.btf is None:
        return "Tracing program can only attach to another program annotated with BTF"
    if replaced is None:
        return f"Subprog {name} doesn't exist"
    if replaced.start == exception_callback(target):
        return "Extension programs cannot attach to exception callback"
    if target.prog_type is ProgType.EXT:
        return "Cannot recursively attach"
    if linked.sleepable:
        return "Only fentry/fexit/fmod_ret, lsm, iter, uprobe, and struct_ops programs can be sleepable"
    old, new = _function(target.btf, replaced.btf_id), _function(linked.btf, linked.subprograms[0].btf_id)
    if old is None or old.linkage != _GLOBAL or not _is_reliable(target, replaced, options):
        return "Cannot replace static functions"
    if new is None:
        return "Program extension requires BTF"
    return _changes_more(linked, target, replaced, options) or _mismatch(linked.btf, new, target.btf, old)


def _is_reliable(target: LinkedProgram, replaced: Subprogram, options: Options) -> bool:
    """An entry's prototype says what it is given only where it is the context alone (kernel: do_check_common)."""
    if replaced.start:
        return True
    expected = _world(target, options).parameters(0)
    return not isinstance(expected, str) and [each.kind for each in expected] == [Passed.CONTEXT]


def _changes_more(linked: LinkedProgram, target: LinkedProgram, replaced: Subprogram, options: Options) -> str | None:
    """The callers of the function were judged for what it does: the replacement must not do more."""
    ours, theirs = _world(linked, options), _world(target, options)
    if ours.changes_packet(0) and not theirs.changes_packet(replaced.start):
        return "Extension program changes packet data, while original does not"
    if ours.may_sleep(0) and not theirs.may_sleep(replaced.start):
        return "Extension program may sleep, while original does not"
    return None


def _world(linked: LinkedProgram, options: Options) -> World:
    return World(linked, options, cfg.build(linked.insns, {sub.name: sub.start for sub in linked.subprograms}))


def _function(btf: t.Btf | None, type_id: int) -> t.Func | None:
    found = btf[type_id] if btf is not None and 0 < type_id < len(btf) else None
    return found if isinstance(found, t.Func) else None


def _mismatch(ours: t.Btf | None, new: t.Func, theirs: t.Btf, old: t.Func) -> str | None:
    """Both have the same prototype (kernel: btf_check_func_type_match)."""
    assert ours is not None
    for function in (new, old):
        if function.linkage != _GLOBAL:
            return f"{function.name}() is not a global function"
    a, b = ours[new.type], theirs[old.type]
    if not isinstance(a, t.FuncProto) or not isinstance(b, t.FuncProto):
        return f"{new.name}() has no prototype"
    if len(a.params) != len(b.params):
        return f"{new.name}() has {len(a.params)} args while {old.name}() has {len(b.params)} args"
    results = ours[ours.strip(a.ret)], theirs[theirs.strip(b.ret)]
    if _shape(results[0]) != _shape(results[1]):
        return f"Return type {_kind(results[0])} of {new.name}() doesn't match type {_kind(results[1])} of {old.name}()"
    for index, (first, second) in enumerate(zip(a.params, b.params, strict=True)):
        said = _different(index, ours, first.type, theirs, second.type, new.name, old.name)
        if said is not None:
            return said
    return None


def _different(index: int, ours: t.Btf, a: int, theirs: t.Btf, b: int, new: str, old: str) -> str | None:
    first, second = ours[ours.strip(a)], theirs[theirs.strip(b)]
    if _shape(first) != _shape(second):
        return f"arg{index} in {new}() is {_kind(first)} while {old}() has {_kind(second)}"
    sizes = getattr(first, "size", 0), getattr(second, "size", 0)
    if sizes[0] != sizes[1]:
        return f"arg{index} in {new}() has size {sizes[0]} while {old}() has {sizes[1]}"
    if isinstance(first, (t.Int, t.Enum, t.Enum64)):
        return None
    if not isinstance(first, t.Ptr) or not isinstance(second, t.Ptr):
        return f"arg{index} in {new}() has unrecognized type"
    for btf, pointer, name in ((ours, first, new), (theirs, second, old)):
        if not isinstance(btf[btf.strip(pointer.type)], (t.Struct, t.Union)):
            return f"arg{index} in {name}() is not a pointer to context"
    structs = ours[ours.strip(first.type)].name, theirs[theirs.strip(second.type)].name
    if structs[0] != structs[1]:
        return f"arg{index} {new}(struct {structs[0]} *) doesn't match {old}(struct {structs[1]} *)"
    return None


def _shape(found: t.BtfType) -> tuple[str, int, bool]:
    """What the kernel compares: kind, number of parts, and whether an enum is signed (btf_type.info)."""
    parts = getattr(found, "members", getattr(found, "values", getattr(found, "params", ())))
    return type(found).__name__, len(parts), isinstance(found, (t.Enum, t.Enum64)) and found.signed


def _kind(found: t.BtfType) -> str:
    return "UNKNOWN" if isinstance(found, t.Void) else type(found).__name__.upper()
