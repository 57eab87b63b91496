/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* A thread that the agent names itself must come back through ring and decoder: the proof of an open eye. */

/* The agent's process. */
const volatile u32 canary_of = 0;

SEC("tp_btf/task_rename")
int canary_sings(u64 *context)
{
	struct task_struct *task = (void *)context[0];
	if (task->tgid != canary_of)
		return 0;
	struct fold_key key = { .subject = task->start_boottime, .act = CANARY };
	bpf_map_delete_elem(&folds, &key);
	struct event *event = sight(task, &key);
	if (!event)
		return 0;
	bpf_probe_read_kernel_str(event->path, 16, (void *)context[1]);
	event->path_bytes = 16;
	send(event);
	return 0;
}
