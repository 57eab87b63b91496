/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* A sensor of the tests: ends of processes, folded by container. It is in no object that ships. */
#pragma once
#include "../signal.h"

BEHAVIOR(FAKED);

SEC("tp_btf/sched_process_exit")
int fake_exit(u64 *context)
{
	struct task_struct *task = (void *)context[0];
	u64 cgroup = observed_cgroup(task);
	struct fold_key key = { .cgroup = cgroup, .behavior = FAKED };
	struct event *event = cgroup ? begin_settled_event(task, &key) : NULL;
	if (event)
		send(event);
	return 0;
}
