"""The structures that the packet loop shares with Python: see native/capture.c and native/loops.c for their fields."""

from __future__ import annotations

import ctypes

_U32, _U64, _P = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_void_p


class Interface(ctypes.Structure):
    """struct skep_interface: one interface of a pcapng section."""

    _fields_ = (
        ("link_type", _U32),
        ("snaplen", _U32),
        ("resolution", _U32),
        ("reserved", _U32),
        ("offset_s", ctypes.c_int64),
    )


class Capture(ctypes.Structure):
    """struct skep_capture: the state of a reader."""

    _fields_ = (
        ("buffer", _P),
        ("length", _U64),
        ("position", _U64),
        ("file_offset", _U64),
        ("skip", _U64),
        ("interfaces", _P),
        ("max_interfaces", _U32),
        ("n_interfaces", _U32),
        ("format", _U32),
        ("swapped", _U32),
        ("nanoseconds", _U32),
        ("link_type", _U32),
        ("snaplen", _U32),
        ("at_end", _U32),
        ("error", _U32),
        ("error_value", _U32),
        ("error_offset", _U64),
        ("packets", _U64),
        ("bytes", _U64),
    )


class Record(ctypes.Structure):
    """struct skep_record: one packet, in the reader's buffer."""

    _fields_ = (
        ("data", _P),
        ("time_ns", _U64),
        ("captured", _U32),
        ("original", _U32),
        ("link_type", _U32),
        ("interface", _U32),
    )


class Output(ctypes.Structure):
    """struct skep_output: packets to write."""

    _fields_ = (("buffer", _P), ("length", _U64), ("capacity", _U64), ("blocks", _U32), ("snaplen", _U32))


class Other(ctypes.Structure):
    """A verdict that is not 0..15 or -1, and how often it was returned."""

    _fields_ = (("verdict", _U64), ("count", _U64))


class Job(ctypes.Structure):
    """struct skep_job: a capture, a program type, an output, and the counts."""

    _fields_ = (
        ("capture", _P),
        ("output", _P),
        ("work", _P),
        ("work_size", _U64),
        ("prog_type", _U32),
        ("ifindex", _U32),
        ("pass_mask", _U32),
        ("pass_others", _U32),
        ("capture_clock", _U32),
        ("reserved", _U32),
        ("passed", _U64),
        ("verdicts", _U64 * 17),
        ("more", _U64),
        ("others", Other * 32),
        ("limit", _U64),
    )
