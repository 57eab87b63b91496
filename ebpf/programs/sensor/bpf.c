/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Successful bpf system calls, by command. */
#pragma once
#include "../signal.h"

BEHAVIOR(BPF_CALLED);

SEC("tracepoint/syscalls/sys_exit_bpf")
int bpf_call(struct returned *call)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u64 cgroup = call->result >= 0 ? observed_cgroup(task) : 0;
	struct fold_key key = { .cgroup = cgroup, .subject = first_argument(task), .behavior = BPF_CALLED };
	struct event *event = cgroup ? begin_settled_event(task, &key) : NULL;
	if (event)
		send(event);
	return 0;
}
