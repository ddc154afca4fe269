"""freplace: a function of a loaded program replaced by another object's, and put back. A kernel whose policy refuses
such programs skips; `make test-kernels` runs this in QEMU.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack, closing

import pytest

import skep
from skep.errors import EngineError, RejectedError, UsageError
from skep.kernel.engine import KernelEngine
from skep.kernel.host import kernel_version
from skep.model import hooks
from skep.verifier import judge
from tests.unit.kernel_links.conftest import Load
from tests.unit.verifier.core import test_extension as extensions

pytestmark = pytest.mark.kernel

BASE = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
__noinline int choose(struct xdp_md *ctx, int x) { volatile int v = x; return v + 1 + (ctx->rx_queue_index > 1000); }
__noinline int twin(struct xdp_md *ctx, int x) { volatile int v = x; return v + 100 + (ctx->rx_queue_index > 1000); }
SEC("xdp") int outer(struct xdp_md *ctx) { return choose(ctx, 1) + twin(ctx, 0); }
char LICENSE[] SEC("license") = "GPL";
"""
EXTENSION = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
__u32 calls;
SEC("freplace/choose") int mine(struct xdp_md *ctx, int x)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	calls++;
	return data + 14 > end ? 0 : x + 50;
}
SEC("freplace/choose") int wrong(struct xdp_md *ctx) { return 1; }
char LICENSE[] SEC("license") = "GPL";
"""
PACKET = bytes(64)
Extend = Callable[..., tuple[skep.Program, skep.Object]]


@pytest.fixture
def extend(load: Load) -> Extend:
    def make(name: str) -> tuple[skep.Program, skep.Object]:
        base = load(BASE).programs["outer"]
        try:
            return base, load(EXTENSION, programs=[name], extends={name: base})
        except EngineError as error:
            if error.diagnostic.code == "E0222" and "SKEP_KERNEL_ROW" not in os.environ:
                pytest.skip(f"refused here: {error.diagnostic.what}")
            raise

    return make


def test_a_function_is_replaced_and_put_back(extend: Extend) -> None:
    base, extension = extend("mine")
    assert base.run(PACKET).retval == 102
    with extension.programs["mine"].attach() as link:
        assert base.run(PACKET).retval == 151
        assert extension.variables["calls"].value == 1
        assert link.info()["type"] == "tracing"
    assert base.run(PACKET).retval == 102


def test_another_function_of_the_same_shape(extend: Extend) -> None:
    """The target that an extension was loaded for is a proposal; another one is given when it is attached (5.10)."""
    base, extension = extend("mine")
    with extension.programs["mine"].attach(hooks.Freplace(base, "twin")):
        assert base.run(PACKET).retval == 2 + 50
    assert base.run(PACKET).retval == 102


def test_a_prototype_that_does_not_fit(extend: Extend) -> None:
    """Both verifiers say why: the kernel's sentence and ours."""
    with pytest.raises(RejectedError) as caught:
        extend("wrong")
    assert caught.value.diagnostics[0].code == "V0703"
    assert caught.value.diagnostics[0].kernel == "wrong() has 1 args while choose() has 2 args"


def test_verdicts_are_the_kernels(kernel: None) -> None:
    """What the verifier's own tests say, asked of a kernel that takes such programs."""
    if kernel_version()[:2] < (6, 12):
        pytest.skip("before Linux 6.12 effects on packets are not compared")
    with closing(KernelEngine(extensions.TARGET)) as engine, ExitStack() as stack:
        for source, function in [*extensions.ACCEPTED, *(case[:2] for case in extensions.REFUSED)]:
            mine = extensions.extension(source, function)
            assert mine.extends is not None
            base = engine.load_linked(mine.extends, {})
            stack.callback(base.close)
            try:
                engine.load_linked(mine, {}, base).close()
                said = None
            except RejectedError as error:
                said = error.diagnostics[0].kernel
            except EngineError as error:
                if error.diagnostic.code == "E0222" and "SKEP_KERNEL_ROW" not in os.environ:
                    pytest.skip(f"refused here: {error.diagnostic.what}")
                if error.diagnostic.code != "E0225":  # the loader looks for the function before the kernel does
                    raise
                said = f"Subprog {function} doesn't exist"
            ours = judge(mine).diagnostics
            assert (ours[0].kernel if ours else None) == said, source


def test_which_program_must_be_said(load: Load) -> None:
    with pytest.raises(UsageError, match="which"):
        load(EXTENSION, programs=["mine"])
