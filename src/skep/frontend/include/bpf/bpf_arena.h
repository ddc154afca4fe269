/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arenas (Linux 6.9): memory that a program and user space share, with pointers that both can follow.
 *
 *	struct {
 *		__uint(type, BPF_MAP_TYPE_ARENA);
 *		__uint(map_flags, BPF_F_MMAPABLE);
 *		__uint(max_entries, 100);		// pages
 *	} arena SEC(".maps");
 *
 *	struct item __arena *head;			// a pointer into the arena
 *	int __arena count;				// a variable in the arena
 */
#pragma once

#ifdef __BPF_FEATURE_ADDR_SPACE_CAST
#define __arena __attribute__((address_space(1)))
#else
#error "this compiler has no address spaces for BPF: use clang 19 or newer"
#endif

#ifndef NUMA_NO_NODE
#define NUMA_NO_NODE (-1)
#endif

/* Pages of the arena, zeroed, as many in a row; NULL when there are none. Only where the program may sleep. */
void __arena *bpf_arena_alloc_pages(void *map, void __arena *address, __u32 page_count, int node,
				    __u64 flags) __ksym __weak;
/* Pages of the arena that are needed no more. */
void bpf_arena_free_pages(void *map, void __arena *address, __u32 page_count) __ksym __weak;
/* Keep pages from being given out (Linux 6.17). */
int bpf_arena_reserve_pages(void *map, void __arena *address, __u32 page_count) __ksym __weak;
