/* Fills a Maglev table (Eisenbud et al., NSDI 2016): backends take turns, each takes the next free entry of its own
 * permutation of all entries. A backend of weight w has a turn w times as often as one of weight 1.
 *
 * It is a program so that it is native: about a million steps for 65,537 entries. Python calls it until it says 1.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "lb.h"

struct candidate {
	__u32 at, skip; /* the next entry to ask for, and the way to the one after it */
	__u32 weight, credit;
};

MAP(candidates, BPF_MAP_TYPE_ARRAY, NOBODY, 0, __u32, struct candidate);
MAP(table_of, BPF_MAP_TYPE_ARRAY, 1, 0, __u32, struct table); /* numbers of candidates; NOBODY: free */

__u32 candidate_count, heaviest; /* the largest weight: what a turn costs */
__u32 turn_of, filled;

static __always_inline void next_turn(__u32 number)
{
	turn_of = number + 1 < candidate_count ? number + 1 : 0;
}

static long step(__u64 index, void *unused)
{
	__u32 zero = 0, number = turn_of, at;
	struct table *table = bpf_map_lookup_elem(&table_of, &zero);
	struct candidate *candidate = bpf_map_lookup_elem(&candidates, &number);

	if (!candidate || !table)
		return 1;
	if (candidate->credit < heaviest) {
		candidate->credit += candidate->weight;
		if (candidate->credit < heaviest) {
			next_turn(number);
			return 0;
		}
	}
	at = candidate->at;
	if (at >= TABLE)
		return 1;
	candidate->at = at + candidate->skip < TABLE ? at + candidate->skip : at + candidate->skip - TABLE;
	if (table->backend[at] != NOBODY)
		return 0;
	table->backend[at] = number;
	candidate->credit -= heaviest;
	next_turn(number);
	return ++filled == TABLE;
}

SEC("syscall")
int fill(void *ctx)
{
	bpf_loop(1 << 23, step, NULL, 0);
	return filled == TABLE;
}

char LICENSE[] SEC("license") = "GPL";
