// A tracepoint program: who opens files, and with which flags. Here it runs on a context that we give it
// (examples/openat.py); in Linux it runs at each openat(2).
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct openat_args { // /sys/kernel/tracing/events/syscalls/sys_enter_openat/format
	__u64 common;
	__s64 syscall_nr;
	__u64 dfd;
	__u64 filename;
	__u64 flags;
	__u64 mode;
};

struct event {
	__u32 pid;
	__u32 flags;
	char comm[16];
};
const struct event *unused __attribute__((unused)); // keeps the struct in the type information, for who reads events

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

__u64 opened;

SEC("tracepoint/syscalls/sys_enter_openat")
int openat(struct openat_args *ctx)
{
	struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	__sync_fetch_and_add(&opened, 1);
	if (!event)
		return 0;
	event->pid = bpf_get_current_pid_tgid() >> 32;
	event->flags = ctx->flags;
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	bpf_ringbuf_submit(event, 0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
