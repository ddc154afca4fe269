/* What the load balancer's program and its Python module (layout.py) agree on. Every struct here has no padding. */
#ifndef SKEP_LB_H
#define SKEP_LB_H

#include "../packet/packet.h"

#define TABLE 65537 /* entries of a Maglev table: a prime, so that every step visits every entry */
#define NOBODY 0xffff
#define NO_TABLE 0xffffffffu

enum method { IPIP, GUE, NAT };
enum state { GONE, ACTIVE, DRAINING, DOWN };
enum fragment_policy { FRAGMENTS_TRACK, FRAGMENTS_DROP, FRAGMENTS_PASS };
enum service_flags { BY_SOURCE = 1 }; /* a client's connections all go to one backend */
enum settings_flags { HAS_NAT = 1 };

/* What became of a packet, and why; one counter each. */
enum reason {
	FORWARDED,        /* to a backend */
	REPLIED,          /* NAT: a backend's answer, on its way to the client */
	ERROR_FORWARDED,  /* an ICMP error, to the backend that it is about */
	ERROR_REPLIED,    /* NAT: an ICMP error about a request, to the client */
	LATER_FRAGMENT,   /* as its first fragment */
	ECHOED,           /* a ping of a VIP, answered here */
	TOO_BIG,          /* did not fit with its outer header: the client was told */
	NOT_OURS,         /* from here on: passed to the host */
	NO_SERVICE,       /* to a VIP, but to no service */
	FRAGMENT_PASSED,  /* fragments: pass */
	NOT_LOADED,
	NO_BACKEND,       /* from here on: dropped */
	FRAGMENT_DROPPED, /* fragments: drop */
	UNKNOWN_FRAGMENT, /* its first fragment was never seen */
	MALFORMED,        /* to a VIP, but not what it claims to be */
	NO_ROOM,          /* the driver has no room for the outer header */
	OPENED,           /* from here on: events, no verdicts. A connection was written down */
	KEPT,             /* went on after its first packet: moved to the table that a flood of SYNs cannot fill */
	MOVED,            /* its backend is gone or down: another one was chosen */
	LOST,             /* could not be written down: the table decides for every packet */
	REASONS,
};

struct settings {
	__u32 loaded, flags;
	__u32 fragments, mtu;
	__u8 source6[16], source4[4]; /* of outer headers */
	__u16 gue_port, unused;
	__u64 tcp_opening_ns, tcp_ns, tcp_closing_ns, udp_ns, fragment_ns;
	__u64 seed; /* of the hash; the same on all load balancers of a VIP */
};

struct service_key {
	__u8 address[16];
	__u16 port;
	__u8 protocol, family;
};

struct service {
	__u32 number, flags;
	__u32 table; /* which one is in force, or NO_TABLE: no backend */
};

struct vip {
	__u8 address[16];
	__u32 family;
};

struct table {
	__u16 backend[TABLE + 1];
};

struct backend {
	__u8 address[16];
	__u8 mac[6], from_mac[6]; /* 0: back to who sent the packet here */
	__u16 port;
	__u8 family, method;
	__u32 ifindex; /* 0: out by the interface that the packet came in by */
	__u32 state, generation, service;
};

/* NAT: whose answers a backend's packets may be. */
struct origin_key {
	__u8 address[16];
	__u16 port;
	__u8 protocol, family;
};

struct origin {
	__u8 address[16]; /* of the VIP */
	__u16 port, unused;
};

enum connection_state { FIN_THERE = 1, FIN_BACK = 2, RESET = 4, ONE_WAY = 8 /* answers do not come by here */ };

struct connection {
	__u64 seen_ns;
	__u32 backend, generation, state;
	__u32 ifindex; /* where the client's packets come from */
	__u8 client_mac[6], our_mac[6];
	__u32 unused;
};

struct fragment_entry {
	__u64 seen_ns;
	__u32 backend, generation;
	__u32 is_reply, ifindex;
	__u8 client_mac[6], our_mac[6];
	__u8 vip[16];
	__u32 unused;
};

struct traffic {
	__u64 packets, bytes, opened, replies, reply_bytes;
};

struct decision {
	__u8 source[16], destination[16];
	__u16 source_port, destination_port;
	__u8 protocol, family, reason, action;
	__u32 backend, length;
};

/* One packet on its way through the program. */
struct request {
	struct packet packet;
	struct flow flow; /* client to VIP: what the choice is made by */
	__u32 table, service_flags;
	__u32 remembers; /* the packet belongs to the flow itself: it opens and keeps connections */
	__u32 hash;
	__u32 backend;
	__u32 ifindex;   /* NAT, back: where the client is */
	__u8 client_mac[6], our_mac[6];
};

#endif
