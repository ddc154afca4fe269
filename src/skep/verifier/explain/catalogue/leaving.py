"""V05: leaving a function or program; V06: effort; V07: the program as a whole; V09: what skep does not do yet."""

from __future__ import annotations

from skep.verifier.explain.entry import Entry
from skep.verifier.requirements.kinds import Rule

ENTRIES = (
    Entry(
        "V0703",
        Rule.EXTENSION,
        "the program cannot replace that function",
        ("the program cannot replace {function}(): {reason}",),
        why=("the callers of a function were verified for its prototype, and for what it does",),
        help="give it the prototype of the function that it replaces, and no more to do",
    ),
    Entry(
        "V0501",
        Rule.REFERENCE_LEAK,
        "something acquired is not released",
        (
            "what {acquirer} acquired at {acquired_place} is not released on this path",
            "what was acquired at {acquired_place} is not released on this path",
        ),
        why=("{event_phrase}",),
        help="release it on every path, also where something fails in between: {releaser}",
    ),
    Entry(
        "V0502",
        Rule.RETURN_UNINITIALISED,
        "nothing is returned",
        ("on this path nothing was put into r0, the result",),
        help="return a value on every path:  return 0;",
    ),
    Entry(
        "V0503",
        Rule.RETURN_KIND,
        "a pointer is returned where a number must be",
        ("the result is {pointer_phrase}; it must be a number",),
        help="return the value it points to, or 0 and 1",
    ),
    Entry(
        "V0504",
        Rule.RETURN_RANGE,
        "the result is outside what this kind of program may return",
        (
            "the {where} may return {returned}; only {low} to {high} mean something",
            "the result is outside what this kind of program may return",
        ),
        help="return a constant of this hook (0 or 1 for cgroup programs and callbacks) on every path",
    ),
    Entry(
        "V0505",
        Rule.STACK_ESCAPE,
        "an address in a function's stack would outlive the function",
        ("an address in this function's stack is returned or stored where it would outlive the function",),
        help="let the caller own the variable and pass its address in",
    ),
    Entry(
        "V0601",
        Rule.INFINITE_LOOP,
        "a loop does not end",
        ("this loop comes round with nothing changed: it would not end",),
        help="count up to a constant:  for (int i = 0; i < 64; i++)",
    ),
    Entry(
        "V0602",
        Rule.TOO_COMPLEX,
        "the program is too complex to verify",
        ("after {insns} instructions the program was not verified completely",),
        why=("every path is followed; loops are followed round by round, unless two rounds look alike",),
        help="lower the bounds of loops, use bpf_loop() for long ones, or move parts into global functions",
    ),
    Entry(
        "V0603",
        Rule.TOO_MANY_BRANCHES,
        "too many branches are open at once",
        ("{states} branches are open at once",),
        help="move parts into global (non-static) functions: each is verified once, alone",
    ),
    Entry(
        "V0701",
        Rule.POISONED,
        "the program needs something that the target's kernel does not have",
        ("a path leads to code for something the target does not have: {reason}",),
        why=("the CO-RE relocation here could not be resolved, so the code must not be reached",),
        help="ask first:  if (bpf_core_field_exists(p->field)) ...",
    ),
    Entry(
        "V0702",
        Rule.PROGRAM,
        "the program cannot be loaded as it is",
        ("{reason}",),
        help="{program_help}",
    ),
    Entry(
        "V0901",
        Rule.UNSUPPORTED,
        "skep's verifier does not do this yet",
        ("skep's verifier does not know this yet: {feature}",),
        why=("what it does not know it rejects; Linux may well accept the program",),
        help="{instead}",
        said_by_kernel=False,
    ),
)
