"""Programs that replace a function of another one (freplace): prototypes, what they may do, where they begin."""

from __future__ import annotations

from dataclasses import replace

import pytest

from skep.linker import link
from skep.model.programs import LinkedProgram, Outcome
from skep.model.target import Target
from skep.objfile import read_object
from skep.verifier import judge
from tests.unit.objfile.build import compile_c
from tests.unit.verifier.core.linked import said

TARGET = Target("linux", (6, 18, 0))
TYPES = """
struct xdp_md { __u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex; };
struct __sk_buff { __u32 len; };
struct pair { int a, b; };
static long (*bpf_xdp_adjust_head)(struct xdp_md *ctx, int delta) = (void *) 44;
static long (*bpf_ktime_get_ns)(void) = (void *) 5;
"""
BASE = """
__noinline int choose(struct xdp_md *ctx, int x) { volatile int v = x; return v + 1; }
__noinline int shrink(struct xdp_md *ctx) { return bpf_xdp_adjust_head(ctx, 4); }
static __noinline int hidden(struct xdp_md *ctx, int x) { volatile int v = x; return v + 2; }
SEC("xdp") int outer(struct xdp_md *ctx) { return choose(ctx, 1) + hidden(ctx, 2) + shrink(ctx); }
"""


def linked(source: str, name: str) -> LinkedProgram:
    return link(read_object(compile_c(TYPES + source), "a.o"), name, TARGET)


def extension(source: str, function: str = "choose", base: str = BASE) -> LinkedProgram:
    mine = linked(f'SEC("freplace/{function}") {source}\n', "mine")
    if function == "untyped":
        base = 'SEC("xdp") int untyped(void *ctx) { return 1; }\n'
    return replace(mine, extends=linked(base, "untyped" if function == "untyped" else "outer"))


ACCEPTED = [
    ("int mine(struct xdp_md *ctx, int x) { return x + 5; }", "choose"),
    ("int mine(struct xdp_md *ctx, int x) { return ctx->rx_queue_index + x; }", "choose"),
    ("int mine(struct xdp_md *ctx) { return bpf_xdp_adjust_head(ctx, 8); }", "shrink"),
    ("int mine(struct xdp_md *ctx) { return bpf_ktime_get_ns(); }", "shrink"),
    ("int mine(struct xdp_md *ctx) { return 2; }", "outer"),
]
REFUSED = [
    ("int mine(struct xdp_md *ctx) { return 1; }", "choose", "mine() has 1 args while choose() has 2 args"),
    (
        "long mine(struct xdp_md *ctx, long x) { return 1; }",
        "choose",
        "arg1 in mine() has size 8 while choose() has 4",
    ),
    (
        "int mine(struct xdp_md *ctx, void *x) { return 1; }",
        "choose",
        "arg1 in mine() is PTR while choose() has INT",
    ),
    (
        "void mine(struct xdp_md *ctx, int x) { }",
        "choose",
        "Return type UNKNOWN of mine() doesn't match type INT of choose()",
    ),
    (
        "int mine(struct __sk_buff *ctx, int x) { return 1; }",
        "choose",
        "arg0 mine(struct __sk_buff *) doesn't match choose(struct xdp_md *)",
    ),
    ("int mine(int *ctx, int x) { return 1; }", "choose", "arg0 in mine() is not a pointer to context"),
    ("int mine(struct xdp_md *ctx, int x) { return 1; }", "hidden", "Cannot replace static functions"),
    ("int mine(struct xdp_md *ctx) { return 1; }", "untyped", "Cannot replace static functions"),
    ("int mine(struct xdp_md *ctx, int x) { return 1; }", "nowhere", "Subprog nowhere doesn't exist"),
    (
        "int mine(struct xdp_md *ctx, int x) { return bpf_xdp_adjust_head(ctx, x); }",
        "choose",
        "Extension program changes packet data, while original does not",
    ),
    ("int mine(struct xdp_md *ctx, int x) { return *(int *)(long)x; }", "choose", "R2 invalid mem access 'scalar'"),
]


@pytest.mark.parametrize(("source", "function"), ACCEPTED)
def test_accepted(source: str, function: str) -> None:
    verdict = judge(extension(source, function))
    assert verdict.outcome is Outcome.ACCEPTED, said(verdict)


@pytest.mark.parametrize(("source", "function", "sentence"), REFUSED)
def test_refused(source: str, function: str, sentence: str) -> None:
    verdict = judge(extension(source, function))
    assert verdict.outcome is Outcome.REJECTED
    assert said(verdict) == sentence or (sentence.startswith("R2") and "invalid mem access" in said(verdict))


def test_extensions_cannot_be_extended() -> None:
    first = extension("int mine(struct xdp_md *ctx, int x) { return x; }")
    again = replace(linked('SEC("freplace/mine") int mine(struct xdp_md *ctx, int x) { return 1; }\n', "mine"),
                    extends=first)  # fmt: skip
    assert said(judge(again)) == "Cannot recursively attach"


def test_without_the_other_program_nothing_is_known() -> None:
    verdict = judge(linked('SEC("freplace/choose") int mine(struct xdp_md *ctx, int x) { return x; }\n', "mine"))
    assert verdict.outcome is Outcome.UNSUPPORTED
    assert "nobody says of which" in verdict.diagnostics[0].what


def test_targets_without_types() -> None:
    mine = extension("int mine(struct xdp_md *ctx, int x) { return x; }")
    assert mine.extends is not None
    bare = replace(mine, extends=replace(mine.extends, btf=None))
    assert said(judge(bare)) == "Tracing program can only attach to another program annotated with BTF"


def test_it_returns_what_the_type_of_its_target_may() -> None:
    """cgroup_skb programs return 0 to 1; their replaced entry, too (kernel: check_return_code)."""
    base = 'SEC("cgroup_skb/ingress") int outer(struct __sk_buff *skb) { return 1; }\n'
    good = extension("int mine(struct __sk_buff *skb) { return skb->len > 5; }", "outer", base)
    bad = extension("int mine(struct __sk_buff *skb) { return skb->len; }", "outer", base)
    assert judge(good).outcome is Outcome.ACCEPTED
    assert judge(bad).outcome is Outcome.REJECTED
