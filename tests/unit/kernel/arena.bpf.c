// A list in an arena, built by the program and read from Python; variables in the arena.
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_arena.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARENA);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 100);
} arena SEC(".maps");

struct arena_item {
	struct arena_item __arena *next;
	__u64 value;
};

struct arena_item __arena *head; /* an address in user space, as pointers into arenas are kept */
int __arena runs = 41;
__u64 __arena sums[4];
__u32 length = 10;

SEC("syscall") int fill(void *ctx)
{
	struct arena_item __arena *page = bpf_arena_alloc_pages(&arena, 0, 1, NUMA_NO_NODE, 0);

	if (!page)
		return 1;
	for (__u32 i = 0; i < length && i < 100; i++) {
		page[i].value = i * i;
		page[i].next = head;
		head = &page[i];
	}
	runs += 1;
	return 0;
}

SEC("syscall") int add(void *ctx)
{
	struct arena_item __arena *item;
	__u64 sum = 0;
	int i;

	for (i = 0, item = head; item && i < 1000; i++, item = item->next)
		sum += item->value;
	__sync_fetch_and_add(&sums[1], sum);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
