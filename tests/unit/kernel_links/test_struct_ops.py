"""struct_ops: congestion controls in C, used by one socket in a network namespace of the test's own."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path

import pytest

import skep
from skep.collection.tables import Table
from skep.errors import EngineError, MapError, SkepError, UnsupportedError, UsageError
from skep.kernel.host import kernel_version
from skep.kernel.links.places import inside
from skep.model import hooks
from tests.unit.kernel_links.conftest import Load, Network

pytestmark = pytest.mark.kernel

SOURCE = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
__u32 inits, rounds, others;
SEC("struct_ops/start") void BPF_PROG(start, struct sock *sk) { __sync_fetch_and_add(&inits, 1); }
SEC("struct_ops/grow") void BPF_PROG(grow, struct sock *sk, __u32 ack, __u32 acked)
{ ((struct tcp_sock *)sk)->snd_cwnd += 1; __sync_fetch_and_add(&rounds, 1); }
SEC("struct_ops/half") __u32 BPF_PROG(half, struct sock *sk) { return ((struct tcp_sock *)sk)->snd_cwnd / 2; }
SEC("struct_ops/same") __u32 BPF_PROG(same, struct sock *sk) { return ((struct tcp_sock *)sk)->snd_cwnd; }
#define TABLE(section, table, member, text) SEC(section) struct tcp_congestion_ops table = { .init = (void *)start, \\
.cong_avoid = (void *)member, .ssthresh = (void *)half, .undo_cwnd = (void *)same, .name = text }
#ifdef TABLES
TABLES
#else
SEC("struct_ops/other") void BPF_PROG(grow_faster, struct sock *sk, __u32 ack, __u32 acked)
{ ((struct tcp_sock *)sk)->snd_cwnd += 2; __sync_fetch_and_add(&others, 1); }
TABLE(".struct_ops.link", one, grow, "skep_NAME");
TABLE(".struct_ops.link", two, grow_faster, "skep_NAME");
TABLE(".struct_ops.link", stranger, grow_faster, "skep_o_NAME");
TABLE("?.struct_ops.link", unwanted, grow, "skep_u_NAME");
#endif
char LICENSE[] SEC("license") = "GPL";
"""
#: Registered names belong to the whole system: every run of the tests has its own.
NAME = f"{os.getpid() % 100_000:05d}"
ALGORITHM = f"skep_{NAME}"


@pytest.fixture(autouse=True)
def _links(kernel: None, request: pytest.FixtureRequest) -> None:
    """Tables in force by a link came with 6.4; without one, before (5.6)."""
    if kernel_version()[:2] < (6, 4) and "without_a_link" not in request.node.name:
        pytest.skip("links of struct_ops exist since Linux 6.4")


def source(tables: str = "") -> str:
    return (f"#define TABLES {tables}\n" if tables else "") + SOURCE.replace("NAME", NAME)


def table(live: skep.Object, name: str) -> Table:
    found = live.maps[name]
    assert isinstance(found, Table)
    return found


def transfer(network: Network, algorithm: str, size: int = 50_000) -> str:
    """Send bytes over loopback, the sender with this congestion control; the one it says it has."""
    with inside(network.path):
        server = socket.create_server(("127.0.0.1", 0))
        client = socket.socket()
    with server, client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, algorithm.encode())
        client.connect(server.getsockname())
        receiver, _ = server.accept()
        with receiver:
            client.setblocking(False)
            receiver.settimeout(10)
            sent = received = 0
            while received < size:
                if sent < size:
                    with suppress(BlockingIOError):
                        sent += client.send(bytes(min(8192, size - sent)))
                received += len(receiver.recv(1 << 16))
        return client.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0").decode()


def test_a_socket_uses_it_and_it_is_replaced(load: Load, network: Network) -> None:
    live = load(source())
    count = {name: live.variables[name] for name in ("inits", "rounds", "others")}
    with table(live, "one").attach() as link:
        assert link.info()["type"] == "struct_ops"
        assert transfer(network, ALGORITHM) == ALGORITHM
        assert count["inits"].value == 1
        assert count["rounds"].value > 0
        assert count["others"].value == 0
        link.update(table(live, "two"))
        before = count["rounds"].value
        assert transfer(network, ALGORITHM) == ALGORITHM
        assert (count["inits"].value, count["rounds"].value) == (2, before)
        assert count["others"].value > 0
        assert link in table(live, "two").links
    with pytest.raises(FileNotFoundError):
        transfer(network, ALGORITHM)


