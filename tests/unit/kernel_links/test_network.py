"""Network hooks, on a veth pair in a namespace of the test's own."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
from collections.abc import Callable

import pytest

import skep
from skep.errors import EngineError, UnsupportedError, UsageError
from skep.kernel.links import netns as netns_links
from skep.kernel.links import tc, xdp
from skep.kernel.links.netlink import NetlinkSocket
from skep.kernel.links.places import ifindex, inside
from skep.kernel.links.refusals import missing_options
from skep.model import hooks
from tests.unit.kernel_links.conftest import Network, require

pytestmark = pytest.mark.kernel

SOURCE = """
#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
char order[64]; __u32 at; __u64 hits, second;
static __always_inline void note(struct __sk_buff *skb, char c)
{
	if (skb->protocol == bpf_htons(0x88b5)) { __u32 n = __sync_fetch_and_add(&at, 1); if (n < 64) order[n] = c; }
}
SEC("xdp") int pass(struct xdp_md *ctx) { __sync_fetch_and_add(&hits, 1); return XDP_PASS; }
SEC("xdp") int drop(struct xdp_md *ctx) { __sync_fetch_and_add(&second, 1); return XDP_DROP; }
SEC("tc/ingress") int a(struct __sk_buff *skb) { __sync_fetch_and_add(&hits, 1); note(skb, 'a'); return TCX_NEXT; }
SEC("tc/ingress") int b(struct __sk_buff *skb) { note(skb, 'b'); return TCX_NEXT; }
SEC("tc/ingress") int c(struct __sk_buff *skb) { note(skb, 'c'); return TCX_NEXT; }
SEC("tc/egress") int out(struct __sk_buff *skb) { __sync_fetch_and_add(&hits, 1); return TCX_NEXT; }
SEC("tc") int classic(struct __sk_buff *skb) { __sync_fetch_and_add(&hits, 1); return TC_ACT_OK; }
SEC("tc") int classic_drop(struct __sk_buff *skb) { __sync_fetch_and_add(&second, 1); return TC_ACT_SHOT; }
SEC("netkit/primary") int kit(struct __sk_buff *skb) { __sync_fetch_and_add(&hits, 1); return -1; }
SEC("netkit/primary") int kit_drop(struct __sk_buff *skb) { __sync_fetch_and_add(&second, 1); return 2; }
SEC("netfilter") int filter(struct bpf_nf_ctx *ctx) { __sync_fetch_and_add(&hits, 1); return 0; }
SEC("netfilter") int filter_all(struct bpf_nf_ctx *ctx) { return 1; }
SEC("sk_lookup") int redirect(struct bpf_sk_lookup *ctx)
{ if (ctx->local_port == 4242) { __sync_fetch_and_add(&hits, 1); return SK_DROP; } return SK_PASS; }
SEC("flow_dissector") int dissect(struct __sk_buff *skb) { return BPF_OK; }
SEC("flow_dissector") int dissect_again(struct __sk_buff *skb) { return BPF_OK; }
char LICENSE[] SEC("license") = "GPL";
"""
Load = Callable[..., skep.Object]


def send(network: Network, count: int = 1, port: int = 9) -> None:
    """Datagrams from the outer to the inner end, through a packet socket so that they really cross the pair."""
    with inside(network.path), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind((network.outer, 0))
        frame = b"\xff" * 6 + b"\x02" * 6 + b"\x88\xb5" + bytes(50)
        for _ in range(count):
            raw.send(frame)


def value(live: skep.Object, name: str) -> int:
    found = live.variables[name].value
    assert isinstance(found, int)
    return found


@pytest.mark.parametrize("mode", list(hooks.XdpMode))
def test_xdp_modes(load: Load, network: Network, mode: hooks.XdpMode) -> None:
    live = load(SOURCE, programs=["pass"])
    hook = hooks.Xdp(network.inner, mode, netns=network.path)
    if mode is hooks.XdpMode.OFFLOAD:
        with pytest.raises((UnsupportedError, EngineError)):
            live.programs["pass"].attach(hook)
        return
    with live.programs["pass"].attach(hook) as link:
        send(network, 10)
        assert value(live, "hits") >= 10
        assert link.info()["type"] == "xdp"
        with inside(network.path):
            assert link.info()["ifindex"] == ifindex(network.inner)
        assert ("xdpgeneric" if mode is hooks.XdpMode.GENERIC else "xdp") in network.ip(f"link show {network.inner}")
    assert "xdp" not in network.ip(f"link show {network.inner}")


def test_xdp_replaced_and_second_program_refused(load: Load, network: Network) -> None:
    live = load(SOURCE, programs=["pass", "drop"])
    hook = hooks.Xdp(network.inner, netns=network.path)
    with live.programs["pass"].attach(hook) as link:
        with pytest.raises(EngineError, match="another program sits there"):
            live.programs["drop"].attach(hook)
        link.update(live.programs["drop"])
        before = value(live, "hits")
        send(network, 5)
        assert (value(live, "hits"), value(live, "second") >= 5) == (before, True)


def test_xdp_through_netlink_as_before_5_9(load: Load, network: Network) -> None:
    live = load(SOURCE, programs=["pass", "drop"])
    hook = hooks.Xdp(network.inner, hooks.XdpMode.GENERIC, netns=network.path)
    with inside(network.path):
        link = xdp.attach_by_netlink(live.programs["pass"].handle, hook)  # type: ignore[arg-type]
    try:
        send(network, 3)
        assert value(live, "hits") >= 3
        link.update(live.programs["drop"].handle)
        send(network, 3)
        assert value(live, "second") >= 3
        with pytest.raises(UnsupportedError, match="cannot be pinned"):
            link.pin("/sys/fs/bpf/never")
    finally:
        link.close()
    assert "xdp" not in network.ip(f"link show {network.inner}")


def test_interface_that_vanishes(load: Load, network: Network) -> None:
    live = load(SOURCE, programs=["pass", "drop"])
    with live.programs["pass"].attach(hooks.Xdp(network.inner, netns=network.path)) as link:
        network.ip(f"link del {network.inner}")
        assert link.info()["ifindex"] == 0
        with pytest.raises(EngineError, match="gone"):
            link.update(live.programs["drop"])
    with pytest.raises(EngineError, match="there is no interface 'skin'"):
        live.programs["pass"].attach(hooks.Xdp(network.inner, netns=network.path))


def test_tcx_order_and_anchors(load: Load, network: Network) -> None:
    require("Tcx")
    live = load(SOURCE, programs=["a", "b", "c"])

    def attach(name: str, anchor: hooks.Anchor) -> skep.Link:
        return live.programs[name].attach(hooks.Tcx(network.inner, anchor=anchor, netns=network.path))

    first = attach("a", hooks.Anchor())
    attach("b", hooks.Anchor(hooks.Place.FIRST))
    attach("c", hooks.Anchor(hooks.Place.AFTER, link=first.info()["id"]))
    send(network)
    assert bytes(live.variables["order"].value.encode())[:3] == b"bac"
    with pytest.raises(EngineError, match="changed since"):
        attach("a", hooks.Anchor(revision=9999))
    with pytest.raises(UsageError, match="neighbours"):
        attach("a", hooks.Anchor(hooks.Place.BEFORE))


def test_tcx_egress_and_replacement(load: Load, network: Network) -> None:
    require("Tcx")
    live = load(SOURCE, programs=["out"])
    hook = hooks.Tcx(network.outer, hooks.Direction.EGRESS, netns=network.path)
    with live.programs["out"].attach(hook) as link:
        send(network, 4)
        assert value(live, "hits") >= 4
        assert link.info()["attach_type"] == "tcx_egress"
        link.update(live.programs["out"])


def test_classic_tc_leaves_nothing_behind(load: Load, network: Network) -> None:
    live = load(SOURCE, programs=["classic", "classic_drop"])
    hook = hooks.TcClassic(network.inner, netns=network.path)
    with inside(network.path):
        rtnetlink, index = NetlinkSocket(), ifindex(network.inner)
    try:
        with live.programs["classic"].attach(hook) as link:
            send(network, 4)
            assert value(live, "hits") >= 4
            (row,) = tc.filters(rtnetlink, index)
            assert (row.prog_id, row.direction) == (link.info()["prog_id"], hooks.Direction.INGRESS)
            with live.programs["classic_drop"].attach(hooks.TcClassic(network.inner, priority=row.priority + 1,
                                                                     netns=network.path)):  # fmt: skip
                assert len(tc.filters(rtnetlink, index)) == 2
            link.update(live.programs["classic_drop"])
            (row,) = tc.filters(rtnetlink, index)
            assert row.prog_id == link.info()["prog_id"]
            send(network, 4)
            assert value(live, "second") >= 4
        assert tc.filters(rtnetlink, index) == []
        with pytest.raises(OSError, match=r".*") as gone:  # the qdisc went with the last filter
            rtnetlink.request(tc.RTM_DELQDISC, tc._TCMSG.pack(0, index, tc.CLSACT_HANDLE, tc.CLSACT_PARENT, 0))
        assert gone.value.errno in (errno.ENOENT, errno.EINVAL)
    finally:
        rtnetlink.close()


def test_netkit_works_or_says_what_is_missing(load: Load, network: Network) -> None:
    live = load(SOURCE, programs=["kit", "kit_drop"])
    if missing_options("Netkit"):
        with pytest.raises(UnsupportedError, match="CONFIG_NETKIT"):
            live.programs["kit"].attach(hooks.Netkit(network.inner, netns=network.path))
        return
    require("Netkit")
    try:
        network.ip("link add skkit type netkit")  # the kernel names the peer
    except subprocess.CalledProcessError as error:
        if "SKEP_KERNEL_ROW" in os.environ:
            raise
        pytest.skip(f"no netkit devices here: {error.stderr}")
    (peer,) = {line.split(": ")[1].split("@")[0] for line in network.ip("-o link").splitlines() if "@skkit" in line}
    network.ip("addr add 10.98.0.1/24 dev skkit")
    for name in ("skkit", peer):
        network.ip(f"link set dev {name} up")

    def send_datagrams() -> None:
        with inside(network.path), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            for _ in range(3):
                datagrams.sendto(b"x", ("10.98.0.2", 9))

    with live.programs["kit"].attach(hooks.Netkit("skkit", netns=network.path)) as link:
        send_datagrams()
        assert value(live, "hits") >= 3
        assert link.info()["type"] == "netkit"
        link.update(live.programs["kit_drop"])
        before = value(live, "hits")
        send_datagrams()
        assert (value(live, "hits"), value(live, "second") >= 3) == (before, True)
    before = value(live, "second")
    send_datagrams()
    assert value(live, "second") == before


def test_netfilter(load: Load, network: Network) -> None:
    require("Netfilter")
    live = load(SOURCE, programs=["filter", "filter_all"])
    hook = hooks.Netfilter("ipv4", "input", -100, netns=network.path)
    with live.programs["filter"].attach(hook) as link:
        info = link.info()
        assert (info["type"], info["pf"], info["hook"], info["prio"]) == ("netfilter", "ip", "input", -100)
        with inside(network.path), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            datagrams.sendto(b"x", ("10.99.0.1", 9))
        assert value(live, "hits") >= 1
        with pytest.raises(UnsupportedError, match="another priority"):
            link.update(live.programs["filter_all"])
        with pytest.raises(EngineError, match="another program"):
            live.programs["filter_all"].attach(hook)
    with pytest.raises(UsageError, match="family: ipv4, ipv6"):
        live.programs["filter"].attach(hooks.Netfilter("ipx", "input", netns=network.path))


def test_sk_lookup(load: Load, network: Network) -> None:
    live = load(SOURCE, programs=["redirect"])
    with live.programs["redirect"].attach(hooks.SkLookup(network.path)) as link:
        with inside(network.path), socket.socket() as server, socket.socket() as client:
            server.bind(("10.99.0.1", 4242))
            server.listen()
            with pytest.raises(ConnectionRefusedError):
                client.connect(("10.99.0.1", 4242))
        assert value(live, "hits") >= 1
        assert link.info()["attach_type"] == "sk_lookup"
        link.update(live.programs["redirect"])


def test_flow_dissector_by_link_and_without(load: Load, network: Network) -> None:
    live = load(SOURCE, programs=["dissect", "dissect_again"])
    hook = hooks.FlowDissector(network.path)
    with live.programs["dissect"].attach(hook) as link:
        assert link.info()["type"] == "netns"
        link.update(live.programs["dissect_again"])
    plain = netns_links.attach_without_link(live.programs["dissect"].handle, hook)  # type: ignore[arg-type]
    try:
        plain.update(live.programs["dissect_again"].handle)
        with pytest.raises(EngineError, match="another program"):
            live.programs["dissect"].attach(hook)
    finally:
        plain.close()
    live.programs["dissect"].attach(hook).close()


def test_a_namespace_that_is_not_there(load: Load) -> None:
    live = load(SOURCE, programs=["pass"])
    with pytest.raises(EngineError, match="cannot open the network namespace"):
        live.programs["pass"].attach(hooks.Xdp("lo", netns="/run/netns/no-such"))


def test_wrong_type_of_program(load: Load, network: Network) -> None:
    require("Tcx")
    live = load(SOURCE, programs=["pass", "classic"])
    with pytest.raises(EngineError, match="does not fit this hook"):
        live.programs["classic"].attach(hooks.Xdp(network.inner, netns=network.path))
    with pytest.raises(EngineError, match="does not fit this hook"):
        live.programs["pass"].attach(hooks.Tcx(network.inner, netns=network.path))
