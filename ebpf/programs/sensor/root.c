/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Changes of a container's own root file system: one fold a container, as only whether there are any is asked. Files opened
 * for writing are told by `file.c`; here are the calls that make, move, remove and mark. Which file system they touched is
 * not looked at: any such call of a container counts, so that "never written" is never said wrongly. A ring of io_uring may do
 * all of it past these calls. */

enum { CHANGED = 1, PAST_CALLS = 2 };
#define LOCAL_FAMILY 1

INLINE void root_changed(struct task_struct *task, u64 cgroup, u32 detail)
{
	struct fold_key key = { .cgroup = cgroup, .act = ROOT_CHANGED, .detail = detail };
	struct event *event = sight(task, &key);
	if (event)
		send(event);
}

/* A file opened for writing, or made, on the file system of the root. */
INLINE void root_opened(struct task_struct *task, u64 cgroup, struct file *file)
{
	struct inode *inode = NULL;
	struct super_block *home = NULL;
	READ(inode, &file->f_inode);
	READ(home, &inode->i_sb);
	if (home == root_home(task))
		root_changed(task, cgroup, CHANGED);
}

SEC("tracepoint/syscalls/sys_exit_mkdirat")
int root_call(struct returned *call)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u64 cgroup = call->result >= 0 ? watched(task) : 0;
	if (cgroup)
		root_changed(task, cgroup, CHANGED);
	return 0;
}

/* A socket that is bound to a name in the file system makes a file. */
SEC("tracepoint/syscalls/sys_exit_bind")
int root_bind(struct returned *call)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u64 cgroup = call->result == 0 ? watched(task) : 0;
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
	u64 cgroup = call->result >= 0 ? watched(task) : 0;
	if (cgroup)
		root_changed(task, cgroup, PAST_CALLS);
	return 0;
}