def test_names_are_unique_and_replacements_keep_them(load: Load) -> None:
    live = load(source())
    with table(live, "one").attach() as link:
        with pytest.raises(EngineError) as caught:
            link.update(table(live, "stranger"))
        assert caught.value.diagnostic.code == "H0355"
        with pytest.raises(UsageError, match="only be replaced by another table"):
            link.update(live.programs["start"])
        with pytest.raises(SkepError):
            table(live, "two").attach()


def test_pinned_it_outlives_us(load: Load, bpffs: Path, network: Network) -> None:
    live = load(source())
    link = table(live, "one").attach()
    link.pin(str(bpffs / "link"))
    link.close()
    assert transfer(network, ALGORITHM) == ALGORITHM
    (bpffs / "link").unlink()
    with pytest.raises(FileNotFoundError):
        transfer(network, ALGORITHM)


def test_without_a_link(load: Load, network: Network) -> None:
    """Section ``.struct_ops``: in force from registering to unregistering (Linux 5.6)."""
    live = load(source(f'TABLE(".struct_ops", plain, grow, "skep_{NAME}");'))
    link = table(live, "plain").attach()
    assert transfer(network, ALGORITHM) == ALGORITHM
    with pytest.raises(UnsupportedError, match="replaced"):
        link.update(table(live, "plain"))
    with pytest.raises(UnsupportedError, match="pinned"):
        link.pin("/nowhere")
    link.close()
    with pytest.raises(FileNotFoundError):
        transfer(network, ALGORITHM)


def test_by_its_hook(load: Load, network: Network) -> None:
    live = load(source())
    with live.programs["start"].attach(hooks.StructOps(live.maps["one"])):
        assert transfer(network, ALGORITHM) == ALGORITHM


def test_tables_and_programs_on_request(load: Load) -> None:
    """``?.struct_ops`` makes no map; programs that only such tables name are not loaded."""
    live = load(source())
    assert "unwanted" not in live.maps
    assert "unwanted" in live.spec.maps
    lazy = load(source(f'TABLE("?.struct_ops.link", lazy, grow, "skep_{NAME}");'))
    assert list(lazy.programs) == []
    assert list(lazy.maps) == [".bss"]


NEWER = """
struct tcp_congestion_ops___newer {
	void (*init)(struct sock *sk); void (*cong_avoid)(struct sock *sk, __u32 ack, __u32 acked);
	__u32 (*ssthresh)(struct sock *sk); __u32 (*undo_cwnd)(struct sock *sk); char name[16];
	void (*not_yet)(struct sock *sk); __u64 number;
};
SEC("struct_ops/new") void BPF_PROG(not_yet, struct sock *sk) { }
SEC(".struct_ops.link") struct tcp_congestion_ops___newer newer = {
	.init = (void *)start, .cong_avoid = (void *)grow, .ssthresh = (void *)half, .undo_cwnd = (void *)same,
	.not_yet = (void *)not_yet, .name = "skep_NAME", .number = NUMBER };
"""


def newer(number: int) -> str:
    text = SOURCE.replace("#ifdef TABLES\nTABLES", "#if 1" + NEWER.replace("NUMBER", str(number)))
    return text.replace("NAME", NAME)


def test_members_that_this_kernel_lacks(load: Load, network: Network) -> None:
    live = load(newer(0))
    assert "not_yet" not in live.programs
    with table(live, "newer").attach():
        assert transfer(network, ALGORITHM) == ALGORITHM
    with pytest.raises(MapError) as caught:
        load(newer(5))
    assert caught.value.diagnostic.code == "M0127"


def test_what_the_kernel_refuses(load: Load) -> None:
    bad = 'SEC(".struct_ops.link") struct tcp_congestion_ops bad = { .init = (void *)start };'
    live = load(source(bad), programs=["start"])
    with pytest.raises(MapError) as caught:
        table(live, "bad").attach()
    assert caught.value.diagnostic.code == "M0128"
    with pytest.raises(UnsupportedError) as other:
        load(
            '#include "vmlinux.h"\n#include <bpf/bpf_helpers.h>\nstruct nobody { int (*f)(void); };\n'
            'SEC("struct_ops/f") int f(void *ctx) { return 0; }\n'
            'SEC(".struct_ops.link") struct nobody ops = { .f = (void *)f };\nchar LICENSE[] SEC("license") = "GPL";\n'
        )
    assert other.value.diagnostic.code == "M0126"
