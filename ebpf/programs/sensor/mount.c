/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Mounts made, moved, or made the root. The target is a text as the process gave it: a sample for people, nothing more. */

enum { MOUNT = 1, MOVE_MOUNT = 2, PIVOT_ROOT = 3, OPEN_TREE = 4 };
#define TOLD_BYTES 64

INLINE int mounted(struct returned *call, u32 name, int which)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u64 cgroup = call->result >= 0 ? watched(task) : 0;
	char told[TOLD_BYTES] = {};
	if (!cgroup)
		return 0;
	u64 target = which == 1 ? first_argument(task) : second_argument(task);
	long bytes = bpf_probe_read_user_str(told, sizeof(told), (void *)target);
	struct fold_key key = { .cgroup = cgroup, .subject = hash_of(told, TOLD_BYTES), .act = MOUNTED, .detail = name };
	struct event *event = sight(task, &key);
	if (!event)
		return 0;
	if (bytes > 0 && bytes <= TOLD_BYTES) {
		__builtin_memcpy(event->path, told, TOLD_BYTES);
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
