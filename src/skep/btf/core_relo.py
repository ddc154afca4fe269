"""CO-RE: one relocation of a program against a Target's types, as libbpf does it (bpf_core_calc_relo_insn)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from skep.btf.compat import Matcher
from skep.btf.core_kinds import CoreKind, CoreRelocation, CoreResult
from skep.btf.core_spec import ENUM_KINDS, TYPE_KINDS, CoreSpec, match_enumerator, match_field, parse_spec
from skep.btf.core_values import Computed, compute, may_change_load
from skep.btf.types import Btf, Enum, Enum64, essential_name
from skep.diagnostics import Diagnostic
from skep.errors import LinkError

__all__ = ["CoreKind", "CoreRelocation", "CoreResult", "resolve"]

_NO_MODULES: Mapping[str, Btf] = {}


@dataclass(frozen=True, slots=True)
class _Match:
    spec: CoreSpec
    computed: Computed | None
    module: str | None


def resolve(
    local: Btf, relocation: CoreRelocation, target: Btf | None, modules: Mapping[str, Btf] = _NO_MODULES
) -> CoreResult:
    """The answer for one relocation.

    Args:
        local: types of the object that the relocation is in.
        target: types of the kernel; only TYPE_ID_LOCAL can do without.
        modules: split BTF by module name; searched when the kernel itself has no type of the name.

    Raises:
        BtfError: B0303 a broken accessor, B0304, B0305 what no number can answer.
        LinkError: B0301 no target types; B0302 candidates disagree; B0306 a local type without name.
    """
    spec = parse_spec(local, relocation)
    mine = compute(relocation.kind, spec)
    assert mine is not None  # only a missing spec gives None
    if relocation.kind is CoreKind.TYPE_ID_LOCAL:
        return CoreResult(relocation.type, True, what=str(spec), target_type=relocation.type)
    name = essential_name(local[relocation.type].name)
    if not name:
        raise LinkError(Diagnostic("B0306", f"CO-RE: BTF type {relocation.type} has no name to look for"))
    if target is None:
        raise LinkError(
            Diagnostic(
                "B0301",
                f"CO-RE needs the types of the target to find {spec}",
                help="give the target's BTF (on Linux: /sys/kernel/btf/vmlinux)",
            )
        )
    matches = _matches(spec, relocation.kind, name, target, modules)
    _check_agreement(spec, matches)
    return _result(relocation, spec, mine, matches[0] if matches else None)


def _matches(spec: CoreSpec, kind: CoreKind, name: str, target: Btf, modules: Mapping[str, Btf]) -> list[_Match]:
    matches: list[_Match] = []
    for module, btf, ids in _candidates(spec, name, target, modules):
        matcher = Matcher(spec.btf, btf)
        for type_id in ids:
            found: CoreSpec | None
            if kind in TYPE_KINDS:
                accepts = matcher.match if kind is CoreKind.TYPE_MATCHES else matcher.are_compatible
                found = CoreSpec(btf, type_id) if accepts(spec.root, type_id) else None
            elif kind in ENUM_KINDS:
                found = match_enumerator(spec, btf, type_id)
            else:
                found = match_field(spec, btf, type_id)
            if found is not None:
                matches.append(_Match(found, compute(kind, found), module))
    return matches


def _candidates(
    spec: CoreSpec, name: str, target: Btf, modules: Mapping[str, Btf]
) -> list[tuple[str | None, Btf, list[int]]]:
    """Types of the same kind whose names are equal without flavors; modules only if the kernel itself has none."""
    local = spec.btf[spec.root]
    kinds: tuple[type, ...] = (Enum, Enum64) if isinstance(local, Enum | Enum64) else (type(local),)
    ids = target.find_essential(name, *kinds)
    if ids:
        return [(None, target, ids)]
    found: list[tuple[str | None, Btf, list[int]]] = []
    for module, btf in modules.items():
        own = [i for i in btf.find_essential(name, *kinds) if i >= btf.start_id]
        if own:
            found.append((module, btf, own))
    return found


def _check_agreement(spec: CoreSpec, matches: list[_Match]) -> None:
    """Several candidates may fit only if they all give one answer."""
    for other in matches[1:]:
        first = matches[0]
        values = [each.computed.value if each.computed else None for each in (first, other)]
        if first.spec.bit_offset == other.spec.bit_offset and values[0] == values[1]:
            continue
        raise LinkError(
            Diagnostic(
                "B0302",
                f"CO-RE: the target has several answers for {spec}",
                why=tuple(
                    f"type {each.spec.root}{f' of module {each.module}' if each.module else ''} gives {value}"
                    for each, value in zip((first, other), values, strict=True)
                ),
                help="make the local type say more, so that only one of the target's types fits",
            )
        )


def _result(relocation: CoreRelocation, spec: CoreSpec, mine: Computed, match: _Match | None) -> CoreResult:
    local_value = mine.value if mine.exact else None
    computed = match.computed if match else compute(relocation.kind, None)
    if computed is None:
        reason = f"the target has no {spec} with a compatible type"
        return CoreResult(None, False, local_value, what=str(spec), reason=reason)
    load_size, is_safe, reason_text = None, True, None
    if mine.size and computed.size and mine.size != computed.size:
        load_size = computed.size
        if not may_change_load(mine, computed):
            is_safe = False
            reason_text = f"{spec} has {mine.size} bytes here and {computed.size} in the target"
    return CoreResult(
        computed.value,
        match is not None,
        local_value,
        load_size,
        is_safe,
        str(spec),
        reason_text,
        match.spec.root if match else 0,
        match.module if match else None,
    )
