"""Write the trimmed vmlinux.h that the package carries, from the types of the running kernel.

Types that the kernel promises to user space (contexts, packet headers, enumerations) are whole. Of the kernel's own
structures only the members that programs use most are there, laid out anew: CO-RE relocates every access by name.

    python scripts/trim_vmlinux.py [BTF] > src/skep/frontend/include/fallback/vmlinux.h
"""

from __future__ import annotations

import pathlib
import re
import sys
from dataclasses import replace

from skep.btf.c_dump import dump_c
from skep.btf.catalog import align_of, size_of
from skep.btf.reader import parse_btf
from skep.btf.types import Btf, Enum, Enum64, Member, Struct, Typedef, Union

WHOLE = """
bpf_insn bpf_lpm_trie_key_u8 bpf_cgroup_storage_key bpf_map_type bpf_prog_type bpf_attach_type bpf_link_type
bpf_stack_build_id bpf_stack_build_id_status bpf_func_id bpf_adj_room_mode bpf_hdr_start_off bpf_lwt_encap_mode
__sk_buff bpf_tunnel_key bpf_xfrm_state bpf_ret_code bpf_sock bpf_tcp_sock bpf_sock_tuple tcx_action_base
bpf_xdp_sock xdp_action xdp_md bpf_devmap_val bpf_cpumap_val sk_action sk_msg_md sk_reuseport_md bpf_prog_info
bpf_map_info bpf_sock_addr bpf_sock_ops bpf_perf_event_value bpf_cgroup_dev_ctx bpf_raw_tracepoint_args
bpf_fib_lookup bpf_redir_neigh bpf_check_mtu_ret bpf_flow_keys bpf_spin_lock bpf_timer bpf_task_work bpf_wq
bpf_dynptr bpf_list_head bpf_list_node bpf_rb_root bpf_rb_node bpf_refcount bpf_sysctl bpf_sockopt bpf_pidns_info
bpf_sk_lookup btf_ptr bpf_iter_num bpf_iter_bits bpf_iter_task bpf_perf_event_data bpf_user_pt_regs_t ethhdr
vlan_hdr vlan_ethhdr arphdr iphdr ipv6hdr ipv6_opt_hdr frag_hdr tcphdr udphdr icmphdr icmp6hdr sockaddr sockaddr_in
sockaddr_in6 sockaddr_un in_addr in6_addr pt_regs timespec64 __kernel_timespec trace_entry syscall_trace_enter
syscall_trace_exit trace_event_raw_sys_enter trace_event_raw_sys_exit trace_event_raw_sched_process_exec
trace_event_raw_sched_process_template trace_event_raw_sched_process_fork trace_event_raw_sched_switch
trace_event_raw_sched_wakeup_template trace_event_raw_sched_migrate_task trace_event_raw_inet_sock_set_state
trace_event_raw_net_dev_template trace_event_raw_kfree_skb trace_event_raw_block_rq
trace_event_raw_block_rq_completion trace_event_raw_signal_generate trace_event_raw_irq_handler_entry
trace_event_raw_softirq trace_event_raw_kmem_cache_alloc trace_event_raw_kmalloc trace_event_raw_task_newtask
trace_event_raw_task_rename bpf_iter_meta bpf_iter__task bpf_iter__task_file bpf_iter__bpf_map bpf_iter__bpf_prog
bpf_iter__tcp bpf_iter__udp bpf_iter__bpf_map_elem sock_type pid_type perf_event_type kernel_cap_t kuid_t kgid_t u8
u16 u32 u64 s8 s16 s32 s64 __u8 __u16 __u32 __u64 __s8 __s16 __s32 __s64 __be16 __be32 __be64 __le16 __le32 __le64
__sum16 __wsum bool size_t ssize_t pid_t uid_t gid_t dev_t umode_t loff_t ktime_t time64_t sector_t uintptr_t gfp_t
fmode_t sa_family_t __kernel_sa_family_t possible_net_t atomic_t atomic64_t refcount_t
"""
# Constants that the kernel declares in enumerations without a name, by the first of their members.
ANONYMOUS = re.compile(r"BPF_|IPPROTO_IP$|TCP_ESTABLISHED$|TCPF_ESTABLISHED$|false$|SOCK_STREAM$|PERF_COUNT_")
# structure: members. A line that begins with a space continues the one before.
_PICKED_TEXT = """
task_struct: __state flags pid tgid comm exit_code exit_state start_time start_boottime utime stime nvcsw nivcsw
    prio static_prio on_cpu group_leader real_parent parent mm active_mm files fs nsproxy cred real_cred signal
    thread_pid cgroups io_context
cred: uid gid suid sgid euid egid fsuid fsgid securebits cap_inheritable cap_permitted cap_effective cap_bset
    cap_ambient user_ns
mm_struct: start_code end_code start_data end_data start_brk brk start_stack arg_start arg_end env_start env_end
    total_vm exe_file pgd
nsproxy: uts_ns ipc_ns mnt_ns pid_ns_for_children net_ns time_ns cgroup_ns
ns_common: inum
uts_namespace: name ns
ipc_namespace: ns
mnt_namespace: ns
pid_namespace: level ns
user_namespace: level owner ns
cgroup_namespace: ns
net: ns loopback_dev
pid: level numbers
upid: nr ns
new_utsname: sysname nodename release version machine domainname
signal_struct: live nr_threads tty
tty_struct: name
fs_struct: pwd root
files_struct: fdt
fdtable: max_fds fd
file: f_path f_inode f_flags f_mode f_pos private_data
path: mnt dentry
dentry: d_name d_parent d_inode d_sb
qstr: len hash name
inode: i_ino i_mode i_uid i_gid i_size i_sb i_rdev i_nlink
super_block: s_dev s_magic s_id s_type
file_system_type: name
vfsmount: mnt_root mnt_sb
linux_binprm: file filename interp argc envc mm cred
css_set: dfl_cgrp subsys
cgroup: kn level
kernfs_node: id name
cgroup_subsys_state: cgroup id
socket: state type sk file
sock: __sk_common sk_protocol sk_type sk_socket sk_uid sk_mark sk_err sk_rcvbuf sk_sndbuf
sock_common: skc_daddr skc_rcv_saddr skc_dport skc_num skc_family skc_state skc_net skc_v6_daddr skc_v6_rcv_saddr
    skc_bound_dev_if
inet_sock: sk inet_saddr inet_sport inet_id
inet_connection_sock: icsk_inet icsk_retransmits icsk_rto
tcp_sock: inet_conn srtt_us mdev_us snd_cwnd snd_nxt rcv_nxt bytes_sent bytes_received bytes_acked total_retrans
    data_segs_in
udp_sock: inet
sk_buff: sk dev len data_len mac_len protocol mark hash skb_iif transport_header network_header mac_header
    inner_transport_header head data tail end
net_device: name ifindex mtu flags nd_net dev_addr
msghdr: msg_name msg_namelen msg_iter
request: q cmd_flags __data_len __sector start_time_ns io_start_time_ns part
gendisk: major first_minor disk_name
block_device: bd_dev bd_disk
request_queue: disk
seq_file: count size
bpf_map: id name map_type key_size value_size max_entries
bpf_prog: aux type len
bpf_prog_aux: id name load_time used_map_cnt
kmem_cache: name size
irqaction: name irq
module: name
filename: name
perf_event: attr
mount: mnt_ns mnt_id
task_group: css
"""
_ROWS = re.sub(r"\n ", " ", _PICKED_TEXT).strip().splitlines()
PICKED = {name: members for name, _, members in (row.partition(":") for row in _ROWS)}
REGISTERS = """
/* What the kernel shows of the registers of machines other than the one this file was made on. */
#if defined(__TARGET_ARCH_arm64)
struct user_pt_regs {
\t__u64 regs[31];
\t__u64 sp;
\t__u64 pc;
\t__u64 pstate;
};
#elif defined(__TARGET_ARCH_riscv)
struct user_regs_struct {
\tunsigned long pc, ra, sp, gp, tp, t0, t1, t2, s0, s1, a0, a1, a2, a3, a4, a5, a6, a7;
\tunsigned long s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, t3, t4, t5, t6;
};
#elif defined(__TARGET_ARCH_s390)
typedef struct {
\tunsigned long args[1];
\tstruct { unsigned long mask, addr; } psw;
\tunsigned long gprs[16];
} user_pt_regs;
#elif defined(__TARGET_ARCH_loongarch)
struct user_pt_regs {
\tunsigned long regs[32], orig_a0, csr_era, csr_badv, reserved[10];
};
#endif
"""


