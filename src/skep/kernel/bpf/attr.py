"""The structures of union bpf_attr and of what bpf(2) answers (uapi linux/bpf.h of 7.3), as tables.

The kernel takes shorter and longer structures than its own, as long as what it does not know is zero: one layout
serves all versions. Numbers only; pointers are addresses of buffers that the caller keeps alive during the call.
"""

from __future__ import annotations

import ctypes
from typing import Any, ClassVar

U8, U16, U32, S32, U64 = ctypes.c_uint8, ctypes.c_uint16, ctypes.c_uint32, ctypes.c_int32, ctypes.c_uint64
NAME_BYTES = 16  # BPF_OBJ_NAME_LEN, with the NUL
TAG_BYTES = 8  # BPF_TAG_SIZE
Name = ctypes.c_char * NAME_BYTES


def _u32s(*names: str) -> list[tuple[str, type[Any]]]:
    return [(name, U32) for name in names]


def _u64s(*names: str) -> list[tuple[str, type[Any]]]:
    return [(name, U64) for name in names]


class MapCreateAttr(ctypes.Structure):
    """BPF_MAP_CREATE."""

    _fields_: ClassVar = [
        *_u32s("map_type", "key_size", "value_size", "max_entries", "map_flags", "inner_map_fd", "numa_node"),
        ("map_name", Name),
        *_u32s("map_ifindex", "btf_fd", "btf_key_type_id", "btf_value_type_id", "btf_vmlinux_value_type_id"),
        ("map_extra", U64),
        ("value_type_btf_obj_fd", S32),
        ("map_token_fd", S32),
        ("excl_prog_hash", U64),
        ("excl_prog_hash_size", U32),
    ]


class ElementAttr(ctypes.Structure):
    """BPF_MAP_*_ELEM, BPF_MAP_GET_NEXT_KEY (``value`` is next_key), BPF_MAP_FREEZE."""

    _fields_: ClassVar = [("map_fd", U32), *_u64s("key", "value", "flags")]


class BatchAttr(ctypes.Structure):
    """BPF_MAP_*_BATCH."""

    _fields_: ClassVar = [
        *_u64s("in_batch", "out_batch", "keys", "values"),
        *_u32s("count", "map_fd"),
        *_u64s("elem_flags", "flags"),
    ]


class ProgLoadAttr(ctypes.Structure):
    """BPF_PROG_LOAD. ``attach_btf_obj_fd`` shares its place with attach_prog_fd."""

    _fields_: ClassVar = [
        *_u32s("prog_type", "insn_cnt"),
        *_u64s("insns", "license"),
        *_u32s("log_level", "log_size"),
        ("log_buf", U64),
        *_u32s("kern_version", "prog_flags"),
        ("prog_name", Name),
        *_u32s("prog_ifindex", "expected_attach_type", "prog_btf_fd", "func_info_rec_size"),
        ("func_info", U64),
        *_u32s("func_info_cnt", "line_info_rec_size"),
        ("line_info", U64),
        *_u32s("line_info_cnt", "attach_btf_id", "attach_btf_obj_fd", "core_relo_cnt"),
        *_u64s("fd_array", "core_relos"),
        *_u32s("core_relo_rec_size", "log_true_size"),
        ("prog_token_fd", S32),
        ("fd_array_cnt", U32),
        ("signature", U64),
        ("signature_size", U32),
        ("keyring_id", S32),
    ]


class ObjectAttr(ctypes.Structure):
    """BPF_OBJ_PIN, BPF_OBJ_GET."""

    _fields_: ClassVar = [("pathname", U64), *_u32s("bpf_fd", "file_flags"), ("path_fd", S32)]


class TestRunAttr(ctypes.Structure):
    """BPF_PROG_TEST_RUN."""

    _fields_: ClassVar = [
        *_u32s("prog_fd", "retval", "data_size_in", "data_size_out"),
        *_u64s("data_in", "data_out"),
        *_u32s("repeat", "duration", "ctx_size_in", "ctx_size_out"),
        *_u64s("ctx_in", "ctx_out"),
        *_u32s("flags", "cpu", "batch_size"),
    ]


