"""A Target of another kernel version, made from one whose facts are known: "would this load on 5.15?"."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from skep.abi.features import Version
from skep.abi.helpers import HELPERS
from skep.abi.history import since_text
from skep.abi.kfuncs import KFUNCS
from skep.btf.masked import without
from skep.model.target import Target


def as_kernel(target: Target, version: Version, weak_functions: Iterable[str] = ()) -> Target:
    """The Target as a kernel of this version.

    Its types stay those of the kernel they were taken from (another kernel's are not known here; ``--target FILE`` has
    them), but what programs ask for is answered as that version would: which helpers there are (``enum bpf_func_id``),
    and whether a weak kernel function exists.

    Args:
        weak_functions: kernel functions that the program declares weak: hidden where they came later.
    """
    helpers = max((row.id for row in HELPERS.values() if row.since <= version), default=0)
    newer = frozenset(name for name in weak_functions if name in KFUNCS and KFUNCS[name].since > version)
    btf = target.btf if target.btf is None else without(target.btf, newer, {"bpf_func_id": helpers})
    return replace(target, name=f"Linux {since_text(version)}", kernel_version=(*version, 0), btf=btf)
