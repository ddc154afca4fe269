/* What the firewall's programs and its Python module (layout.py) agree on. Every struct here has no padding. */
#ifndef SKEP_FIREWALL_H
#define SKEP_FIREWALL_H

#define SLOTS 2         /* rule sets: the one in force, and the one that is being built or taken away */
#define TABLES 14       /* hash tables of a rule set: the most probes that a packet costs */
#define LEAVES 65536    /* leaves of ports, ICMP types, protocols and places of one rule set */
#define NO_RULE 0xffffffffu
#define TRACE_BITS 20   /* packets that `skep firewall test` can tell one by one: 2^20 */

enum dimension { SOURCE, DESTINATION, SERVICE, SOURCE_PORT, PLACE, DIMENSIONS };
enum action { DENY, ALLOW };
enum fragment_policy { FRAGMENTS_TRACK, FRAGMENTS_DENY, FRAGMENTS_ALLOW };

enum policy_flags {
	STATEFUL = 1,        /* replies to what was allowed are allowed */
	DENY_NON_IP = 2,
	DENY_NDP = 4,
	USES_SOURCE_PORT = 8, /* a rule speaks of source ports */
	USES_PLACE = 16,      /* a rule speaks of an interface or a direction */
	USES_CLOCK = 32,      /* connections or rates: reading the clock costs as much as a lookup */
};

/* Why a packet passed or not; one counter each. */
enum reason {
	BY_RULE,
	BY_DEFAULT,
	BY_LIVE,             /* skep firewall deny|allow ADDRESS */
	REPLY,               /* belongs to a connection that was allowed */
	RELATED,             /* an ICMP error about such a connection */
	NON_IP,              /* ARP and the like */
	NDP,                 /* IPv6 neighbour discovery */
	OVER_RATE,           /* a rule allowed it, its rate limit did not */
	LATER_FRAGMENT,      /* has the verdict of its first fragment */
	UNKNOWN_FRAGMENT,    /* the first fragment was never seen */
	FRAGMENT,            /* fragments: deny or allow */
	MALFORMED,
	NOT_LOADED,          /* no rule set yet: dropped */
	CONNECTION_OPENED,   /* from here on: counters only, no verdicts */
	CONNECTION_KEPT,     /* went both ways: moved to the table that a flood cannot fill */
	CONNECTION_LOST,     /* could not be written down: its replies are judged by the rules */
	BUCKET_OPENED,
	REASONS,
};

/* Where a value of one dimension lies: which tables can have a rule for it, and its class in each. */
struct leaf {
	__u32 rule;          /* the first rule that asks for nothing but this value, or NO_RULE */
	__u32 tables;        /* bit t: table t may have a rule */
	__u32 classes[TABLES];
};

struct network4 {
	__u32 prefixlen;     /* 32 more than of the address */
	__u32 slot;
	__u8 address[4];
};

struct network6 {
	__u32 prefixlen;
	__u32 slot;
	__u8 address[16];
};

struct live4 {
	__u32 prefixlen;
	__u8 address[4];
};

struct live6 {
	__u32 prefixlen;
	__u8 address[16];
};

struct live_entry {
	__u64 packets, bytes;
	__u32 action, unused;
};

struct combination {
	__u32 table; /* number of the table * SLOTS + slot */
	__u32 classes[DIMENSIONS];
};

struct place {
	__u32 slot, interface, direction;
};

struct rule {
	__u64 interval_ns;   /* between two packets of one source; 0: no limit */
	__u64 burst_ns;      /* how much of that may be used at once: (burst - 1) * interval */
	__u32 action, unused;
};

struct policy {
	__u32 loaded, flags;
	__u32 default_action[2]; /* by direction */
	__u32 fragments, unused;
	__u32 first[TABLES];     /* the first rule of each table */
	struct leaf absent[DIMENSIONS]; /* for values that no rule names */
	__u64 tcp_opening_ns, tcp_ns, tcp_closing_ns, udp_ns, icmp_ns, other_ns, fragment_ns;
};

struct active {
	__u32 slot, live; /* which rule set is in force; how many live entries there are */
};

struct connection {
	__u64 seen_ns;
	__u32 state, unused;
};

enum connection_state { REPLIED = 1, FIN_THERE = 2, FIN_BACK = 4, RESET = 8 };

struct bucket_key {
	__u32 rule, slot;
	__u8 source[16]; /* IPv6: the first 64 bits */
};

struct fragment_verdict {
	__u64 seen_ns;
	__u32 action, rule;
};

struct decision {
	__u8 source[16], destination[16];
	__u16 source_port, destination_port;
	__u8 protocol, family, action, reason;
	__u32 rule, length;
};

#endif
