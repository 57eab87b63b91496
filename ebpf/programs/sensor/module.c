/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Kernel modules that are loaded, by name. A kernel without modules has no such tracepoint. */
#pragma once
#include "../signal.h"

BEHAVIOR(MODULE);

SEC("tp_btf/module_load")
int module_load(u64 *context)
{
	struct module *module = (void *)context[0];
	struct task_struct *task = bpf_get_current_task_btf();
	u64 cgroup = observed_cgroup(task);
	char name[56] = {};
	if (!cgroup)
		return 0;
	READ(name, &module->name);
	struct fold_key key = { .cgroup = cgroup, .subject = hash_of(name, sizeof(name)), .behavior = MODULE };
	struct event *event = begin_settled_event(task, &key);
	if (!event)
		return 0;
	__builtin_memcpy(event->path, name, sizeof(name));
	event->path_bytes = sizeof(name);
	send(event);
	return 0;
}
