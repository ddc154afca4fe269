"""Cgroup hooks, on a cgroup and child processes of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import skep
from skep.abi.prog_types import AttachType
from skep.errors import EngineError, UsageError
from skep.kernel.bpf import links
from skep.kernel.links import cgroup as cgroup_links
from skep.kernel.links.places import open_folder
from skep.model import hooks
from tests.unit.kernel_links.conftest import run_in

pytestmark = pytest.mark.kernel

SOURCE = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
__u64 hits, second;
#define COUNT __sync_fetch_and_add(&hits, 1)
SEC("cgroup/connect4") int deny(struct bpf_sock_addr *ctx) { COUNT; return 0; }
SEC("cgroup/connect4") int allow(struct bpf_sock_addr *ctx) { __sync_fetch_and_add(&second, 1); return 1; }
SEC("cgroup_skb/egress") int packets(struct __sk_buff *skb) { COUNT; return 1; }
SEC("cgroup/skb") int unsaid(struct __sk_buff *skb) { COUNT; return 1; }
SEC("cgroup/sock_create") int no_sockets(struct bpf_sock *ctx) { COUNT; return 0; }
SEC("cgroup/sysctl") int sysctl(struct bpf_sysctl *ctx) { COUNT; return 0; }
SEC("cgroup/setsockopt") int setsockopt(struct bpf_sockopt *ctx) { COUNT; return 0; }
SEC("cgroup/getsockopt") int getsockopt(struct bpf_sockopt *ctx) { COUNT; return 1; }
SEC("cgroup/dev") int device(struct bpf_cgroup_dev_ctx *ctx) { COUNT; return 0; }
SEC("sockops") int tcp(struct bpf_sock_ops *ctx) { COUNT; return 1; }
char LICENSE[] SEC("license") = "GPL";
"""
CONNECT = """
import socket

s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
try: s.connect(("127.0.0.1", 9)); print("connected")
except OSError as error: print(error.strerror)
"""
Load = Callable[..., skep.Object]


def test_connect_is_denied_to_the_cgroup_only(load: Load, cgroup: Path) -> None:
    live = load(SOURCE, programs=["deny", "allow"])
    with live.programs["deny"].attach(hooks.Cgroup(cgroup)) as link:
        assert "Operation not permitted" in run_in(cgroup, CONNECT)
        exec(compile(CONNECT.replace("print", "str"), "<here>", "exec"), {})
        assert live.variables["hits"].value == 1
        info = link.info()
        assert (info["type"], info["attach_type"], info["cgroup_id"]) == (
            "cgroup", "cgroup_inet4_connect", cgroup.stat().st_ino,
        )  # fmt: skip
        link.update(live.programs["allow"])
        assert "connected" in run_in(cgroup, CONNECT)
    assert "connected" in run_in(cgroup, CONNECT)
    assert (live.variables["hits"].value, live.variables["second"].value) == (1, 1)


def test_without_link_as_before_5_7(load: Load, cgroup: Path) -> None:
    live = load(SOURCE, programs=["deny", "allow"])
    folder = open_folder(cgroup, "cgroup")
    hook = hooks.Cgroup(cgroup)
    attach_type = AttachType.CGROUP_INET4_CONNECT
    plain = cgroup_links.attach_without_link(live.programs["deny"].handle, hook, attach_type, folder)  # type: ignore[arg-type]
    try:
        assert "not permitted" in run_in(cgroup, CONNECT)
        assert len(links.query(folder.number, attach_type).programs) == 1
        plain.update(live.programs["allow"].handle)
        assert "connected" in run_in(cgroup, CONNECT)
        assert len(links.query(folder.number, attach_type).programs) == 1
    finally:
        plain.close()
    with open_folder(cgroup, "cgroup") as again:
        assert links.query(again.number, attach_type).programs == ()


DOING = {
    "packets": CONNECT.replace('print("connected")', "s.send(b'x'); print('sent')"),
    "no_sockets": "import socket\ntry: socket.socket()\nexcept OSError as error: print(error.strerror)",
    "sysctl": "try: open('/proc/sys/kernel/hostname').read()\nexcept OSError as error: print(error.strerror)",
    "setsockopt": "import socket\ntry: socket.socket().setsockopt(1, 9, 1)\n"
    "except OSError as error: print(error.strerror)",
    "getsockopt": "import socket\nsocket.socket().getsockopt(1, 9)",
    "device": "try: open('/dev/null').read()\nexcept OSError as error: print(error.strerror)",
}


@pytest.mark.parametrize("name", DOING)
def test_each_kind_sees_its_event(load: Load, cgroup: Path, name: str) -> None:
    live = load(SOURCE, programs=[name])
    with live.programs[name].attach(hooks.Cgroup(cgroup)):
        said = run_in(cgroup, DOING[name])
        assert live.variables["hits"].value > 0
        if name in ("no_sockets", "sysctl", "setsockopt", "device"):
            assert "not permitted" in said


def test_sock_ops(load: Load, cgroup: Path) -> None:
    live = load(SOURCE, programs=["tcp"])
    code = """
import socket
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
"""
    with live.programs["tcp"].attach(hooks.SockOps(cgroup)):
        run_in(cgroup, code)
        assert live.variables["hits"].value > 0


def test_event_of_a_section_that_does_not_say(load: Load, cgroup: Path) -> None:
    live = load(SOURCE, programs=["unsaid"])
    with pytest.raises(UsageError, match="does not say for which event"):
        live.programs["unsaid"].attach(hooks.Cgroup(cgroup))
    with live.programs["unsaid"].attach(hooks.Cgroup(cgroup, "cgroup_inet_egress")):
        run_in(cgroup, DOING["packets"])
        assert live.variables["hits"].value > 0
    with pytest.raises(UsageError, match="no attach type"):
        live.programs["unsaid"].attach(hooks.Cgroup(cgroup, "sideways"))


def test_not_a_cgroup(load: Load, tmp_path: Path) -> None:
    live = load(SOURCE, programs=["deny"])
    with pytest.raises(EngineError, match="cannot open cgroup"):
        live.programs["deny"].attach(hooks.Cgroup(tmp_path / "nothing"))
    with pytest.raises(EngineError):
        live.programs["deny"].attach(hooks.Cgroup(tmp_path))