class IdAttr(ctypes.Structure):
    """BPF_*_GET_NEXT_ID, BPF_*_GET_FD_BY_ID (``id`` is the one to start after, or the one wanted)."""

    _fields_: ClassVar = [*_u32s("id", "next_id", "open_flags"), ("token_fd", S32)]


class InfoAttr(ctypes.Structure):
    """BPF_OBJ_GET_INFO_BY_FD."""

    _fields_: ClassVar = [*_u32s("bpf_fd", "info_len"), ("info", U64)]


class BtfLoadAttr(ctypes.Structure):
    """BPF_BTF_LOAD."""

    _fields_: ClassVar = [
        *_u64s("btf", "btf_log_buf"),
        *_u32s("btf_size", "btf_log_size", "btf_log_level", "btf_log_true_size", "btf_flags"),
        ("btf_token_fd", S32),
    ]


class TaskFdQueryAttr(ctypes.Structure):
    """BPF_TASK_FD_QUERY."""

    _fields_: ClassVar = [
        *_u32s("pid", "fd", "flags", "buf_len"),
        ("buf", U64),
        *_u32s("prog_id", "fd_type"),
        *_u64s("probe_offset", "probe_addr"),
    ]


class EnableStatsAttr(ctypes.Structure):
    """BPF_ENABLE_STATS."""

    _fields_: ClassVar = [("type", U32)]


class BindMapAttr(ctypes.Structure):
    """BPF_PROG_BIND_MAP."""

    _fields_: ClassVar = _u32s("prog_fd", "map_fd", "flags")


class TokenAttr(ctypes.Structure):
    """BPF_TOKEN_CREATE."""

    _fields_: ClassVar = _u32s("flags", "bpffs_fd")


class StreamAttr(ctypes.Structure):
    """BPF_PROG_STREAM_READ_BY_FD."""

    _fields_: ClassVar = [("stream_buf", U64), *_u32s("stream_buf_len", "stream_id", "prog_fd")]


class ProgInfo(ctypes.Structure):
    """struct bpf_prog_info. ``gpl_compatible`` is bit 0 of ``bits``."""

    _fields_: ClassVar = [
        *_u32s("type", "id"),
        ("tag", U8 * TAG_BYTES),
        *_u32s("jited_prog_len", "xlated_prog_len"),
        *_u64s("jited_prog_insns", "xlated_prog_insns", "load_time"),
        *_u32s("created_by_uid", "nr_map_ids"),
        ("map_ids", U64),
        ("name", Name),
        *_u32s("ifindex", "bits"),
        *_u64s("netns_dev", "netns_ino"),
        *_u32s("nr_jited_ksyms", "nr_jited_func_lens"),
        *_u64s("jited_ksyms", "jited_func_lens"),
        *_u32s("btf_id", "func_info_rec_size"),
        ("func_info", U64),
        *_u32s("nr_func_info", "nr_line_info"),
        *_u64s("line_info", "jited_line_info"),
        *_u32s("nr_jited_line_info", "line_info_rec_size", "jited_line_info_rec_size", "nr_prog_tags"),
        *_u64s("prog_tags", "run_time_ns", "run_cnt", "recursion_misses"),
        *_u32s("verified_insns", "attach_btf_obj_id", "attach_btf_id", "pad"),
    ]


class MapInfo(ctypes.Structure):
    """struct bpf_map_info."""

    _fields_: ClassVar = [
        *_u32s("type", "id", "key_size", "value_size", "max_entries", "map_flags"),
        ("name", Name),
        *_u32s("ifindex", "btf_vmlinux_value_type_id"),
        *_u64s("netns_dev", "netns_ino"),
        *_u32s("btf_id", "btf_key_type_id", "btf_value_type_id", "btf_vmlinux_id"),
        *_u64s("map_extra", "hash"),
        *_u32s("hash_size", "pad"),
    ]


class BtfInfo(ctypes.Structure):
    """struct bpf_btf_info."""

    _fields_: ClassVar = [("btf", U64), *_u32s("btf_size", "id"), ("name", U64), *_u32s("name_len", "kernel_btf")]
