"""Where pinned maps go: nowhere unless a directory is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from skep.abi.map_types import MapType
from skep.engine import Batched
from skep.model.maps import MapSpec, Pinning
from skep.vm.maps import create_map

SPEC = MapSpec("hits", MapType.HASH, 4, 8, 10, pinning=Pinning.BY_NAME)


def test_without_a_directory_a_map_is_private(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SKEP_PIN_DIR", raising=False)
    create_map(SPEC).update(bytes(4), bytes(8))
    assert create_map(SPEC).lookup(bytes(4)) is None


def test_the_directory_of_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SKEP_PIN_DIR", str(tmp_path / "new"))
    first = create_map(SPEC)
    first.update(bytes(4), bytes(8))
    second = create_map(SPEC)
    assert isinstance(second, Batched)
    assert list(second.items()) == [(bytes(4), bytes(8))]
    assert [entry.name for entry in (tmp_path / "new").iterdir()] == ["hits"]


def test_many_processes_at_once_make_one_map(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = f"""
from pathlib import Path
from tests.unit.vm.test_pins import SPEC
from skep.vm.maps import create_map
import os
m = create_map(SPEC.replace(max_entries=1000), Path({str(tmp_path)!r}))
for i in range(200):
    m.update(os.getpid().to_bytes(3, "little") + bytes([i]), bytes(8))
"""
    root = Path(__file__).parent.parent.parent.parent
    children = [subprocess.Popen([sys.executable, "-c", code], cwd=root) for _ in range(3)]
    assert [child.wait(60) for child in children] == [0, 0, 0]
    assert len(list(create_map(SPEC.replace(max_entries=1000), tmp_path).items())) == 600
    assert [entry.name for entry in tmp_path.iterdir()] == ["hits"]
