"""Every offset and size of the structures behind pointers, as the running kernel sees it."""

from __future__ import annotations

import errno

import pytest

from skep.abi.helpers import HELPERS
from skep.abi.kernel_objects import FLOW_KEYS, SOCK, SOCK_COMMON, TCP_SOCK, KernelObject
from skep.abi.prog_types import ProgType
from skep.isa.assembler import assemble
from skep.isa.codec import encode
from skep.kernel.bpf import programs
from skep.kernel.bpf.call import BpfCallError

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("kernel")]

_NAMES = {row.name: number for number, row in HELPERS.items()}
_SK = "r1 = *(u64 *)(r1 +168)\nif r1 != 0 goto +2\nr0 = 0\nexit\n"
_CALL = "call {helper}\nif r0 != 0 goto +2\nr0 = 0\nexit\nr1 = r0\n"
# How a program of a type gets a pointer into r1.
_WAYS: dict[str, tuple[ProgType, str, KernelObject]] = {
    "sock_common": (ProgType.SCHED_CLS, _SK, SOCK_COMMON),
    "sock": (ProgType.SCHED_CLS, _SK + _CALL.format(helper="bpf_sk_fullsock#95"), SOCK),
    "tcp_sock": (ProgType.SCHED_CLS, _SK + _CALL.format(helper="bpf_tcp_sock#96"), TCP_SOCK),
    "flow_keys": (ProgType.FLOW_DISSECTOR, "r1 = *(u64 *)(r1 +144)\n", FLOW_KEYS),
}
_TYPES = {1: "u8", 2: "u16", 4: "u32", 8: "u64"}


def kernel_accepts(prog_type: ProgType, text: str) -> bool | None:
    """None: this kernel's verifier trips over its own conversion of the access (EFAULT), which says nothing."""
    request = programs.LoadRequest(prog_type=prog_type, code=encode(assemble(text, helpers=_NAMES)))
    try:
        fd, _ = programs.load(request)
    except BpfCallError as error:
        if error.errno not in (errno.EACCES, errno.EINVAL, errno.EFAULT):
            pytest.fail(f"{error}\n{text}\n{error.log}")
        return None if error.errno == errno.EFAULT else False
    fd.close()
    return True


@pytest.mark.parametrize("write", [False, True], ids=["read", "write"])
@pytest.mark.parametrize("way", list(_WAYS))
def test_every_access(way: str, write: bool) -> None:
    prog_type, prefix, known = _WAYS[way]
    wrong = []
    for size, word in _TYPES.items():
        for offset in range(0, known.size + 8):
            access = f"*({word} *)(r1 +{offset}) = 0" if write else f"r2 = *({word} *)(r1 +{offset})"
            accepted = kernel_accepts(prog_type, f"{prefix}{access}\nr0 = 0\nexit\n")
            if accepted is not None and accepted != known.may_access(offset, size, write=write):
                wrong.append((offset, size, accepted))
    assert wrong == [], wrong
