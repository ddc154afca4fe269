/* The packet's bounds, as programs see them: the JIT loads pointer fields of contexts through these. */
#ifndef SKEP_PACKET_H
#define SKEP_PACKET_H

enum {
    PROG_SOCKET_FILTER = 1, PROG_SCHED_CLS = 3, PROG_SCHED_ACT = 4, PROG_XDP = 6, PROG_CGROUP_SKB = 8,
    PROG_LWT_IN = 10, PROG_LWT_OUT = 11, PROG_LWT_XMIT = 12, PROG_LWT_SEG6LOCAL = 19,
};

#define ETH_HLEN 14
#define XDP_HEADROOM 256  /* XDP_PACKET_HEADROOM */
#define XDP_FRAME_SIZE 40 /* sizeof(struct xdp_frame): the part of the headroom that the kernel keeps */
#define XDP_TAILROOM 320  /* sizeof(struct skb_shared_info), aligned */
#define SKB_HEADROOM 1024
#define SKB_MAX_LENGTH 65536 /* bpf_skb_change_tail() and others grow no further */

INLINE u8 *skep_packet_data(struct skep_run *run) { return run->data; }
INLINE u8 *skep_packet_data_end(struct skep_run *run) { return run->data_end; }
INLINE u8 *skep_packet_data_meta(struct skep_run *run) { return run->data_meta; }
INLINE void *skep_run_context(struct skep_run *run) { return run->ctx; }

static INLINE u64 packet_length(struct skep_run *run) { return (u64)(run->data_end - run->data); }
static INLINE int is_xdp(struct skep_run *run) { return run->prog_type == PROG_XDP; }

/* Does the program see the Ethernet header? Classifiers and packet sockets do; cgroup and LWT programs start at the network
 * header. */
static INLINE int sees_link_header(u32 prog_type)
{
    return prog_type == PROG_XDP || prog_type == PROG_SCHED_CLS || prog_type == PROG_SCHED_ACT;
}

/* __sk_buff.len follows the packet. */
static INLINE void skb_length_update(struct skep_run *run)
{
    if (!is_xdp(run) && run->ctx)
        ((struct __sk_buff *)run->ctx)->len = (u32)packet_length(run);
}

static INLINE u16 big16(const u8 *p) { return (u16)(p[0] << 8 | p[1]); }

#endif
