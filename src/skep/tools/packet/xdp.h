/* Taking a packet apart in an XDP program: two functions, so that each keeps within the stack and the verifier's patience. */
#ifndef SKEP_PACKET_XDP_H
#define SKEP_PACKET_XDP_H

#include "parse.h"

__noinline int parse_xdp(struct xdp_md *ctx, struct packet *packet)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	if (!packet)
		return IS_MALFORMED;
	packet->interface = ctx->ingress_ifindex;
	packet->direction = INGRESS;
	packet->length = end - data;
	return parse_l3(data, end, packet->length, packet);
}

__noinline int parse_xdp_l4(struct xdp_md *ctx, struct packet *packet)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	return packet ? parse_l4(data, end, packet) : IS_MALFORMED;
}

static __always_inline int read_xdp(struct xdp_md *ctx, struct packet *packet)
{
	int outcome = parse_xdp(ctx, packet);

	return outcome == PARSED && packet->l4_offset ? parse_xdp_l4(ctx, packet) : outcome;
}

#endif
