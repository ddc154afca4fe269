"""struct skep_map: the start of a map's memory, as Python sees it."""

from __future__ import annotations

import ctypes

MAGIC = 0x31706D70656B73
VERSION = 1


class Header(ctypes.Structure):
    """The constant part of struct skep_map in native/skep.h; see there for the fields."""

    _fields_ = (
        ("magic", ctypes.c_uint64),
        ("version", ctypes.c_uint32),
        ("type", ctypes.c_uint32),
        ("key_size", ctypes.c_uint32),
        ("value_size", ctypes.c_uint32),
        ("max_entries", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("ncpus", ctypes.c_uint32),
        ("value_stride", ctypes.c_uint32),
        ("size", ctypes.c_uint64),
        ("values", ctypes.c_uint64),
        ("buckets", ctypes.c_uint64),
        ("elem_stride", ctypes.c_uint64),
        ("nbuckets", ctypes.c_uint32),
        ("nhashes", ctypes.c_uint32),
        ("seed", ctypes.c_uint64),
        ("ring_size", ctypes.c_uint64),
        ("consumer", ctypes.c_uint64),
        ("producer", ctypes.c_uint64),
        ("lost", ctypes.c_uint64),
        ("owner", ctypes.c_uint32),
        ("lock_end", ctypes.c_uint32),
    )
