"""Which C function of native/ a helper call becomes, by helper and map type.

Rows with a map type take the map's sizes as constants, so that LLVM specialises them; rows with None hold for every
other map and look at the map's header.
"""

from __future__ import annotations

from collections.abc import Mapping

from skep.abi.contexts import FieldKind
from skep.abi.map_types import MapType
from skep.jit.native import Lowering, Native, Returns

_PTR, _VOID = Returns.PTR, Returns.VOID
_SIZES = ("key_size", "value_size", "max_entries")

LOOKUP, UPDATE, DELETE, TAIL_CALL, REDIRECT_MAP = 1, 2, 3, 12, 51
PUSH, POP, PEEK, FOR_EACH, LOOP, LOOKUP_PERCPU = 87, 88, 89, 164, 181, 195

_HASHES = {
    MapType.HASH: "hash",
    MapType.LRU_HASH: "lru_hash",
    MapType.PERCPU_HASH: "percpu_hash",
    MapType.LRU_PERCPU_HASH: "lru_percpu_hash",
}


def _row(symbol: str, params: str = "", returns: Returns = Returns.I64) -> Native:
    return Native(f"skep_{symbol}", tuple(params.split()), returns)


def _resize(symbol: str, params: str) -> Native:
    return Native(f"skep_{symbol}", tuple(params.split()), clobbers_packet=True)


def _by_map_type() -> dict[tuple[int, MapType | None], Native]:
    """Rows for maps whose type is known when compiling."""
    array, percpu = MapType.ARRAY, MapType.PERCPU_ARRAY
    rows: dict[tuple[int, MapType | None], Native] = {
        (LOOKUP, array): _row("array_lookup", "map p2 value_size max_entries", _PTR),
        (UPDATE, array): _row("array_update", "run map p2 p3 r4 value_size max_entries"),
        (DELETE, array): _row("array_delete"),
        (LOOKUP, percpu): _row("percpu_array_lookup", "run map p2 value_size max_entries", _PTR),
        (UPDATE, percpu): _row("percpu_array_update", "run map p2 p3 r4 value_size max_entries"),
        (DELETE, percpu): _row("array_delete"),
        (LOOKUP_PERCPU, percpu): _row("percpu_array_lookup_cpu", "map p2 r3 value_size max_entries", _PTR),
        (LOOKUP, MapType.LPM_TRIE): _row("lpm_lookup", "map p2 key_size value_size max_entries", _PTR),
        (LOOKUP, MapType.ARRAY_OF_MAPS): _row("array_of_maps_lookup", "run map p2 max_entries", _PTR),
        (LOOKUP, MapType.HASH_OF_MAPS): _row("hash_of_maps_lookup", "run map p2 key_size max_entries", _PTR),
    }
    for map_type in (array, percpu):
        rows[FOR_EACH, map_type] = Native(
            "skep_array_for_each",
            ("run", "map", "p2", "r3", "r4", "value_size", "max_entries"),
            lowering=Lowering.CALLBACK,
        )
    for map_type, name in _HASHES.items():
        rows[LOOKUP, map_type] = Native(f"skep_{name}_lookup", ("run", "map", "p2", *_SIZES), _PTR)
        rows[UPDATE, map_type] = Native(f"skep_{name}_update", ("run", "map", "p2", "p3", "r4", *_SIZES))
        rows[DELETE, map_type] = Native(f"skep_{name}_delete", ("run", "map", "p2", *_SIZES))
        rows[FOR_EACH, map_type] = Native(
            "skep_hash_for_each", ("run", "map", "p2", "r3", "r4"), lowering=Lowering.CALLBACK
        )
        if name.endswith("percpu_hash"):
            rows[LOOKUP_PERCPU, map_type] = Native("skep_percpu_hash_lookup_cpu", ("map", "p2", "r3", *_SIZES), _PTR)
    return rows


