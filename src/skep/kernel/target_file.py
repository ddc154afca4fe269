"""A Target as one file: facts of a kernel taken along, so that objects can be linked and verified for it elsewhere.

A zip with ``target.json`` (version, configuration, features, types of programs and maps, names of symbols),
``vmlinux.btf`` and ``modules/NAME.btf``. Addresses of symbols are left out: they say where a kernel lies.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any, Final

from skep.abi.helpers import HELPERS
from skep.abi.map_types import MapType
from skep.abi.names import find_map_type, name_of
from skep.abi.prog_types import ProgType
from skep.btf.reader import parse_btf
from skep.btf.types import Btf, Enum
from skep.diagnostics import Diagnostic
from skep.errors import InputError
from skep.kernel import host, probes
from skep.kernel.target import kernel_target
from skep.model.target import Target

FORMAT: Final = 1
_MAX_BYTES: Final = 1 << 30  # of one entry: a kernel's BTF has some megabytes
#: What zipfile, zlib, json and wrong kinds of values raise.
_BROKEN: Final = (
    zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError, TypeError, AttributeError, OSError, RuntimeError,
)  # fmt: skip
_HELPER_ENUM: Final = "bpf_func_id"
_HELPER_PREFIX: Final = "BPF_FUNC_"


def kernel_helpers(btf: Btf | None) -> frozenset[int]:
    """The helpers that a kernel has, by its own list (enum bpf_func_id); empty: it does not say."""
    found = btf.find(_HELPER_ENUM, Enum) if btf is not None else None
    listed = btf[found] if btf is not None and found is not None else None
    if not isinstance(listed, Enum):
        return frozenset()
    return frozenset(value for name, value in listed.values if name.startswith(_HELPER_PREFIX) and 0 < value < 10_000)


def pack_target() -> bytes:
    """The running kernel's facts as the bytes of a file.

    Raises:
        InputError: B0001 this kernel has no types: nothing could be verified for it.
    """
    raw = host.read_btf()
    if raw is None:
        raise InputError(
            Diagnostic("B0001", "this machine's kernel has no BTF", help="boot one with CONFIG_DEBUG_INFO_BTF")
        )
    target = kernel_target()
    facts = {
        "format": FORMAT,
        "name": target.name,
        "kernel_version": list(target.kernel_version),
        "byte_order": target.byte_order,
        "kconfig": dict(target.kconfig),
        "symbols": sorted(target.kallsyms),
        "features": {name: probes.has(name) for name in probes.features()},
        "prog_types": [name_of(t) for t in ProgType if t is not ProgType.UNSPEC and probes.has_prog_type(t)],
        "map_types": [name_of(t) for t in MapType if t is not MapType.UNSPEC and probes.has_map_type(t)],
        "helpers": sorted(kernel_helpers(target.btf)),
    }
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("target.json", json.dumps(facts, indent=1))
        archive.writestr("vmlinux.btf", raw)
        for name in host.modules_with_btf():
            data = host.read_module_btf(name)
            if data is not None:
                archive.writestr(f"modules/{name}.btf", data)
    return stream.getvalue()


def unpack_target(data: bytes, name: str) -> Target:
    """A Target from the bytes of such a file.

    Raises:
        InputError: B0003 it is none. BtfError: its types are broken.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            facts = json.loads(_entry(archive, "target.json"))
            btf = parse_btf(_entry(archive, "vmlinux.btf"))
            modules = {
                entry[len("modules/") : -len(".btf")]: parse_btf(_entry(archive, entry), btf)
                for entry in archive.namelist()
                if entry.startswith("modules/") and entry.endswith(".btf")
            }
        return _target(facts, btf, modules)
    except _BROKEN as error:
        raise InputError(
            Diagnostic(
                "B0003",
                f"'{name}' is not a target file: {error}",
                help="make one on the machine: skep target save FILE",
            )
        ) from None


def _entry(archive: zipfile.ZipFile, name: str) -> bytes:
    if archive.getinfo(name).file_size > _MAX_BYTES:
        raise ValueError(f"{name} claims {archive.getinfo(name).file_size} bytes")
    return archive.read(name)


def _target(facts: Mapping[str, Any], btf: Btf, modules: Mapping[str, Btf]) -> Target:
    if facts["format"] != FORMAT:
        raise ValueError(f"format {facts['format']} is not known")
    major, minor, patch = map(int, facts["kernel_version"])
    known = {found for found in map(find_map_type, facts["map_types"]) if found is not None}
    helpers = set(map(int, facts["helpers"]))
    name = str(facts["name"])
    return Target(
        name=name,
        kernel_version=(major, minor, patch),
        byte_order=str(facts["byte_order"]),
        btf=btf,
        module_btf=modules,
        kconfig={str(key): str(value) for key, value in facts["kconfig"].items()},
        kallsyms=dict.fromkeys(map(str, facts["symbols"]), 0),
        refused_helpers={n: f"{name} does not have it" for n in HELPERS if n not in helpers} if helpers else {},
        map_types=frozenset(known) or None,
    )
