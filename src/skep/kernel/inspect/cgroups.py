"""What hangs on cgroups."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from skep.abi.names import name_of
from skep.abi.prog_types import AttachType
from skep.kernel.bpf import links
from skep.kernel.bpf.call import BpfCallError
from skep.kernel.inspect.network import program_name
from skep.kernel.links.places import open_folder

ATTACH_TYPES: Final = tuple(t for t in AttachType if t.name.startswith("CGROUP_") or t is AttachType.LSM_CGROUP)


def read_cgroup(path: str | Path, *, effective: bool = False) -> list[dict[str, Any]]:
    """Programs of one cgroup, as bpftool's ``cgroup show`` in JSON; ``effective``: with those inherited from above.

    Raises:
        EngineError: H0305, no such folder.
    """
    rows: list[dict[str, Any]] = []
    with open_folder(path, "cgroup") as folder:
        for attach_type in ATTACH_TYPES:
            try:
                found = links.query(folder.number, attach_type, links.F_QUERY_EFFECTIVE if effective else 0)
            except BpfCallError:
                continue  # not a cgroup, or this kernel has no such hook
            flags = "" if effective else _flags(found.flags)
            rows += [
                {"id": number, "attach_type": name_of(attach_type), "attach_flags": flags, "name": program_name(number)}
                for number in found.programs
            ]
    return rows


def read_tree(root: Path) -> Iterator[tuple[Path, list[dict[str, Any]]]]:
    """Every cgroup from here on that has programs."""
    for folder, names, _ in os.walk(root):
        names.sort()
        rows = read_cgroup(folder)
        if rows:
            yield Path(folder), rows


def _flags(flags: int) -> str:
    if flags & links.F_ALLOW_MULTI:
        return "multi"
    return "override" if flags & links.F_ALLOW_OVERRIDE else ""
