/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Successful capability checks in the host's own user namespace. CAP_SYS_ADMIN is left out: the kernel checks it at every memory
 * mapping, which means nothing; its real uses show as mounts, namespaces and bpf calls. */
#pragma once
#include "../signal.h"

BEHAVIOR(CAPABILITY);

SEC("tp_btf/cap_capable")
int capability_used(u64 *context)
{
	const struct user_namespace *namespace = (void *)context[2];
	u32 capability = context[3];
	struct task_struct *task = bpf_get_current_task_btf();
	if ((int)context[4] != 0 || capability == CAP_SYS_ADMIN || namespace->level != 0)
		return 0;
	u64 cgroup = observed_cgroup(task);
	struct fold_key key = { .cgroup = cgroup, .subject = capability, .behavior = CAPABILITY };
	struct event *event = cgroup ? begin_settled_event(task, &key) : NULL;
	if (event)
		send(event);
	return 0;
}
