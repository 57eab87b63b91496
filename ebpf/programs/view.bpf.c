// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* Every process of the node: one record per thread group, and one for each thread whose privileges differ from its leader's.
 * Credentials are the objective ones (`real_cred`), as in /proc. Decoded by `view/record.rs`. */
#include "cgroup.h"
#include "root.h"

enum {
	NO_NEW_PRIVS = 1,
	ROOT_KNOWN = 2,
	ROOT_READ_ONLY = 4,
	KERNEL_THREAD = 8,
	PATH_WHOLE = 16,
	PATH_SENT = 32,
	AT_ROOT = 64,
};

/* Values of the kernel's own that never change: sched.h, mount.h, fs.h. */
#define PF_KTHREAD 0x00200000
#define PFA_NO_NEW_PRIVS_BIT 1
#define MNT_READONLY 0x40
#define SB_RDONLY 1

struct record {
	u64 started, effective, permitted, bounding, cgroup;
	u32 pid, tid, uid, gid;
	u32 user, pid_ns, net, mnt, ipc, uts, cgroup_ns;
	u32 seccomp, flags, path_bytes;
	char comm[16];
	char path[PATH_BYTES + NAME_BYTES];
};
#define FIXED_BYTES __builtin_offsetof(struct record, path)

struct scratch {
	struct record record;
	struct cgroup_path path;
};

struct {
	NUMBER(type, PER_CPU_ARRAY);
	NUMBER(max_entries, 1);
	TYPE(key, u32);
	TYPE(value, struct scratch);
} scratch SEC(".maps");

/* The last reading that sent the path of a cgroup, by serial number: reading the names costs more than the rest of a record. */
struct {
	NUMBER(type, LRU_HASH);
	NUMBER(max_entries, 8192);
	TYPE(key, u64);
	TYPE(value, u64);
} named_cgroups SEC(".maps");

struct bpf_iter_meta { void *seq; u64 session_id; } MOVED;
struct bpf_iter__task { struct bpf_iter_meta *meta; struct task_struct *task; } MOVED;

/* The pid of a process in the pid namespace of the reader, as /proc shows it. */
INLINE u32 numbered(struct task_struct *task, u32 level)
{
	struct pid *pid = task->thread_pid;
	int nr = 0;
	READ(nr, &((struct upid *)&pid->numbers[0])[level].nr);
	return nr;
}

INLINE u32 pid_namespace(struct pid *pid)
{
	struct pid_namespace *numbers = NULL;
	READ(numbers, &((struct upid *)&pid->numbers[0])[pid->level].ns);
	u32 inum = 0;
	READ(inum, &numbers->ns.inum);
	return inum;
}

INLINE int is_alike(struct task_struct *task, struct task_struct *leader)
{
	return leader->nsproxy && !leader->exit_state && task->real_cred == leader->real_cred &&
	       task->nsproxy == leader->nsproxy && task->seccomp.mode == leader->seccomp.mode &&
	       task->atomic_flags == leader->atomic_flags && task->cgroups == leader->cgroups &&
	       (task->fs == leader->fs || task->fs->root.mnt == leader->fs->root.mnt);
}

INLINE void credentials(struct task_struct *task, struct record *record)
{
	const struct cred *cred = task->real_cred;
	/* A process whose real, saved or file system user is root can become root again. */
	int root = !cred->uid.val || !cred->suid.val || !cred->euid.val || !cred->fsuid.val;
	record->uid = root ? 0 : cred->euid.val;
	record->gid = cred->egid.val;
	READ(record->effective, &cred->cap_effective);
	READ(record->permitted, &cred->cap_permitted);
	READ(record->bounding, &cred->cap_bset);
	record->user = cred->user_ns->ns.inum;
}

INLINE void namespaces(struct task_struct *task, struct record *record)
{
	struct nsproxy *proxy = task->nsproxy;
	record->pid_ns = pid_namespace(task->thread_pid);
	record->net = proxy->net_ns->ns.inum;
	record->mnt = proxy->mnt_ns->ns.inum;
	record->ipc = proxy->ipc_ns->ns.inum;
	record->uts = proxy->uts_ns->ns.inum;
	record->cgroup_ns = proxy->cgroup_ns->ns.inum;
}

INLINE u32 root_flags(struct task_struct *task)
{
	struct fs_struct *fs = task->fs;
	if (!fs)
		return 0;
	struct vfsmount *mount = fs->root.mnt;
	int read_only = (mount->mnt_flags & MNT_READONLY) || (mount->mnt_sb->s_flags & SB_RDONLY);
	int at_root = fs->root.dentry == mount->mnt_root && root_of(task) == mount_of(mount);
	return ROOT_KNOWN | (read_only ? ROOT_READ_ONLY : 0) | (at_root ? AT_ROOT : 0);
}

SEC("iter/task")
int view(struct bpf_iter__task *context)
{
	struct task_struct *task = context->task;
	u32 zero = 0;
	if (!task)
		return 0;
	/* A dead leader holds nothing; its live threads have records of their own. */
	if (task->exit_state || !task->nsproxy)
		return 0;
	if (task->pid != task->tgid && is_alike(task, task->group_leader))
		return 0;
	struct scratch *scratch_ = bpf_map_lookup_elem(&scratch, &zero);
	if (!scratch_)
		return 0;
	struct record *record = &scratch_->record;
	u32 level = bpf_get_current_task_btf()->thread_pid->level;

	record->started = task->start_boottime;
	record->pid = numbered(task->group_leader, level);
	record->tid = numbered(task, level);
	record->seccomp = task->seccomp.mode;
	credentials(task, record);
	namespaces(task, record);
	READ(record->comm, &task->comm);

	struct cgroup *cgroup = cgroup_of(task);
	u64 reading = context->meta->session_id;
	u32 bytes = 0;
	record->cgroup = serial_of(cgroup);
	record->flags = (task->atomic_flags & PFA_NO_NEW_PRIVS_BIT ? NO_NEW_PRIVS : 0) | root_flags(task) |
			(task->flags & PF_KTHREAD ? KERNEL_THREAD : 0);
	u64 *named_in = bpf_map_lookup_elem(&named_cgroups, &record->cgroup);
	if (named_in && *named_in == reading) {
		record->flags |= PATH_SENT;
	} else {
		name_path(cgroup, &scratch_->path);
		bytes = scratch_->path.bytes;
		if (bytes > sizeof(record->path))
			bytes = sizeof(record->path);
		bpf_probe_read_kernel(record->path, bytes, scratch_->path.names);
		record->flags |= scratch_->path.whole ? PATH_WHOLE : 0;
	}
	record->path_bytes = bytes;
	/* A record that did not fit is written again, with its path. */
	if (bpf_seq_write(context->meta->seq, record, FIXED_BYTES + bytes) == 0 && !(record->flags & PATH_SENT))
		bpf_map_update_elem(&named_cgroups, &record->cgroup, &reading, ANY);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
