// Every macro of bpf_tracing.h and bpf_core_read.h, on vmlinux.h.
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";
long results[16];

struct pair {
	long first, second;
};

SEC("kprobe/do_unlinkat") int BPF_KPROBE(enter, int dfd, struct filename *name, void *p3)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	char comm[16], id[64];
	const unsigned char *file;
	int tgid;

	results[0] = BPF_CORE_READ(task, tgid) + BPF_CORE_READ(task, real_parent, tgid);
	results[1] = BPF_CORE_READ(task, real_parent, real_parent, real_parent, real_parent, real_parent, real_parent,
				   real_parent, pid);
	results[2] = BPF_CORE_READ(task, nsproxy, uts_ns, ns.inum) + BPF_CORE_READ(task, thread_pid, numbers[0].nr);
	BPF_CORE_READ_INTO(&tgid, task, group_leader, tgid);
	BPF_CORE_READ_STR_INTO(&comm, task, real_parent, comm);
	BPF_CORE_READ_USER_STR_INTO(&comm, task, comm);
	BPF_PROBE_READ_STR_INTO(&comm, task, comm);
	BPF_PROBE_READ_INTO(&tgid, task, real_parent, tgid);
	BPF_PROBE_READ_USER_STR_INTO(&comm, task, comm);
	BPF_PROBE_READ_USER_INTO(&tgid, task, tgid);
	BPF_CORE_READ_USER_INTO(&tgid, task, tgid);
	results[3] = BPF_CORE_READ_USER(task, tgid) + BPF_PROBE_READ(task, mm, arg_start) + BPF_PROBE_READ_USER(task, pid);
	file = BPF_CORE_READ(task, mm, exe_file, f_path.dentry, d_name.name);
	bpf_core_read(&tgid, sizeof(tgid), &task->tgid);
	bpf_core_read_str(id, sizeof(id), &task->comm);
	bpf_core_read_user(&tgid, sizeof(tgid), &task->tgid);
	bpf_core_read_user_str(id, sizeof(id), &task->comm);
	bpf_printk("%d %d %s", dfd, tgid, file);
	return 0;
}

SEC("kretprobe/do_unlinkat") int BPF_KRETPROBE(leave, long ret)
{
	long ip;
	BPF_KRETPROBE_READ_RET_IP(ip, ctx);
	results[4] = ret + ip;
	return 0;
}

SEC("kretprobe/do_unlinkat") int BPF_KRETPROBE(leave_no_value) { return 0; }
SEC("uprobe") int BPF_UPROBE(uenter, long a, long b) { return a > b; }
SEC("uretprobe") int BPF_URETPROBE(uleave, int ret) { return ret; }
SEC("ksyscall/openat") int BPF_KSYSCALL(openat, int dfd, const char *path, int flags, unsigned mode)
{
	results[5] = dfd + flags + mode + (path != 0);
	return 0;
}
SEC("ksyscall/mmap") int BPF_KPROBE_SYSCALL(sys_mmap, void *a, unsigned long len, int prot, int flags, int fd, long off)
{
	results[6] = len + prot + flags + fd + off;
	return 0;
}

SEC("kprobe") int registers(struct pt_regs *ctx)
{
	long ip;
	BPF_KPROBE_READ_RET_IP(ip, ctx);
	struct pt_regs *regs = PT_REGS_SYSCALL_REGS(ctx);
	results[7] = PT_REGS_PARM1(ctx) + PT_REGS_PARM2(ctx) + PT_REGS_PARM3(ctx) + PT_REGS_PARM4(ctx) + PT_REGS_PARM5(ctx);
	results[8] = PT_REGS_RC(ctx) + PT_REGS_SP(ctx) + PT_REGS_IP(ctx) + PT_REGS_RET(ctx) + ip;
	results[9] = PT_REGS_PARM1_CORE(regs) + PT_REGS_PARM2_CORE(regs) + PT_REGS_RC_CORE(regs) + PT_REGS_IP_CORE(regs);
	results[10] = PT_REGS_PARM1_SYSCALL(ctx) + PT_REGS_PARM5_SYSCALL(ctx) + PT_REGS_PARM6_CORE_SYSCALL(regs);
	return 0;
}

SEC("fentry/vfs_read") int BPF_PROG(read_enter, struct file *file, char *buf, size_t count, loff_t *pos)
{
	results[11] = count + ctx[2] + file->f_inode->i_ino;
	return 0;
}
SEC("fexit/vfs_read") int BPF_PROG(read_leave, struct file *file, char *buf, size_t count, loff_t *pos, ssize_t ret)
{
	results[12] += ret;
	return 0;
}
SEC("lsm/bpf") int BPF_PROG(no_arguments) { return 0; }
SEC("fentry/f") int BPF_PROG2(by_value, int, a, struct pair, p, char, c, struct pair *, q)
{
	results[13] = a + p.first + p.second + c + (q != 0);
	return 0;
}
SEC("tp_btf/sched_switch") int BPF_PROG(on_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	return preempt ? prev->pid : next->pid;
}

struct task_struct___flavor {
	unsigned int new_member;
} __attribute__((preserve_access_index));
enum bpf_map_type___x {
	BPF_MAP_TYPE_NONE___x = 77,
};

SEC("tracepoint/sched/sched_process_exec") int questions(struct trace_event_raw_sched_process_exec *ctx)
{
	struct task_struct___flavor *flavored = (void *)bpf_get_current_task();
	struct task_struct *task = (void *)flavored;
	struct tcphdr *tcp = (void *)task;
	long n = 0;

	if (bpf_core_field_exists(flavored->new_member))
		n += BPF_CORE_READ(flavored, new_member);
	if (bpf_core_field_exists(struct task_struct, mm))
		n += bpf_core_field_size(struct task_struct, comm) + bpf_core_field_offset(task->pid);
	n += bpf_core_field_offset(struct task_struct, pid) + bpf_core_field_size(task->pid);
	n += bpf_core_type_exists(struct task_struct) + bpf_core_type_size(struct file);
	n += bpf_core_type_matches(struct task_struct___flavor) + bpf_core_type_id_local(struct pair);
	n += bpf_core_type_id_kernel(struct task_struct);
	if (bpf_core_enum_value_exists(enum bpf_map_type, BPF_MAP_TYPE_RINGBUF))
		n += bpf_core_enum_value(enum bpf_map_type, BPF_MAP_TYPE_RINGBUF);
	n += BPF_CORE_READ_BITFIELD_PROBED(tcp, syn) + BPF_CORE_READ_BITFIELD(tcp, doff);
	BPF_CORE_WRITE_BITFIELD(tcp, window, 7);
	task = bpf_core_cast(task, struct task_struct);
	results[14] = n + ctx->pid + task->tgid;
	return 0;
}

SEC("raw_tp/sys_enter") int raw(struct bpf_raw_tracepoint_args *ctx)
{
	struct pt_regs *regs = (void *)ctx->args[0];
	results[15] = PT_REGS_PARM2_CORE_SYSCALL(regs) + PT_REGS_PARM1_CORE_SYSCALL(regs);
	return 0;
}
