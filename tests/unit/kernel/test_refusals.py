"""errno to Diagnostics: which capability, which limit, which version, which rule."""

from __future__ import annotations

import errno

import pytest

from skep.abi.map_types import MapType
from skep.abi.prog_types import AttachType, ProgType
from skep.errors import EngineError, MapError, UnsupportedError
from skep.kernel import host, refusals
from skep.kernel.bpf.call import BpfCallError, Command
from skep.model.maps import MapSpec


def on(monkeypatch: pytest.MonkeyPatch, version: tuple[int, int, int], *held: str) -> None:
    monkeypatch.setattr(host, "kernel_version", lambda: version)
    monkeypatch.setattr(host, "capabilities", lambda: frozenset(held))


def load_error(number: int, prog_type: ProgType = ProgType.XDP, attach: AttachType | None = None) -> Exception:
    return refusals.load_refused(BpfCallError(number, Command.PROG_LOAD), "p", prog_type, attach)


def map_error(number: int, **fields: object) -> Exception:
    spec = MapSpec("m", **({"type": MapType.HASH, "key_size": 4, "value_size": 4, "max_entries": 1} | fields))  # type: ignore[arg-type]
    return refusals.map_refused(BpfCallError(number, Command.MAP_CREATE), spec)


@pytest.mark.parametrize(
    ("prog_type", "held", "missing"),
    [
        (ProgType.XDP, (), "CAP_BPF and CAP_NET_ADMIN"),
        (ProgType.XDP, ("CAP_BPF",), "CAP_NET_ADMIN"),
        (ProgType.KPROBE, ("CAP_BPF", "CAP_NET_ADMIN"), "CAP_PERFMON"),
        (ProgType.SOCKET_FILTER, (), "CAP_BPF"),
    ],
)
def test_a_missing_capability_is_named(
    monkeypatch: pytest.MonkeyPatch, prog_type: ProgType, held: tuple[str, ...], missing: str
) -> None:
    on(monkeypatch, (6, 18, 0), *held)
    error = load_error(errno.EPERM, prog_type)
    assert isinstance(error, EngineError)
    assert (error.diagnostic.code, f": {missing} is missing" in error.diagnostic.what) == ("E0220", True)


def test_before_5_8_there_is_only_sys_admin(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, (5, 4, 0), "CAP_NET_ADMIN")
    assert "CAP_SYS_ADMIN is missing" in str(load_error(errno.EPERM))


def test_old_kernels_count_locked_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, (5, 4, 0), "CAP_SYS_ADMIN")
    error = map_error(errno.EPERM)
    assert isinstance(error, MapError)
    assert (error.diagnostic.code, "ulimit -l" in (error.diagnostic.help or "")) == ("E0221", True)


def test_with_all_capabilities_it_is_a_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, (6, 18, 0), "CAP_SYS_ADMIN")
    error = load_error(errno.EPERM, ProgType.TRACING, AttachType.TRACE_FENTRY)
    assert isinstance(error, EngineError)
    assert error.diagnostic.code == "E0222"
    assert any("trampolines" in why for why in error.diagnostic.why)
    plain = load_error(errno.EPERM, ProgType.XDP)
    assert isinstance(plain, EngineError)
    assert not any("trampolines" in why for why in plain.diagnostic.why)


def test_too_old_says_since_when(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, (5, 4, 0), "CAP_SYS_ADMIN")
    program, ring = load_error(errno.EINVAL, ProgType.NETFILTER), map_error(errno.EINVAL, type=MapType.RINGBUF)
    assert isinstance(program, UnsupportedError)
    assert "Linux 6.4" in str(program)
    assert isinstance(ring, UnsupportedError)
    assert "Linux 5.8" in str(ring)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"type": MapType.ARRAY, "key_size": 8}, "the key of a array has 4 bytes, not 8"),
        ({"max_entries": 0}, "max_entries is 0"),
        ({"type": MapType.RINGBUF, "key_size": 0, "value_size": 0, "max_entries": 5000}, "a power of two"),
        ({"type": MapType.LPM_TRIE, "key_size": 8}, "BPF_F_NO_PREALLOC"),
        ({"type": MapType.ARRAY_OF_MAPS}, "does not say which maps it holds"),
        ({"type": MapType.SK_STORAGE, "max_entries": 0, "flags": 1}, "needs BTF types"),
    ],
)
def test_the_broken_rule_is_named(monkeypatch: pytest.MonkeyPatch, fields: dict[str, object], why: str) -> None:
    on(monkeypatch, (6, 18, 0), "CAP_SYS_ADMIN")
    error = map_error(errno.EINVAL, **fields)
    assert isinstance(error, MapError)
    assert (error.diagnostic.code, error.errno) == ("M0121", errno.EINVAL)
    assert any(why in reason for reason in error.diagnostic.why), error


def test_too_large_says_how_large(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, (6, 18, 0), "CAP_SYS_ADMIN")
    error = map_error(errno.ENOMEM, max_entries=1 << 30)
    assert isinstance(error, MapError)
    assert error.diagnostic.code == "M0122"
    assert "8,589,934,592 bytes" in str(error)


def test_every_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, (6, 18, 0), "CAP_SYS_ADMIN")
    for number in (*errno.errorcode, refusals.ENOTSUPP):
        for error in (load_error(number), map_error(number)):
            assert isinstance(error, EngineError | UnsupportedError)
            assert error.diagnostic.help
