"""What old kernels do not know is left out, as libbpf does: shown with a kernel that refuses just that."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import pytest

from skep.abi.map_types import MapType
from skep.abi.prog_types import AttachType, ProgType
from skep.btf.types import (
    Btf,
    Const,
    Datasec,
    DeclTag,
    Enum64,
    Float,
    Func,
    FuncProto,
    Int,
    SectionVar,
    Struct,
    Typedef,
    TypeTag,
    Union,
    Var,
    Void,
)
from skep.errors import EngineError, RejectedError
from skep.kernel import memlock, probes
from skep.kernel import programs as kernel_programs
from skep.kernel.bpf import maps, programs
from skep.kernel.bpf.call import BpfCallError, Command
from skep.kernel.fd import Fd
from skep.kernel.maps import create
from skep.kernel.maps.create import fitted, kernel_name
from skep.kernel.typeinfo import TypeStore, encode_with_texts, older_types
from skep.linker import link
from skep.model.maps import MapSpec
from skep.model.programs import LinkedProgram
from skep.testing.programs import make_object
from skep.vm.target import vm_target

INT = Int("int", 4, 32, signed=True)


@pytest.fixture
def opened() -> list[Fd]:
    return []


def a_fd() -> Fd:
    import os

    return Fd(os.open("/dev/null", os.O_RDONLY), "test")


def linked() -> LinkedProgram:
    return link(make_object("r0 = 2\nexit"), "program", vm_target())


def old_kernel(
    monkeypatch: pytest.MonkeyPatch, takes: Callable[[programs.LoadRequest], bool], lacks: set[str], log: str = ""
) -> list[programs.LoadRequest]:
    seen: list[programs.LoadRequest] = []

    def load(request: programs.LoadRequest, level: int = 0) -> tuple[Fd, str]:
        seen.append(request)
        if not takes(request):
            raise BpfCallError(errno.EINVAL, Command.PROG_LOAD, log)
        return a_fd(), ""

    monkeypatch.setattr(programs, "load", load)
    monkeypatch.setattr(probes, "has", lambda name: name not in lacks)
    return seen


def request(**changes: Any) -> programs.LoadRequest:
    fields: dict[str, Any] = {"prog_type": ProgType.XDP, "code": bytes(8), "name": b"program", "btf": 9}
    return programs.LoadRequest(**(fields | {"func_info": bytes(8), "line_info": bytes(16)} | changes))


def test_a_modern_kernel_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = old_kernel(monkeypatch, lambda r: True, set())
    kernel_programs.load(linked(), request()).close()
    assert len(seen) == 1


def test_line_info_goes_first_then_all_types(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = old_kernel(monkeypatch, lambda r: not r.btf, set(), "bad func_info\nprocessed 0 insns\n")
    loaded = kernel_programs.load(linked(), request())
    loaded.close()
    assert loaded.notes == ("loaded without its types and line info: bad func_info",)
    assert [(bool(r.line_info), bool(r.func_info), bool(r.btf)) for r in seen] == [
        (True, True, True),
        (False, True, True),
        (False, False, False),
    ]


def test_names_and_attach_types_go_where_the_kernel_lacks_them(monkeypatch: pytest.MonkeyPatch) -> None:
    lacks = {"names", "expected_attach_type"}
    seen = old_kernel(monkeypatch, lambda r: not r.name and not r.expected_attach_type, lacks)
    kernel_programs.load(linked(), request(expected_attach_type=AttachType.XDP)).close()
    assert (seen[-1].name, seen[-1].expected_attach_type) == (b"", 0)


def test_a_rejection_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    log = "0: (95) exit\nR0 !read_ok\nprocessed 1 insns (limit 1000000)\n"
    seen = old_kernel(monkeypatch, lambda r: False, set(), log)
    with pytest.raises(RejectedError) as caught:
        kernel_programs.load(linked(), request())
    assert (len(seen), caught.value.log, caught.value.diagnostic.kernel) == (1, log, "R0 !read_ok")


def test_a_refusal_without_log_is_an_engine_error(monkeypatch: pytest.MonkeyPatch) -> None:
    old_kernel(monkeypatch, lambda r: False, set())
    with pytest.raises(EngineError) as caught:
        kernel_programs.load(linked(), request())
    assert caught.value.diagnostic.code == "E0224"


def test_the_memory_limit_is_raised_once_on_old_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def action() -> int:
        calls.append(1)
        if len(calls) == 1:
            raise BpfCallError(errno.EPERM, Command.MAP_CREATE)
        return 5

    monkeypatch.setattr(memlock.host, "kernel_version", lambda: (5, 4, 0))
    monkeypatch.setattr(memlock, "_raise_limit", lambda: True)
    assert memlock.with_memory(action) == 5
    monkeypatch.setattr(memlock.host, "kernel_version", lambda: (6, 1, 0))
    calls.clear()
    with pytest.raises(BpfCallError):
        memlock.with_memory(action)


def test_global_data_without_mmap(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[maps.MapRequest] = []

    def make(wanted: maps.MapRequest, what: str = "") -> Fd:
        seen.append(wanted)
        if wanted.flags & create.MMAPABLE or wanted.name:
            raise BpfCallError(errno.EINVAL, Command.MAP_CREATE)
        return a_fd()

    monkeypatch.setattr(maps, "create", make)
    monkeypatch.setattr(probes, "has", lambda name: name not in {"mmapable", "map_names"})
    handle = create.create_map(MapSpec(".bss", MapType.ARRAY, 4, 8, 1, contents=bytes(8)), TypeStore())
    assert not handle.spec.flags & create.MMAPABLE
    assert not hasattr(handle, "memory")
    handle.close()
    assert (seen[-1].flags, seen[-1].name) == (0, b"")


def test_older_kinds_keep_their_ids() -> None:
    types = Btf(
        (
            Void(),
            INT,
            FuncProto(1, ()),
            Func("f", 2, 1),
            Var("x", 1, 1),
            Datasec(".data", 4, (SectionVar(4, 0, 4),)),
            Float("float", 4),
            DeclTag("t", 4, -1),
            TypeTag("tag", 1),
            Enum64("e", 8, False, (("A", 1),)),
        )
    )
    none = older_types(types, lambda name: False)
    expected = (Void, Int, FuncProto, Typedef, Int, Struct, Struct, Int, Const, Union)
    assert [type(found) for found in none.own] == list(expected)
    assert list(older_types(types, lambda name: True).own) == list(types.own)
    only_static = older_types(types, lambda name: name != "btf_func_global")
    assert only_static.own[3] == Func("f", 2, 0)
    encode_with_texts(none, ())


def test_texts_are_found_in_the_strings() -> None:
    data, offsets = encode_with_texts(Btf((Void(), INT)), ["int x = 1;", "int", "a.c"])
    for text in ("int x = 1;", "int", "a.c"):
        end = data.index(b"\0", data.rindex(b"\0int\0") + offsets[text])
        assert data[:end].endswith(text.encode())


def test_names_and_sizes_are_made_to_fit() -> None:
    assert kernel_name("my map/with.more-than-15") == b"my_map_with.mor"
    assert kernel_name("schön") == b"sch_n"
    assert fitted(MapSpec("e", MapType.PERF_EVENT_ARRAY, 4, 4, 0)).max_entries > 0
    assert fitted(MapSpec("r", MapType.RINGBUF, max_entries=5000)).max_entries == 5000
    assert fitted(MapSpec("r", MapType.RINGBUF, max_entries=64)).max_entries >= 4096
