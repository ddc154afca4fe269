"""The structures that the live loops share with Python: see native/live.c for their fields."""

from __future__ import annotations

import ctypes

_U16, _U32, _U64, _P = ctypes.c_uint16, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_void_p

SENDER_BATCH = 64  # as in native/live.c
VNET_SIZE = 10  # struct virtio_net_hdr
RING, TAP, XSK = 1, 2, 3  # enum live_kind
DIRECTIONS = {"both": 0, "in": 1, "out": 2}  # enum live_direction
SEND_NOT, SEND_PACKET, SEND_TAP = 0, 1, 2  # enum sender_kind
EMPTY, AGAIN, FLUSH, ENOUGH, SENDER, FAILED = 0, 1, 2, 3, 4, -1  # enum live_status


class Sender(ctypes.Structure):
    """struct skep_sender: packets on their way out by one device."""

    _fields_ = (
        ("fd", ctypes.c_int),
        ("ifindex", _U32),
        ("kind", _U32),
        ("queued", _U32),
        ("buffer", _P),
        ("length", _U64),
        ("capacity", _U64),
        ("sent", _U64),
        ("failed", _U64),
        ("messages", ctypes.c_uint8 * (64 * SENDER_BATCH)),
        ("pieces", ctypes.c_uint8 * (16 * SENDER_BATCH)),
    )


class Xsk(ctypes.Structure):
    """struct skep_xsk: the rings of an AF_XDP socket."""

    _fields_ = (
        ("rx_producer", _P),
        ("rx_consumer", _P),
        ("fill_producer", _P),
        ("rx", _P),
        ("fill", _P),
        ("umem", _P),
        ("rx_mask", _U32),
        ("fill_mask", _U32),
        ("chunk", _U64),
        ("held", _U64),
    )


class Live(ctypes.Structure):
    """struct skep_live: where packets come from, where they go, and how far the loop is."""

    _fields_ = (
        ("job", _P),
        ("kind", _U32),
        ("direction", _U32),
        ("link_type", _U32),
        ("budget", _U32),
        ("ring", _P),
        ("block_size", _U32),
        ("n_blocks", _U32),
        ("block", _U32),
        ("left", _U32),
        ("open", _U32),
        ("fd", ctypes.c_int),
        ("next", _P),
        ("frame", _P),
        ("frame_size", _U64),
        ("xsk", Xsk),
        ("vnet", _U32),
        ("transmit", _U32),
        ("tickets", _P),
        ("count_passed", _U32),
        ("n_senders", _U32),
        ("senders", _P),
        ("forward", _P),
        ("wanted_ifindex", _U32),
        ("error", ctypes.c_int),
        ("pending", _P),
        ("pending_length", _U64),
        ("pending_vnet", _U16 * 5),
        ("pad", _U16 * 3),
        ("pending_skb", _U64 * 24),
        ("packets", _U64),
        ("bytes", _U64),
        ("not_sent", _U64),
    )
