// Observe: every process that starts a program, with its arguments, parent and exit code.
//
//   sudo skep run examples/execsnoop.bpf.c            a table, until Ctrl-C
//   sudo skep run examples/execsnoop.bpf.c --json     one line of JSON for each event
//   sudo skep run examples/execsnoop.bpf.c --set only_parent=$$    only what this shell starts
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#define ARGUMENT_BYTES 256

const volatile __u32 only_parent = 0; // 0: all

enum kind {
	STARTED,
	ENDED,
};

struct event {
	enum kind kind;
	__u32 pid;
	__u32 ppid;
	__u32 uid;
	__s32 exit_code; // what exit() was given
	__u32 signal; // that ended it, 0: none
	__u64 lived_us;
	char comm[16];
	char arguments[ARGUMENT_BYTES];
};
const struct event *unused __attribute__((unused)); // keeps the struct in the type information, for who reads events

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, __u32); // pid
	__type(value, __u64); // when it started, ns
} started SEC(".maps");

__u64 lost; // events that did not fit into the ring buffer

static __always_inline struct event *new_event(enum kind kind, struct task_struct *task)
{
	struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event) {
		__sync_fetch_and_add(&lost, 1);
		return NULL;
	}
	__builtin_memset(event, 0, sizeof(*event));
	event->kind = kind;
	event->pid = bpf_get_current_pid_tgid() >> 32;
	event->ppid = BPF_CORE_READ(task, real_parent, tgid);
	event->uid = bpf_get_current_uid_gid();
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	return event;
}

SEC("tp/sched/sched_process_exec")
int process_started(void *ctx)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	__u32 pid = bpf_get_current_pid_tgid() >> 32;
	__u64 now = bpf_ktime_get_ns();

	if (only_parent && BPF_CORE_READ(task, real_parent, tgid) != only_parent)
		return 0;
	bpf_map_update_elem(&started, &pid, &now, BPF_ANY);

	struct event *event = new_event(STARTED, task);

	if (!event)
		return 0;
	// The arguments lie one after the other in the memory of the new program, each ended by a NUL: make that spaces,
	// but for the last ones.
	unsigned long begin = BPF_CORE_READ(task, mm, arg_start), size = BPF_CORE_READ(task, mm, arg_end) - begin;
	int is_inside = 0;

	if (size > ARGUMENT_BYTES - 1)
		size = ARGUMENT_BYTES - 1;
	bpf_probe_read_user(event->arguments, size, (void *)begin);
	for (int i = ARGUMENT_BYTES - 2; i >= 0; i--) {
		if (event->arguments[i])
			is_inside = 1;
		else if (is_inside)
			event->arguments[i] = ' ';
	}
	bpf_ringbuf_submit(event, 0);
	return 0;
}

SEC("tp/sched/sched_process_exit")
int process_ended(void *ctx)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	__u64 id = bpf_get_current_pid_tgid();
	__u32 pid = id >> 32;
	__u64 *since;

	if (pid != (__u32)id) // a thread: its process lives on
		return 0;
	since = bpf_map_lookup_elem(&started, &pid);
	if (!since)
		return 0;
	__u64 lived_us = (bpf_ktime_get_ns() - *since) / 1000;
	struct event *event = new_event(ENDED, task);

	bpf_map_delete_elem(&started, &pid);
	if (!event)
		return 0;
	int code = BPF_CORE_READ(task, signal, group_exit_code);

	if (!code)
		code = BPF_CORE_READ(task, exit_code);
	event->exit_code = code >> 8 & 0xff;
	event->signal = code & 0x7f;
	event->lived_us = lived_us;
	bpf_ringbuf_submit(event, 0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
