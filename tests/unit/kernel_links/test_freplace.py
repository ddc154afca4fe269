"""freplace: a function of a loaded program replaced by another object's, and put back. A kernel whose policy refuses
such programs skips; `make test-kernels` runs this in QEMU.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

import skep
from skep.errors import EngineError, RejectedError, UsageError
from skep.model import hooks
from tests.unit.kernel_links.conftest import Load

pytestmark = pytest.mark.kernel

BASE = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
__noinline int choose(struct xdp_md *ctx, int x) { volatile int v = x; return v + 1 + (ctx->data == 0); }
__noinline int twin(struct xdp_md *ctx, int x) { volatile int v = x; return v + 100 + (ctx->data == 0); }
SEC("xdp") int outer(struct xdp_md *ctx) { return choose(ctx, 1) + twin(ctx, 0); }
char LICENSE[] SEC("license") = "GPL";
"""
EXTENSION = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
__u32 calls;
SEC("freplace/choose") int mine(struct xdp_md *ctx, int x)
{ calls++; return ctx->data + 14 > ctx->data_end ? 0 : x + 50; }
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


def test_which_program_must_be_said(load: Load) -> None:
    with pytest.raises(UsageError, match="which"):
        load(EXTENSION, programs=["mine"])
