/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Attaching to another process by ptrace, and reads and writes of another process's memory. */
#pragma once
#include "../signal.h"

BEHAVIOR(PTRACED);

#define PTRACE_TRACEME 0
#define PTRACE_ATTACH 16
#define PTRACE_SEIZE 0x4206
/* No requests of ptrace, but reported in the same field. */
#define READV 0x10000
#define WRITEV 0x10001

INLINE int traced(struct task_struct *task, u64 request)
{
	u64 cgroup = observed_cgroup(task);
	struct fold_key key = { .cgroup = cgroup, .subject = request, .behavior = PTRACED };
	struct event *event = cgroup ? begin_settled_event(task, &key) : NULL;
	if (event)
		send(event);
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_ptrace")
int trace_ptrace(struct returned *call)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u64 request = first_argument(task);
	int attaches = request == PTRACE_TRACEME || request == PTRACE_ATTACH || request == PTRACE_SEIZE;
	return call->result >= 0 && attaches ? traced(task, request) : 0;
}

SEC("tracepoint/syscalls/sys_exit_process_vm_readv")
int trace_readv(struct returned *call) { return call->result >= 0 ? traced(bpf_get_current_task_btf(), READV) : 0; }

SEC("tracepoint/syscalls/sys_exit_process_vm_writev")
int trace_writev(struct returned *call) { return call->result >= 0 ? traced(bpf_get_current_task_btf(), WRITEV) : 0; }
