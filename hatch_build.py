"""Build hook: compiles the vm's C files to LLVM bitcode for both architectures and puts it into the wheel.

The wheel stays pure Python (py3-none-any). An editable install gets none: then it is compiled on first use.
"""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


def _builder(root: str) -> ModuleType:
    """skep.vm.native.bitcode, without importing skep (its dependencies are not here)."""
    path = Path(root, "src", "skep", "vm", "native", "bitcode.py")
    spec = importlib.util.spec_from_file_location("skep_bitcode", path)
    if spec is None or spec.loader is None:
        raise ImportError(str(path))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class BitcodeHook(BuildHookInterface[Any]):
    """Adds skep/vm/native/skep-<architecture>.bc to wheels."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before the wheel is made."""
        if self.target_name != "wheel" or version == "editable":
            return
        builder = _builder(self.root)
        clang = builder.find_clang()
        if clang is None:
            raise RuntimeError("building skep needs clang: the build requirement ziglang is missing")
        self._directory = tempfile.TemporaryDirectory()
        for architecture in builder.ARCHITECTURES:
            out = Path(self._directory.name, builder.file_name(architecture))
            builder.build(architecture, clang, out)
            build_data["force_include"][str(out)] = f"skep/vm/native/{out.name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Called after it: the temporary directory goes."""
        directory = getattr(self, "_directory", None)
        if directory is not None:
            directory.cleanup()
