"""Programs of single sockets and of sockmaps; all sockets are the test's own."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator

import pytest

import skep
from skep.abi.prog_types import AttachType
from skep.errors import UnsupportedError, UsageError
from skep.kernel.host import kernel_version
from skep.kernel.links import sockmap
from skep.model import hooks

pytestmark = pytest.mark.kernel

SOURCE = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
__u64 hits;
struct { __uint(type, BPF_MAP_TYPE_SOCKMAP); __uint(max_entries, 4); __type(key, __u32); __type(value, __u64); }
sockets SEC(".maps");
SEC("socket") int cut(struct __sk_buff *skb) { __sync_fetch_and_add(&hits, 1); return 12; }
SEC("socket") int all(struct __sk_buff *skb) { return -1; }
SEC("sk_reuseport") int choose(struct sk_reuseport_md *ctx) { __sync_fetch_and_add(&hits, 1); return SK_DROP; }
SEC("sk_msg") int drop_message(struct sk_msg_md *ctx) { __sync_fetch_and_add(&hits, 1); return SK_DROP; }
SEC("sk_msg") int pass_message(struct sk_msg_md *ctx) { __sync_fetch_and_add(&hits, 1); return SK_PASS; }
SEC("sk_skb/stream_verdict") int verdict(struct __sk_buff *skb) { __sync_fetch_and_add(&hits, 1); return SK_PASS; }
char LICENSE[] SEC("license") = "GPL";
"""
Load = Callable[..., skep.Object]


@contextlib.contextmanager
def tcp_pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        accepted, _ = server.accept()
        with accepted:
            yield client, accepted


def test_socket_filter_cuts_datagrams(load: Load) -> None:
    live = load(SOURCE, programs=["cut", "all"])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        with live.programs["cut"].attach(hooks.SocketFilter(server)) as link:
            server.sendto(b"0123456789", server.getsockname())
            assert server.recv(100) == b"0123"  # 12 bytes, of which 8 are the UDP header
            link.update(live.programs["all"])
            server.sendto(b"0123456789", server.getsockname())
            assert server.recv(100) == b"0123456789"
            with pytest.raises(UnsupportedError, match="cannot be pinned"):
                link.pin("/sys/fs/bpf/never")
        assert live.variables["hits"].value == 1


def test_socket_that_is_closed_first(load: Load) -> None:
    live = load(SOURCE, programs=["cut"])
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    link = live.programs["cut"].attach(hooks.SocketFilter(server))
    server.close()
    link.close()
    with pytest.raises(UsageError, match="not an open socket"):
        live.programs["cut"].attach(hooks.SocketFilter(server))


def test_reuseport(load: Load) -> None:
    live = load(SOURCE, programs=["choose"])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        server.bind(("127.0.0.1", 0))
        with (
            live.programs["choose"].attach(hooks.SkReuseport(server)),
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
        ):
            client.sendto(b"x", server.getsockname())
            assert live.variables["hits"].value == 1


def test_messages_of_a_sockmap(load: Load) -> None:
    live = load(SOURCE, programs=["drop_message", "pass_message"])
    sockets = live.maps["sockets"]
    with live.programs["drop_message"].attach(hooks.SkMsg(sockets)) as link, tcp_pair() as (client, _):
        sockets.handle.update(bytes(4), client.fileno().to_bytes(8, "little"))
        with pytest.raises(OSError, match=r".*"):
            client.send(b"hello")
        link.update(live.programs["pass_message"])  # for sockets that come into the map from now on
        with tcp_pair() as (other, receiver):
            sockets.handle.update(bytes(4), other.fileno().to_bytes(8, "little"))
            other.send(b"hello")
            assert receiver.recv(10) == b"hello"
        assert live.variables["hits"].value == 2
        if kernel_version()[:2] >= (6, 10):  # links of maps
            assert link.info()["attach_type"] == "sk_msg_verdict"


def test_sockmap_without_link_as_before_6_10(load: Load) -> None:
    live = load(SOURCE, programs=["drop_message", "pass_message"])
    hook = hooks.SkMsg(live.maps["sockets"])
    handle = live.programs["drop_message"].handle
    plain = sockmap.attach_without_link(handle, hook, AttachType.SK_MSG_VERDICT)  # type: ignore[arg-type]
    plain.update(live.programs["pass_message"].handle)
    plain.close()
    live.programs["drop_message"].attach(hook).close()


def test_stream_verdict(load: Load) -> None:
    live = load(SOURCE, programs=["verdict"])
    sockets = live.maps["sockets"]
    with live.programs["verdict"].attach(hooks.SkSkb(sockets)) as link, tcp_pair() as (client, accepted):
        if kernel_version()[:2] >= (6, 10):
            assert link.info()["attach_type"] == "sk_skb_stream_verdict"
        sockets.handle.update(bytes(4), accepted.fileno().to_bytes(8, "little"))
        client.send(b"hello")
        assert accepted.recv(10) == b"hello"
        assert live.variables["hits"].value >= 1
