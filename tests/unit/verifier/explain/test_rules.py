"""From violations to diagnostics: the words, the place, the reasons."""

from __future__ import annotations

import pytest

from skep.abi.prog_types import ProgType
from skep.diagnostics import Span, render
from skep.isa.assembler import assemble
from skep.isa.instruction import slots
from skep.model.programs import LinkedProgram, Subprogram
from skep.model.target import Target
from skep.verifier.explain.names import assigned, dereferenced
from skep.verifier.explain.path import find_span
from skep.verifier.explain.rules import diagnose
from skep.verifier.explain.slice import makers, simple_path
from skep.verifier.explain.words import phrase
from skep.verifier.flow.structure import Flaw, StructureViolation
from skep.verifier.requirements.kinds import Rule, Violation

COUNT = """
*(u32 *)(r10 -4) = 0
r2 = r10
r2 += -4
r1 = 0 ll
call 1
r6 = r0
r1 = *(u64 *)(r6 +0)
exit
"""

LINES = {
    0: Span("count.bpf.c", 14, 11, 0, "    __u32 key = 0;"),
    3: Span("count.bpf.c", 15, 22, 0, "    __u64 *counter = bpf_map_lookup_elem(&hits, &key);"),
    7: Span("count.bpf.c", 17, 5, 0, "    *counter += 1;"),
}


def program(text: str, lines: dict[int, Span] | None = None) -> LinkedProgram:
    insns = assemble(text)
    return LinkedProgram(
        name="count",
        section="xdp",
        prog_type=ProgType.XDP,
        attach_type=None,
        attach_to="",
        sleepable=False,
        frags=False,
        license="GPL",
        insns=insns,
        subprograms=(Subprogram("count", 0, len(slots(insns))),),
        lines=lines or {},
        maps={},
        target=Target("test", (6, 18, 0)),
    )


NULLABLE = Violation(
    Rule.NULLABLE,
    None,
    "R6 invalid mem access 'map_value_or_null'",
    6,
    {"pointer": "map_value_or_null", "map": "hits"},
    7,
)


def test_golden_null_check() -> None:
    linked = program(COUNT, LINES)
    said = render(diagnose(NULLABLE, linked, trace=[0, 1, 2, 3, 5, 6, 7]))
    assert (
        said
        == """\
error[V0301]: the value from map 'hits' is used before it is checked for NULL
  --> count.bpf.c:17:5, in program 'count'
   |
17 |     *counter += 1;
   |     ^ counter (r6) is map_value_or_null here (instruction 7: r1 = *(u64 *)(r6 +0))
   = path:
       15: __u64 *counter = bpf_map_lookup_elem(&hits, &key);
       17: *counter += 1;
   = why: bpf_map_lookup_elem() at line 15 returns NULL when the key is absent
   = help: test it first:  if (!counter) return XDP_PASS;
   = kernel says: R6 invalid mem access 'map_value_or_null'"""
    )


def test_without_lines_and_trace() -> None:
    found = diagnose(NULLABLE, program(COUNT))
    assert found.span is None
    assert found.why == ("r6 is map_value_or_null here (instruction 7: r1 = *(u64 *)(r6 +0))",)
    assert found.insn == 7
    assert "program 'count', instruction 7" in render(found)


def test_lost_register() -> None:
    linked = program("r3 = 1\ncall 5\nr0 = r3\nexit")
    violation = Violation(Rule.UNINITIALISED, None, "R3 !read_ok", 3, {}, 2)
    found = diagnose(violation, linked, trace=[0, 1, 2])
    assert found.what == "r3 is used, but nothing was put into it on this path"
    assert found.why[1:] == ("a call leaves nothing in r1 to r5: r3 was set before the call at instruction 1",)


def test_structure_violation() -> None:
    violation = StructureViolation(Flaw.SHIFT_AMOUNT, 1, "invalid shift 40", {"amount": 40, "width": 32})
    found = diagnose(violation, program("r0 = 0\nw0 <<= 31\nexit"))
    assert (found.code, found.what) == ("V0115", "shift by 40 in 32 bits")
    assert found.help is not None
    assert "0 to 31" in found.help


def test_helper_by_number_and_leak() -> None:
    found = diagnose(Violation(Rule.HELPER_GPL, None, "x", None, {"helper": 6}, 0), program("r0 = 0\nexit"))
    assert found.what.startswith("bpf_trace_printk() is only for")
    leak = Violation(Rule.REFERENCE_LEAK, None, "x", None, {"event": "exit", "acquired_at": 3}, 7)
    found = diagnose(leak, program(COUNT, LINES))
    assert found.what == "what was acquired at line 15 is not released on this path"
    assert found.why == ("the program ends here",)


def test_unsupported_always_says_what_to_do() -> None:
    bare = Violation(Rule.UNSUPPORTED, None, "x", None, {"feature": "bpf_timer", "instead": ""}, 0)
    found = diagnose(bare, program("r0 = 0\nexit"))
    assert found.help is not None
    assert "kernel engine" in found.help
    assert found.kernel is None
    told = Violation(Rule.UNSUPPORTED, None, "x", None, {"feature": "bpf_timer", "instead": "poll a map"}, 0)
    assert diagnose(told, program("r0 = 0\nexit")).help == "poll a map"