def find_member(btf: Btf, type_id: int, name: str) -> Member | None:
    """A member by name, also inside members without a name."""
    found = btf[btf.strip(type_id)]
    if not isinstance(found, Struct | Union):
        return None
    for member in found.members:
        if member.name == name:
            return member
        if not member.name and (inner := find_member(btf, member.type, name)):
            return inner
    return None


def picked(btf: Btf, small: Btf, type_id: int, names: list[str]) -> Struct:
    """The structure with these members only, at offsets of our own; sizes of members are those in ``small``."""
    found = btf[type_id]
    members, offset, largest = [], 0, 1
    for name in names:
        member = find_member(btf, type_id, name)
        if member is None or member.bitfield_size:
            continue
        align = align_of(small, member.type)
        largest = max(largest, align)
        offset = -(-offset // align) * align
        members.append(replace(member, bit_offset=offset * 8))
        offset += size_of(small, member.type)
    return Struct(found.name, -(-offset // largest) * largest, tuple(members))


def report(btf: Btf) -> None:
    """What is asked for above and is not there."""
    for name, members in PICKED.items():
        type_id = btf.find(name, Struct)
        for member in members.split():
            if type_id is None or (found := find_member(btf, type_id, member)) is None or found.bitfield_size:
                print(f"struct {name} has no plain member {member}", file=sys.stderr)
    for name in WHOLE.split():
        if btf.find(name, Struct, Union, Enum, Enum64, Typedef) is None:
            print(f"there is no type {name}", file=sys.stderr)


def trimmed(btf: Btf) -> str:
    """The text of the header."""
    original = list(btf)
    chosen = {
        type_id: names.split() for name, names in PICKED.items() if (type_id := btf.find(name, Struct)) is not None
    }
    types = list(original)
    while True:  # until no structure inside a structure changes its size any more
        small = Btf(list(types), byte_order=btf.byte_order)
        before = list(types)
        for type_id, names in chosen.items():
            types[type_id] = picked(btf, small, type_id, names)
        if types == before:
            break
    roots = list(chosen)
    for name in WHOLE.split():
        type_id = btf.find(name, Struct, Union, Enum, Enum64, Typedef)
        roots += [] if type_id is None else [type_id]
    for type_id, found in enumerate(original):
        if isinstance(found, Enum | Enum64) and not found.name and found.values and ANONYMOUS.match(found.values[0][0]):
            roots.append(type_id)
    return dump_c(Btf(types, byte_order=btf.byte_order), roots)


_BITFIELD = re.compile(r"^\t+(?:const )?([\w ]+?) \w+ ?: ?(\d+);$")
_BITFIELD_TYPES = {"__u8", "u8", "unsigned char", "__u16", "u16", "__be16", "short unsigned int"}


def both_byte_orders(text: str) -> str:
    """Bitfields of packet headers fill each byte from its other end on big-endian machines."""
    out: list[str] = []
    unit: list[str] = []
    filled = 0
    for line in text.splitlines():
        match = _BITFIELD.match(line)
        if match is None or match[1] not in _BITFIELD_TYPES:
            out += [*unit, line]
            unit, filled = [], 0
            continue
        unit.append(line)
        filled += int(match[2])
        if filled % 8 == 0:
            little, big = "#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__", "#else"
            out += [little, *unit, big, *reversed(unit), "#endif"] if len(unit) > 1 else unit
            unit, filled = [], 0
    return "\n".join([*out, *unit, ""])


def main() -> None:
    path = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "/sys/kernel/btf/vmlinux")
    btf = parse_btf(path.read_bytes())
    report(btf)
    text = both_byte_orders(trimmed(btf))
    head = (
        "/* SPDX-License-Identifier: Apache-2.0 */\n"
        "/* Made by scripts/trim_vmlinux.py from the types of Linux 6.18 (x86-64): do not edit. */\n"
    )
    guard = text.rindex("#endif /* __VMLINUX_H__ */")
    sys.stdout.write(head + text[:guard].rstrip() + "\n" + REGISTERS + "\n" + text[guard:])


if __name__ == "__main__":
    main()
