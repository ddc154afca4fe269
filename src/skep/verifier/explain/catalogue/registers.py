"""V02: registers and arithmetic."""

from __future__ import annotations

from skep.verifier.explain.entry import Entry
from skep.verifier.requirements.kinds import Rule

ENTRIES = (
    Entry(
        "V0201",
        Rule.UNINITIALISED,
        "a value is used that was never set",
        ("{reg} is used, but nothing was put into it on this path",),
        label="{reg} holds nothing here",
        why=("a call leaves nothing in r1 to r5: {reg} was set before the call at {clobbered}",),
        help="give the variable a value where it is declared: `int x = 0;`",
    ),
    Entry(
        "V0202",
        Rule.POINTER_MATH_32,
        "32-bit arithmetic on a pointer",
        ("32-bit arithmetic on {reg}, which is {pointer_phrase}",),
        why=("half of an address means nothing",),
        help="keep pointers in `void *` or `unsigned long`, never in `int` or `__u32`",
    ),
    Entry(
        "V0203",
        Rule.POINTER_MATH_OPERATOR,
        "an operation that pointers do not have",
        ("`{operator}` on {reg}, which is {pointer_phrase}",),
        why=("only adding to a pointer and subtracting from it keep it a pointer",),
        help="do the arithmetic on the number first, then add it to the pointer once: `p += (n & 0xff) * 4;`",
    ),
    Entry(
        "V0204",
        Rule.POINTER_MATH_PAIR,
        "arithmetic with two pointers",
        ("`{operator}` with two pointers",),
        why=("the result would be neither an address nor a number that may be known",),
        help="subtract only pointers into the same packet, and use the result only as a number",
    ),
    Entry(
        "V0205",
        Rule.POINTER_MATH_FORBIDDEN,
        "this kind of pointer cannot be moved",
        ("{reg} is {pointer_phrase}, which cannot be moved",),
        why=("it names an object, not memory",),
        help="use it as it is: `ctx->field` for a field; compare `data + n` with data_end instead of moving data_end",
    ),
    Entry(
        "V0206",
        Rule.POINTER_MATH_NULLABLE,
        "a pointer is moved before it is checked for NULL",
        ("{reg} is {pointer_phrase}; it is moved before it is checked",),
        why=("NULL + offset would not compare equal to NULL any more",),
        help="test it first:  if (!p) return 0;  then use p[i] or &p->member",
    ),
    Entry(
        "V0207",
        Rule.POINTER_MATH_UNBOUNDED,
        "a number without limits is added to a pointer",
        ("the number that is added to {reg} ({pointer_phrase}) has no lower limit here",),
        why=("it may be as low as {value}",),
        help="limit the index just before, as unsigned:  if (i >= N) return 0;  or  i &= N - 1;  with N a power of two",
    ),
    Entry(
        "V0208",
        Rule.POINTER_MATH_RANGE,
        "a pointer is moved too far",
        ("{reg} ({pointer_phrase}) is moved by {value}, beyond what the verifier follows",),
        why=("the limit is 2^29 bytes in both directions",),
        help="check the arithmetic: the offset is probably negative, or a 64-bit value used by mistake",
    ),
    Entry(
        "V0209",
        Rule.POINTER_SUBTRACT,
        "a pointer is subtracted",
        ("a pointer cannot be subtracted here",),
        why=("number - pointer is not an address", "addresses in the stack are known: add a negative constant instead"),
        help="turn it round: `p - n` or `p + n`",
    ),
    Entry(
        "V0210",
        Rule.POINTER_BYTESWAP,
        "a pointer is negated or its bytes are swapped",
        ("{reg} is {pointer_phrase}: it cannot be negated or byte-swapped",),
        help="read the value first:  bpf_ntohs(*p)  instead of  bpf_ntohs(p)",
    ),
    Entry(
        "V0211",
        Rule.POINTER_PARTIAL_COPY,
        "only a part of a pointer is copied",
        ("{reg} is {pointer_phrase}; only a part of it is copied",),
        help="keep it in `void *` or `unsigned long`, never in `int` or `__u32`",
    ),
    Entry(
        "V0212",
        Rule.POINTER_COMPARE,
        "a comparison of pointers that tells nothing",
        ("{reg} is {pointer_phrase}: it can only be compared with NULL, or with the end of its packet",),
        help="compare packet pointers with data_end, and others with NULL",
    ),
    Entry(
        "V0213",
        Rule.POINTER_LEAK,
        "an address would leave the program",
        ("{reg} is {pointer_phrase}: its address must not leave the program",),
        why=("an unprivileged program must not learn addresses of the kernel",),
        help="store or return the value it points to, not the pointer",
    ),
)
