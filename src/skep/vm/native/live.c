/* Loops over live packets: blocks of a packet socket's ring (TPACKET_V3), frames of a TAP device, frames of an AF_XDP socket.
 *
 * A loop ends when nothing is ready, when the caller must do something (write output, open a device), or after `budget`
 * packets, so that the caller can look for a new program. Its place is kept: the next call goes on with the next packet.
 */

/* What the verdict asks for. 0: a device must be opened first. */
static INLINE int live_act(struct skep_run *run, struct skep_live *live, struct live_packet *packet, const u8 *origin,
                           u32 verdict, int passes, const struct __sk_buff *skb)
{
    int redirect = skb ? sees_link_header(live->job->prog_type) && verdict == TC_ACT_REDIRECT : verdict == XDP_REDIRECT;
    int reflect = !skb && verdict == XDP_CALLED_TX;
    if (likely(!(passes && live->forward) && !(live->transmit && (redirect || reflect))))
        return 1;
    const u8 *start = run->data - run->link;
    u64 length = (u64)(run->data_end - start);
    vnet_move(&packet->vnet, origin - start + (skb && skb->vlan_present ? 4 : 0));
    if (!redirect && !reflect) {
        sender_queue(live->forward, &packet->vnet, start, length, skb);
        return 1;
    }
    u32 to = reflect ? live->job->ifindex : run->redirect_ifindex;
    if (!to || (redirect && skb && run->redirect_flags & 1)) { /* broadcast; BPF_F_INGRESS: only inside a kernel */
        live->not_sent++;
        return 1;
    }
    return live_send(live, to, &packet->vnet, start, length, skb);
}

/* Take a ticket: 0, another loop took the last one. */
static INLINE int live_ticket(struct skep_live *live)
{
    return !live->tickets || __atomic_fetch_sub(live->tickets, 1, __ATOMIC_RELAXED) > 0;
}

static INLINE s64 run_live(struct skep_run *state, struct skep_live *live, int xdp, int inplace)
{
    struct skep_run local = *state, *run = &local;
    struct skep_job *job = live->job;
    struct skep_output *out = job->output;
    union packet_context ctx;
    struct live_packet packet;
    struct skep_record r;
    s64 status;
    memset(&ctx, 0, sizeof(ctx));
    run->ctx = &ctx;
    run->prog_type = job->prog_type;
    const struct __sk_buff *skb = xdp ? NULL : &ctx.skb;
    if (live->pending) {
        u8 *waiting = live->pending;
        struct __sk_buff tag = live->pending_skb;
        struct skep_vnet vnet = live->pending_vnet;
        if (!live_send(live, live->wanted_ifindex, &vnet, waiting, live->pending_length, &tag))
            live->not_sent++;
        live->pending = NULL;
    }
    for (u32 done = 0;; done++) {
        if (unlikely(output_full(out))) {
            status = LIVE_FLUSH;
            break;
        }
        if (unlikely(live->tickets && load(live->tickets) <= 0)) {
            status = LIVE_ENOUGH;
            break;
        }
        if (unlikely(done >= live->budget)) {
            status = LIVE_AGAIN;
            break;
        }
        status = live_next(live, &r, &packet);
        if (unlikely(status <= 0))
            break;
        if (unlikely(!live->count_passed && !live_ticket(live)))
            continue;
        live->packets++;
        live->bytes += r.captured;
        u64 link = packet_place(run, job, &r, &ctx, xdp, inplace);
        const u8 *origin = run->data - link;
        if (!xdp && packet.type <= PACKET_OUTGOING)
            ctx.skb.pkt_type = packet.type;
        run->redirect_ifindex = run->redirect_flags = 0;
        u32 verdict = (u32)skep_program(run, &ctx);
        int passes = judge(job, verdict);
        if (passes && !(live->count_passed && !live_ticket(live))) {
            job->passed++;
            if (out->buffer)
                pass(run, job, &r, link, verdict, skb);
        }
        if (unlikely(!live_act(run, live, &packet, origin, verdict, passes, skb))) {
            status = LIVE_SENDER;
            break;
        }
    }
    live_flush(live);
    state->random = run->random;
    return status;
}

NOINLINE s64 skep_live_xdp(struct skep_run *run, struct skep_live *live) { return run_live(run, live, 1, 0); }
NOINLINE s64 skep_live_xdp_inplace(struct skep_run *run, struct skep_live *live) { return run_live(run, live, 1, 1); }
NOINLINE s64 skep_live_skb(struct skep_run *run, struct skep_live *live) { return run_live(run, live, 0, 0); }
NOINLINE s64 skep_live_skb_inplace(struct skep_run *run, struct skep_live *live) { return run_live(run, live, 0, 1); }

NOINLINE u64 skep_sizeof_live(void) { return sizeof(struct skep_live); }
NOINLINE u64 skep_sizeof_sender(void) { return sizeof(struct skep_sender); }
