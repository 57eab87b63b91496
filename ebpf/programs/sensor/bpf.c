/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Uses of the bpf system call that the kernel granted, by command. */

SEC("tracepoint/syscalls/sys_exit_bpf")
int bpf_call(struct returned *call)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u64 cgroup = call->result >= 0 ? watched(task) : 0;
	struct fold_key key = { .cgroup = cgroup, .subject = first_argument(task), .act = BPF_CALLED };
	struct event *event = cgroup ? sight(task, &key) : NULL;
	if (event)
		send(event);
	return 0;
}
