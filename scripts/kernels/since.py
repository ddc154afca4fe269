"""Tests that ask for more than an older kernel has: skipped there, and the version that brought it is the reason.

Most tests know by themselves what they need. These compare tables that describe the newest kernel, or walk over a whole
table of which an older kernel knows a part.
"""

from __future__ import annotations

import re
from typing import Final

Version = tuple[int, int]

_V4: Final = r"(s(div|mod)(32|64)_(imm|reg)|movsx\d+_\d+|bswap\d+|gotol|load_signed\d+)"  # BPF CPU v4
#: (what a test's id matches, the Linux version it needs, what that version brought)
SINCE: Final[tuple[tuple[re.Pattern[str], Version, str], ...]] = tuple(
    (re.compile(pattern), version, what)
    for pattern, version, what in (
        (r"tests/differential/abi/", (6, 18), "the tables describe"),
        (rf"test_isa_kernel\.py::test_the_kernel_prints_what_we_print\[{_V4}\]", (6, 6), "instruction set v4:"),
        (r"test_isa_kernel\.py::test_the_machine_computes_what_we_compute", (6, 6), "instruction set v4:"),
        (r"test_isa_kernel\.py::.*\[may_goto\]", (6, 14), "may_goto that goes nowhere:"),
        (r"test_isa_kernel\.py::.*\[addr_space_cast\]", (6, 9), "arenas:"),
        (r"test_isa_kernel\.py::.*\[(load_acquire|store_release)\d+\]", (6, 15), "load-acquire and store-release:"),
    )
)


def too_old(node: str, running: Version) -> str:
    """Why a test cannot pass on a kernel of this version; "" if nothing is known against it."""
    for pattern, version, what in SINCE:
        if running < version and pattern.search(node):
            return f"{what} Linux {version[0]}.{version[1]}"
    return ""
