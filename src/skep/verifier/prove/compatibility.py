"""Maps that sleepable programs may use (kernel: check_map_prog_compatibility)."""

from __future__ import annotations

from skep.abi.map_types import MapType as M

SLEEPABLE_MAPS = frozenset(
    {
        M.HASH,
        M.LRU_HASH,
        M.ARRAY,
        M.PERCPU_HASH,
        M.PERCPU_ARRAY,
        M.LRU_PERCPU_HASH,
        M.ARRAY_OF_MAPS,
        M.HASH_OF_MAPS,
        M.RINGBUF,
        M.USER_RINGBUF,
        M.INODE_STORAGE,
        M.SK_STORAGE,
        M.TASK_STORAGE,
        M.CGRP_STORAGE,
        M.QUEUE,
        M.STACK,
        M.ARENA,
        M.INSN_ARRAY,
        M.PROG_ARRAY,
    }
)
