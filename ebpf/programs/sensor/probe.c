/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* The heartbeat probe: a thread that the agent itself renames must come back through hook, ring buffer and decoder, which proves
 * that events are observed. */
#pragma once
#include "../signal.h"

/* The agent's process. */
const volatile u32 probe_process = 0;
BEHAVIOR(PROBE);

SEC("tp_btf/task_rename")
int probe_renamed(u64 *context)
{
	struct task_struct *task = (void *)context[0];
	if (task->tgid != probe_process)
		return 0;
	struct fold_key key = { .subject = task->start_boottime, .behavior = PROBE };
	bpf_map_delete_elem(&folds, &key);
	struct event *event = begin_settled_event(task, &key);
	if (!event)
		return 0;
	bpf_probe_read_kernel_str(event->path, 16, (void *)context[1]);
	event->path_bytes = 16;
	send(event);
	return 0;
}
