/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Mounts that are made, moved, or made the root. The target is read from the memory of the process: a hint for people only. */
#pragma once
#include "../signal.h"

BEHAVIOR(MOUNTED);

enum { MOUNT = 1, MOVE_MOUNT = 2, PIVOT_ROOT = 3, OPEN_TREE = 4 };
#define TARGET_BYTES 64

INLINE int mounted(struct returned *call, u32 name, int which)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u64 cgroup = call->result >= 0 ? observed_cgroup(task) : 0;
	char target[TARGET_BYTES] = {};
	if (!cgroup)
		return 0;
	u64 from = which == 1 ? first_argument(task) : second_argument(task);
	long bytes = bpf_probe_read_user_str(target, sizeof(target), (void *)from);
	struct fold_key key = { .cgroup = cgroup, .subject = hash_of(target, TARGET_BYTES), .behavior = MOUNTED, .detail = name };
	struct event *event = begin_settled_event(task, &key);
	if (!event)
		return 0;
	if (bytes > 0 && bytes <= TARGET_BYTES) {
		__builtin_memcpy(event->path, target, TARGET_BYTES);
		event->path_bytes = bytes;
	}
	send(event);
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_mount")
int mount_mount(struct returned *call) { return mounted(call, MOUNT, 2); }

SEC("tracepoint/syscalls/sys_exit_move_mount")
int mount_move(struct returned *call) { return mounted(call, MOVE_MOUNT, 2); }

SEC("tracepoint/syscalls/sys_exit_pivot_root")
int mount_pivot(struct returned *call) { return mounted(call, PIVOT_ROOT, 1); }

SEC("tracepoint/syscalls/sys_exit_open_tree")
int mount_open_tree(struct returned *call) { return mounted(call, OPEN_TREE, 2); }
