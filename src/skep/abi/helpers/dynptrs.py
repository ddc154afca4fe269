"""Dynamic pointers: memory whose bounds are checked at run time."""

from __future__ import annotations

from skep.abi.helpers.groups import BASE
from skep.abi.helpers.row import (
    ALLOC_SIZE,
    ANY,
    DYNPTR,
    FILLS,
    LOCAL_DYNPTR_OUT,
    MAP,
    READS,
    RINGBUF_DYNPTR,
    RINGBUF_DYNPTR_OUT,
    SIZE_OR_ZERO,
    row,
)
from skep.abi.signatures import ReturnKind, Signature

ROWS: tuple[Signature, ...] = (
    row(
        197,
        (5, 19),
        "long bpf_dynptr_from_mem(void *data, __u64 size, __u64 flags, struct bpf_dynptr *ptr)",
        FILLS,
        SIZE_OR_ZERO,
        ANY,
        LOCAL_DYNPTR_OUT,
        on=(BASE,),
    ),
    row(
        198,
        (5, 19),
        "long bpf_ringbuf_reserve_dynptr(void *ringbuf, __u32 size, __u64 flags, struct bpf_dynptr *ptr)",
        MAP,
        ANY,
        ANY,
        RINGBUF_DYNPTR_OUT,
        on=(BASE,),
    ),
    row(
        199,
        (5, 19),
        "void bpf_ringbuf_submit_dynptr(struct bpf_dynptr *ptr, __u64 flags)",
        RINGBUF_DYNPTR,
        ANY,
        on=(BASE,),
        returns=ReturnKind.VOID,
        releases=1,
    ),
    row(
        200,
        (5, 19),
        "void bpf_ringbuf_discard_dynptr(struct bpf_dynptr *ptr, __u64 flags)",
        RINGBUF_DYNPTR,
        ANY,
        on=(BASE,),
        returns=ReturnKind.VOID,
        releases=1,
    ),
    row(
        201,
        (5, 19),
        "long bpf_dynptr_read(void *dst, __u64 len, const struct bpf_dynptr *src, __u64 offset, __u64 flags)",
        FILLS,
        SIZE_OR_ZERO,
        DYNPTR,
        ANY,
        ANY,
        on=(BASE,),
    ),
    row(
        202,
        (5, 19),
        "long bpf_dynptr_write(const struct bpf_dynptr *dst, __u64 offset, void *src, __u64 len, __u64 flags)",
        DYNPTR,
        ANY,
        READS,
        SIZE_OR_ZERO,
        ANY,
        on=(BASE,),
    ),
    row(
        203,
        (5, 19),
        "void *bpf_dynptr_data(const struct bpf_dynptr *ptr, __u64 offset, __u64 len)",
        DYNPTR,
        ANY,
        ALLOC_SIZE,
        on=(BASE,),
        returns=ReturnKind.DYNPTR_MEMORY_OR_NULL,
    ),
)
