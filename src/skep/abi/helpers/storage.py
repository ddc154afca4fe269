"""Storage that lives as long as its owner: socket, task, inode, cgroup."""

from __future__ import annotations

from skep.abi.helpers.groups import BASE, CGROUP_HOOKS, SKB_SOCKET, TYPED
from skep.abi.helpers.row import ANY, BTF_SOCK, MAP, TASK_OR_NULL, VALUE_OR_NULL, btf, row
from skep.abi.prog_types import ProgType as P
from skep.abi.signatures import ReturnKind, Signature

ROWS: tuple[Signature, ...] = (
    row(
        107,
        (5, 2),
        "void *bpf_sk_storage_get(void *map, void *sk, void *value, __u64 flags)",
        MAP,
        BTF_SOCK,
        VALUE_OR_NULL,
        ANY,
        on=(SKB_SOCKET, TYPED, P.CGROUP_SOCK, P.SOCK_OPS, P.SK_MSG, P.CGROUP_SOCK_ADDR, P.CGROUP_SOCKOPT, P.STRUCT_OPS),
        returns=ReturnKind.MAP_VALUE_OR_NULL,
    ),
    row(
        108,
        (5, 2),
        "long bpf_sk_storage_delete(void *map, void *sk)",
        MAP,
        BTF_SOCK,
        on=(SKB_SOCKET, TYPED, P.SOCK_OPS, P.SK_MSG, P.CGROUP_SOCK_ADDR, P.CGROUP_SOCKOPT, P.STRUCT_OPS),
    ),
    row(
        156,
        (5, 11),
        "void *bpf_task_storage_get(void *map, struct task_struct *task, void *value, __u64 flags)",
        MAP,
        TASK_OR_NULL,
        VALUE_OR_NULL,
        ANY,
        on=(BASE,),
        returns=ReturnKind.MAP_VALUE_OR_NULL,
    ),
    row(
        157, (5, 11), "long bpf_task_storage_delete(void *map, struct task_struct *task)", MAP, TASK_OR_NULL, on=(BASE,)
    ),
    row(
        145,
        (5, 10),
        "void *bpf_inode_storage_get(void *map, void *inode, void *value, __u64 flags)",
        MAP,
        btf("inode", nullable=True),
        VALUE_OR_NULL,
        ANY,
        on=(P.LSM,),
        returns=ReturnKind.MAP_VALUE_OR_NULL,
    ),
    row(
        146,
        (5, 10),
        "int bpf_inode_storage_delete(void *map, void *inode)",
        MAP,
        btf("inode", nullable=True),
        on=(P.LSM,),
    ),
    row(
        210,
        (6, 2),
        "void *bpf_cgrp_storage_get(void *map, struct cgroup *cgroup, void *value, __u64 flags)",
        MAP,
        btf("cgroup", nullable=True),
        VALUE_OR_NULL,
        ANY,
        on=(BASE,),
        returns=ReturnKind.MAP_VALUE_OR_NULL,
    ),
    row(
        211,
        (6, 2),
        "long bpf_cgrp_storage_delete(void *map, struct cgroup *cgroup)",
        MAP,
        btf("cgroup", nullable=True),
        on=(BASE,),
    ),
    row(
        81,
        (4, 19),
        "void *bpf_get_local_storage(void *map, __u64 flags)",
        MAP,
        ANY,
        on=(CGROUP_HOOKS, P.CGROUP_SKB, P.SOCK_OPS),
        returns=ReturnKind.MAP_VALUE,
    ),
)
