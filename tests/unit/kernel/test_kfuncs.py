"""Calls of kernel functions, in the kernel proper or in one of its modules (Debian's nf_conntrack is a module)."""

from __future__ import annotations

import errno
import shutil
import subprocess
from collections.abc import Callable

import pytest

import skep
from skep.btf.types import Func
from skep.kernel.host import kernel_version
from skep.kernel.target import KernelTypes

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("kernel")]

SOURCE = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
struct bpf_ct_opts___mine { s32 netns_id; s32 error; u8 l4proto; u8 dir; u8 reserved[2]; };
typedef struct bpf_ct_opts___mine options_t;
extern struct nf_conn *bpf_xdp_ct_lookup(struct xdp_md *, struct bpf_sock_tuple *, u32, options_t *, u32) __ksym;
extern void bpf_ct_release(struct nf_conn *) __ksym;
int error;
SEC("xdp") int look(struct xdp_md *ctx)
{
	struct bpf_sock_tuple tuple = {};
	options_t options = { .netns_id = -1, .l4proto = 6 };
	tuple.ipv4.saddr = bpf_htonl(0x0a000001);
	tuple.ipv4.dport = bpf_htons(1);
	struct nf_conn *found = bpf_xdp_ct_lookup(ctx, &tuple, sizeof(tuple.ipv4), &options, sizeof(options));
	if (found)
		bpf_ct_release(found);
	error = options.error;
	return found ? XDP_DROP : XDP_PASS;
}
char LICENSE[] SEC("license") = "GPL";
"""


def test_functions_of_connection_tracking(record_property: Callable[[str, object], None]) -> None:
    if kernel_version()[:2] < (5, 18):
        pytest.skip("since Linux 5.18")
    if shutil.which("modprobe"):  # nothing happens where it is built in, or there already
        subprocess.run(["modprobe", "nf_conntrack"], capture_output=True, check=False)
    place = KernelTypes().find("bpf_xdp_ct_lookup", Func)
    assert place is not None, "nf_conntrack is not in this kernel"
    record_property("feature", f"kfunc of {place.module or 'the kernel'}")
    with skep.load(skep.compile(skep.SourceFile("look.bpf.c", SOURCE)), engine="kernel") as live:
        run = live.programs["look"].run(bytes(64))
        assert (run.retval, live.variables["error"].value) == (2, -errno.ENOENT)
