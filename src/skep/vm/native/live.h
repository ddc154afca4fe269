/* Live packets: where a loop takes them from, where it sends them, how far it is. Layouts that are the kernel's: uapi
 * linux/if_packet.h, linux/if_xdp.h, linux/virtio_net.h. */
#ifndef SKEP_LIVE_H
#define SKEP_LIVE_H

enum live_kind { LIVE_RING = 1, LIVE_TAP = 2, LIVE_XSK = 3 };
enum live_status { LIVE_EMPTY = 0, LIVE_AGAIN = 1, LIVE_FLUSH = 2, LIVE_ENOUGH = 3, LIVE_SENDER = 4, LIVE_FAILED = -1 };
enum live_direction { LIVE_BOTH = 0, LIVE_IN = 1, LIVE_OUT = 2 };
enum sender_kind { SEND_NOT = 0, SEND_PACKET = 1, SEND_TAP = 2 };

#define BLOCK_STATUS 8 /* struct tpacket_block_desc */
#define BLOCK_PACKETS 12
#define BLOCK_FIRST 16
#define PACKET3_ADDRESS 48 /* struct tpacket3_hdr, then struct sockaddr_ll */
#define PACKET3_MAC 68     /* the earliest place of a packet */
#define TP_STATUS_VLAN_VALID 0x10
#define TP_STATUS_VLAN_TPID_VALID 0x40
#define PACKET_OUTGOING 4
#define VNET_SIZE 10
#define VNET_NEEDS_CSUM 1
#define SENDER_BATCH 64
#define XDP_CALLED_TX 3
#define MSG_DONTWAIT 0x40

extern long read(int fd, void *to, usize size);
extern long write(int fd, const void *from, usize size);
extern int sendmmsg(int fd, void *messages, unsigned int n, int flags);

/* struct virtio_net_hdr: what the kernel still has to do (checksum, segments) when the packet goes on. */
struct skep_vnet {
    u8 flags, gso_type;
    u16 header_length, gso_size, csum_start, csum_offset;
};

struct skep_message { /* struct mmsghdr */
    void *name;
    u32 name_length, pad0;
    struct iovec *pieces;
    usize n_pieces;
    void *control;
    usize control_length;
    int flags, pad1;
    u32 sent, pad2;
};

/* Packets on their way out by one device, sent many at a time. */
struct skep_sender {
    int fd;
    u32 ifindex;
    u32 kind;
    u32 queued;
    u8 *buffer;
    u64 length, capacity;
    u64 sent, failed;
    struct skep_message messages[SENDER_BATCH];
    struct iovec pieces[SENDER_BATCH];
};

struct skep_xsk {
    u32 *rx_producer, *rx_consumer, *fill_producer;
    u8 *rx;    /* struct xdp_desc[] */
    u64 *fill; /* addresses */
    u8 *umem;
    u32 rx_mask, fill_mask;
    u64 chunk; /* bytes of a frame, power of two */
    u64 held;  /* address of the frame in use, + 1 */
};

struct skep_live {
    struct skep_job *job;
    u32 kind;
    u32 direction;
    u32 link_type;
    u32 budget;
    u8 *ring;
    u32 block_size, n_blocks;
    u32 block, left; /* the block that is read, and packets left in it */
    u32 open;        /* it is ours */
    int fd;
    u8 *next;
    u8 *frame; /* where a TAP's frame is read to */
    u64 frame_size;
    struct skep_xsk xsk;
    u32 vnet; /* a virtio_net_hdr comes with each packet */
    u32 transmit;
    s64 *tickets; /* packets that all loops together may still take; NULL: no limit */
    u32 count_passed;
    u32 n_senders;
    struct skep_sender **senders; /* by ifindex */
    struct skep_sender *forward;  /* where passing packets go, or NULL */
    u32 wanted_ifindex;           /* LIVE_SENDER: the device to open */
    int error;
    u8 *pending; /* a packet that waits for its sender */
    u64 pending_length;
    struct skep_vnet pending_vnet;
    u16 pad[3];
    struct __sk_buff pending_skb; /* its VLAN tag */
    u64 packets, bytes;
    u64 not_sent; /* there was no device to send by */
};

struct live_packet {
    struct skep_vnet vnet;
    u32 type; /* PACKET_HOST, _BROADCAST, _MULTICAST, _OTHERHOST, _OUTGOING; ~0: not known */
};

#endif