_GENERAL: dict[int, Native] = {
    # maps
    LOOKUP: _row("map_lookup", "run map p2", _PTR),
    UPDATE: _row("map_update", "run map p2 p3 r4"),
    DELETE: _row("map_delete", "run map p2"),
    TAIL_CALL: Native("skep_tail_call_target", ("run", "map", "r3", "max_entries"), _PTR, Lowering.TAIL_CALL),
    25: _row("perf_event_output", "run map r3 p4 r5"),
    REDIRECT_MAP: _row("redirect_map", "run map r2 r3"),
    PUSH: _row("map_push", "run map p2 r3"),
    POP: _row("map_pop", "run map p2"),
    PEEK: _row("map_peek", "run map p2"),
    130: _row("ringbuf_output", "run map p2 r3 r4"),
    131: _row("ringbuf_reserve", "run map r2 r3", _PTR),
    132: _row("ringbuf_submit", "p1 r2", _VOID),
    133: _row("ringbuf_discard", "p1 r2", _VOID),
    134: _row("ringbuf_query", "map r2"),
    FOR_EACH: Native("skep_map_for_each", ("run", "map", "p2", "r3", "r4"), lowering=Lowering.CALLBACK),
    LOOP: Native("", lowering=Lowering.INLINE_LOOP),
    LOOKUP_PERCPU: _row("map_lookup_cpu", "map p2 r3", _PTR),
    93: _row("spin_lock", "run p1", _VOID),
    94: _row("spin_unlock", "p1", _VOID),
    # dynptrs
    197: _row("dynptr_from_mem", "p1 r2 r3 p4"),
    198: _row("ringbuf_reserve_dynptr", "run map r2 r3 p4"),
    199: _row("ringbuf_submit_dynptr", "p1 r2", _VOID),
    200: _row("ringbuf_discard_dynptr", "p1 r2", _VOID),
    201: _row("dynptr_read", "p1 r2 p3 r4 r5"),
    202: _row("dynptr_write", "p1 r2 p3 r4 r5"),
    203: _row("dynptr_data", "p1 r2 r3", _PTR),
    209: Native("skep_user_ringbuf_drain", ("run", "map", "p2", "r3", "r4"), lowering=Lowering.CALLBACK),
    # the host: clocks, the task that runs the program, memory
    4: _row("probe_read", "run p1 r2 p3"),
    5: _row("ktime_get_ns", "run"),
    7: _row("get_prandom_u32", "run"),
    8: _row("get_smp_processor_id", "run"),
    14: _row("get_current_pid_tgid"),
    15: _row("get_current_uid_gid"),
    16: _row("get_current_comm", "p1 r2"),
    42: _row("get_numa_node_id"),
    45: _row("probe_read_str", "run p1 r2 p3"),
    112: _row("probe_read", "run p1 r2 p3"),
    113: _row("probe_read", "run p1 r2 p3"),
    114: _row("probe_read_str", "run p1 r2 p3"),
    115: _row("probe_read_str", "run p1 r2 p3"),
    118: _row("jiffies64", "run"),
    125: _row("ktime_get_boot_ns", "run"),
    148: _row("copy_from_user", "run p1 r2 p3"),
    160: _row("ktime_get_coarse_ns", "run"),
    208: _row("ktime_get_tai_ns", "run"),
    174: _row("nothing"),  # bpf_get_attach_cookie: none was given
    # text
    6: _row("trace_printk", "run p1 r2 r3 r4 r5"),
    105: _row("strtol", "p1 r2 r3 p4"),
    106: _row("strtoul", "p1 r2 r3 p4"),
    165: _row("snprintf", "run p1 r2 p3 p4 r5"),
    177: _row("trace_vprintk", "run p1 r2 p3 r4"),
    182: _row("strncmp", "p1 r2 p3"),
    # packets: socket buffers
    9: _resize("skb_store_bytes", "run r2 p3 r4 r5"),
    10: _resize("l3_csum_replace", "run r2 r3 r4 r5"),
    11: _resize("l4_csum_replace", "run r2 r3 r4 r5"),
    18: _resize("skb_vlan_push", "run r2 r3"),
    19: _resize("skb_vlan_pop", "run"),
    23: _row("redirect", "run r1 r2"),
    24: _row("nothing"),  # bpf_get_route_realm: no route
    26: _row("skb_load_bytes", "run r2 p3 r4"),
    28: _row("csum_diff", "p1 r2 p3 r4 r5"),
    31: _resize("skb_change_proto", "run r2 r3"),
    32: _row("skb_change_type", "run r2"),
    34: _row("get_hash_recalc", "run"),
    38: _resize("skb_change_tail", "run r2 r3"),
    39: _resize("skb_pull_data", "run r2"),
    40: _row("csum_update"),
    41: _row("set_hash_invalid", "run", _VOID),
    43: _resize("skb_change_head", "run r2 r3"),
    46: _row("nothing"),  # bpf_get_socket_cookie: no socket
    47: _row("get_socket_uid"),
    48: _row("set_hash", "run r2"),
    50: _resize("skb_adjust_room", "run r2 r3 r4"),
    68: _row("skb_load_bytes_relative", "run r2 p3 r4 r5"),
    79: _row("nothing"),  # bpf_skb_cgroup_id: no socket
    83: _row("nothing"),  # bpf_skb_ancestor_cgroup_id: no socket
    97: _resize("skb_ecn_set_ce", "run"),
    135: _row("csum_level", "r2"),
    151: _row("nothing"),  # bpf_skb_cgroup_classid: no socket
    192: _row("skb_set_tstamp", "run r2 r3"),
    # packets: XDP
    44: _resize("xdp_adjust_head", "run r2"),
    54: _resize("xdp_adjust_meta", "run r2"),
    65: _resize("xdp_adjust_tail", "run r2"),
    188: _row("xdp_get_buff_len", "run"),
    189: _row("xdp_load_bytes", "run r2 p3 r4"),
    190: _resize("xdp_store_bytes", "run r2 p3 r4"),
}

#: THE table: a helper with a map type first, then the helper with None.
NATIVES: Mapping[tuple[int, MapType | None], Native] = {
    **_by_map_type(),
    **{(number, None): native for number, native in _GENERAL.items()},
}

#: Accessors of the pointer fields of packet contexts.
FIELDS: Mapping[FieldKind, Native] = {
    FieldKind.PACKET: _row("packet_data", "run", _PTR),
    FieldKind.PACKET_END: _row("packet_data_end", "run", _PTR),
    FieldKind.PACKET_META: _row("packet_data_meta", "run", _PTR),
}

#: LD_ABS and LD_IND: r1 is the offset, r2 the size; negative: outside the packet.
LOAD_PACKET = _row("load_packet", "run r1 r2")

#: The run's context, for callbacks.
CONTEXT = _row("run_context", "run", _PTR)

#: Bytes from an array map's header to its first value: SKEP_HEADER in native/skep.h.
VALUE_OFFSET = 4096


def find_native(helper: int, map_type: MapType | None = None) -> Native | None:
    """The row for a helper call; ``map_type`` is the map's, where it is known."""
    return NATIVES.get((helper, map_type)) or NATIVES.get((helper, None))