@pytest.mark.parametrize("rule", [*Rule, *Flaw])
def test_every_rule_can_be_said_without_values(rule: Rule | Flaw) -> None:
    """A violation that brings fewer values than its row could use still gets whole sentences."""
    violation = (
        Violation(rule, None, "kernel", None, {}, 0)
        if isinstance(rule, Rule)
        else StructureViolation(rule, 0, "kernel", {})
    )
    said = render(diagnose(violation, program("r0 = 0\nexit")))
    assert "{" not in said.replace("{}", "")
    assert "None" not in said


def test_lines_stop_at_functions() -> None:
    linked = program("call pc+1\nexit\nr0 = 0\nexit", {0: Span("a.c", 1)})
    cut = (Subprogram("main", 0, 2), Subprogram("f", 2, 4))
    assert find_span(linked, 3) == Span("a.c", 1)
    two = LinkedProgram(
        **{name: getattr(linked, name) for name in linked.__slots__ if name != "subprograms"}, subprograms=cut
    )
    assert find_span(two, 3) is None


def test_phrases() -> None:
    assert phrase("map_value_or_null") == "a pointer to a map's value that may be NULL"
    assert phrase("something_new") == "something_new"


def test_makers_follow_copies_and_spills() -> None:
    code = slots(assemble("r6 = r1\n*(u64 *)(r10 -8) = r6\nr6 = 0\nr3 = *(u64 *)(r10 -8)\nr3 += 4\nr0 = r3\nexit"))
    assert makers(code, [0, 1, 2, 3, 4, 5, 6], 0) == [5, 4, 3, 1, 0]


def test_makers_skip_callees() -> None:
    code = slots(assemble("r6 = 7\nr1 = 1\ncall pc+2\nr0 = r6\nexit\nr6 = 9\nr0 = r6\nexit"))
    path = [0, 1, 2, 5, 6, 7, 3, 4]
    assert makers(code, path, 6) == [0]
    assert makers(code, path[:7], 0) == [6, 5]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("    *counter += 1;", "counter"),
        ("    if (eth->h_proto == bpf_htons(0x0800))", "eth"),
        ("    value->counters[ctx->ingress_ifindex]++;", None),  # value, or counters: not sure
        ("    return a->x + b->y;", None),
        ("    total = count * 3;", None),
        ("    x = *(__u32 *)data;", "data"),
        ('    bpf_printk("*p", 1); // q->r', None),
        ("    return ctx->mark;", None),
    ],
)
def test_guessed_names(text: str, name: str | None) -> None:
    assert dereferenced(Span("a.c", 1, 5, 0, text)) == name


def test_makers_skip_callbacks_of_helpers() -> None:
    """A callback's body is between the call of its helper and the instruction after it."""
    text = "r6 = 7\nr2 = 4 ll\ncall 181\nr0 = r6\nexit\nr6 = 9\nr0 = 0\nexit"
    code = slots(assemble(text))
    path = [0, 1, 3, 6, 7, 8, 3, 6, 7, 8, 4, 5]
    assert makers(code, path, 6) == [0]


def test_simple_path_drops_rounds_and_calls_that_came_back() -> None:
    loop = slots(assemble("r1 = 0\nr1 += 1\nif r1 < 9 goto -2\nr0 = 0\nexit"))
    path = [0, 1, 2, 1, 2, 1, 2, 3, 4]
    assert [path[at] for at in simple_path(loop, path)] == [0, 1, 2, 3, 4]
    call = slots(assemble("r6 = 7\nr1 = 1\ncall pc+2\nr0 = r6\nexit\nr6 = 9\nr0 = r6\nexit"))
    back = [0, 1, 2, 5, 6, 7, 3, 4]
    assert [back[at] for at in simple_path(call, back)] == [0, 1, 2, 3, 4]
    assert [back[at] for at in simple_path(call, back[:5])] == [0, 1, 2, 5, 6]


def test_path_says_which_way_conditions_went() -> None:
    linked = program("r1 = 7\nif r1 s> 4 goto +1\nr1 = 9\nr0 = 0\nr0 = r5\nexit")
    violation = Violation(Rule.UNINITIALISED, None, "R5 !read_ok", 5, {}, 4)
    assert [(step.insn, step.note) for step in diagnose(violation, linked, [0, 1, 3, 4]).path] == [
        (1, "if r1 s> 0x4 goto pc+1  -- r1 > 4 (signed)"),
        (4, "r0 = r5"),
    ]
    other = diagnose(violation, linked, [0, 1, 2, 3, 4]).path
    assert [step.note.partition("  -- ")[2] for step in other] == ["r1 <= 4 (signed)", ""]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("    __u64 *counter = bpf_map_lookup_elem(&hits, &key);", "counter"),
        ("    i += 4;", "i"),
        ("    if (n == 4)", None),
        ("    p->field = 3;", None),
        ("    *p = 3;", None),
        ("    *(volatile int *)&limit = 20;", None),
        ("    int a = 1, b = 2;", None),
        ("    for (int i = 0; i < 4; i++)", "i"),
        ("    return *p;", None),
    ],
)
def test_assigned_names(text: str, name: str | None) -> None:
    assert assigned(Span("a.c", 1, 5, 0, text)) == name
