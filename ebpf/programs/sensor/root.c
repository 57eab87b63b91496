/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Changes of a container's own root file system: one fold per container, as all that matters is whether there are any. `file.c`
 * reports files that are opened for writing; here are the calls that create, move, remove and change attributes. Which file system
 * they touched is not looked at: any such call counts, so that "never written" is never wrong. An io_uring may do all of it
 * without these calls. */
#pragma once
#include "../signal.h"

BEHAVIOR(ROOT_CHANGED);

enum { CHANGED = 1, PAST_CALLS = 2 };
#define LOCAL_FAMILY 1

INLINE void root_changed(struct task_struct *task, u64 cgroup, u32 detail)
{
	struct fold_key key = { .cgroup = cgroup, .behavior = ROOT_CHANGED, .detail = detail };
	struct event *event = begin_settled_event(task, &key);
	if (event)
		send(event);
}

/* A file that was opened for writing, or created, on the file system of the root. */
INLINE void root_opened(struct task_struct *task, u64 cgroup, struct file *file)
{
	struct inode *inode = NULL;
	struct super_block *super = NULL;
	READ(inode, &file->f_inode);
	READ(super, &inode->i_sb);
	if (super == root_super(task))
		root_changed(task, cgroup, CHANGED);
}

SEC("tracepoint/syscalls/sys_exit_mkdirat")
int root_call(struct returned *call)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u64 cgroup = call->result >= 0 ? observed_cgroup(task) : 0;
	if (cgroup)
		root_changed(task, cgroup, CHANGED);
	return 0;
}

/* A Unix socket that is bound to a path creates a file. */
SEC("tracepoint/syscalls/sys_exit_bind")
int root_bind(struct returned *call)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u64 cgroup = call->result == 0 ? observed_cgroup(task) : 0;
	u16 family = 0;
	if (!cgroup)
		return 0;
	bpf_probe_read_user(&family, sizeof(family), (void *)second_argument(task));
	if (family == LOCAL_FAMILY)
		root_changed(task, cgroup, CHANGED);
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_io_uring_setup")
int root_ring(struct returned *call)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u64 cgroup = call->result >= 0 ? observed_cgroup(task) : 0;
	if (cgroup)
		root_changed(task, cgroup, PAST_CALLS);
	return 0;
}
