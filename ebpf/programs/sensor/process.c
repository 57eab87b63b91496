/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Programs that are started, folded by their file, and who is still on the way into a container. */

enum { PRIVILEGED = 1, FOREIGN = 2, NARROW = 4, FIRST_PROGRAM = 8 };
#define CAP_SYS_ADMIN 21
/* In a program's first bytes: what kind of ELF it is, and that it is one of 32 bits. */
#define EI_CLASS 4
#define ELFCLASS32 1
#define OVERLAY 0x794c7630
/* "busybox", as the first eight bytes of a name. */
#define BUSYBOX 0x00786f6279737562ULL

/* A file that the image did not bring: in the writable layer, without a name, or on another file system than the container's
 * root. */
INLINE int foreign(struct task_struct *task, struct inode *inode)
{
	unsigned long sort = 0;
	if (!inode->i_nlink)
		return 1;
	struct super_block *root = root_home(task);
	if (!root)
		return 1;
	READ(sort, &root->s_magic);
	if (sort != OVERLAY)
		return 0;
	if (inode->i_sb != root)
		return 1;
	/* overlayfs keeps the upper file's entry right behind the inode; its own type may be a module's. */
	void *upper = NULL;
	READ(upper, (void *)inode + __builtin_preserve_type_info(*(struct inode *)0, 1));
	return upper != NULL;
}

INLINE int privileged(struct task_struct *task)
{
	const struct cred *cred = task->real_cred;
	u64 effective = 0;
	READ(effective, &cred->cap_effective);
	return (effective >> CAP_SYS_ADMIN & 1) && cred->user_ns->level == 0;
}

/* What a container was made to run, or what that became: the first process of its numbers, whose parent is a runtime. Who makes
 * numbers of his own within the container has a parent there. */
INLINE int is_first(struct task_struct *task)
{
	struct pid *pid = task->thread_pid;
	int number = 0;
	READ(number, &((struct upid *)&pid->numbers[0])[pid->level].nr);
	return number == 1 && !contained(task->real_parent);
}

/* What tells starts of one file apart: the name it was called by; and for a file that is many programs, its first words. */
INLINE u64 called(struct task_struct *task, u64 inode)
{
	u64 name[2] = {}, words[4] = {};
	READ(name, &task->comm);
	u64 sort = inode * 0x9e3779b97f4a7c15ULL ^ name[0] * 0xc2b2ae3d27d4eb4fULL ^ name[1] * 0x165667b19e3779f9ULL;
	if (name[0] != BUSYBOX)
		return sort;
	bpf_probe_read_user(words, sizeof(words), (void *)task->mm->arg_start);
	return sort ^ hash_of(words, sizeof(words));
}

/* Where a process of this mount namespace belongs; the number of a namespace that ended is given again. */
INLINE void settle(struct task_struct *task, u64 cgroup)
{
	u32 space = mounts_of(task), which = SPACE_MNT;
	u32 *host = bpf_map_lookup_elem(&host_spaces, &which);
	u64 *home = bpf_map_lookup_elem(&homes, &space);
	if (host && *host != space && (!home || !is_within(cgroup_of(task), *home)))
		bpf_map_update_elem(&homes, &space, &cgroup, ANY);
}

SEC("tp_btf/sched_process_exec")
int process_exec(u64 *context)
{
	struct task_struct *task = (void *)context[0];
	struct linux_binprm *program = (void *)context[2];
	u32 pid = task->tgid;
	u64 cgroup = watched(task);
	if (!cgroup)
		return 0;
	struct arrival *arrival = arrival_of(task);
	/* A runtime's own program, which is nobody's but the node's. */
	if (arrival && arrival->outside == mounts_of(task))
		return 0;
	if (arrival)
		bpf_map_delete_elem(&arriving, &pid);
	struct inode *inode = program->file->f_inode;
	struct fold_key key = { .cgroup = cgroup, .act = EXEC, .subject = called(task, inode->i_ino) };
	key.detail = (privileged(task) ? PRIVILEGED : 0) | (foreign(task, inode) ? FOREIGN : 0) |
		     (program->buf[EI_CLASS] == ELFCLASS32 ? NARROW : 0) | (is_first(task) ? FIRST_PROGRAM : 0);
	struct event *event = told(task, &key);
	if (!event)
		return 0;
	settle(task, cgroup);
	unsigned long from = task->mm->arg_start, to = task->mm->arg_end;
	u32 bytes = to - from;
	if (bytes > ARGUMENT_BYTES)
		bytes = ARGUMENT_BYTES;
	if (bpf_probe_read_user(event->arguments, bytes, (void *)from) == 0)
		event->argument_bytes = bytes;
	send(event);
	return 0;
}

struct {
	NUMBER(type, PER_CPU_ARRAY);
	NUMBER(max_entries, 1);
	TYPE(key, u32);
	TYPE(value, struct path_text);
} path_scratch SEC(".maps");

INLINE void learn(struct cgroup *cgroup, const char *text)
{
	u64 serial = serial_of(cgroup);
	u32 zero = 0;
	struct path_text *path = bpf_map_lookup_elem(&path_scratch, &zero);
	if (!path || bpf_probe_read_kernel_str(path->bytes, sizeof(path->bytes), text) < 0)
		return;
	bpf_map_update_elem(&paths, &serial, path, NOEXIST);
}

SEC("tp_btf/cgroup_mkdir")
int process_room(u64 *context)
{
	learn((void *)context[0], (void *)context[1]);
	return 0;
}

/* Whoever is moved from within a container was there before: a runtime's work begins outside. */
SEC("tp_btf/cgroup_attach_task")
int process_arrives(u64 *context)
{
	struct task_struct *task = (void *)context[2];
	learn((void *)context[0], (void *)context[1]);
	struct task_struct *mover = bpf_get_current_task_btf();
	if (!contained(mover))
		arrive(task, mover->tgid == task->tgid ? 0 : mounts_of(task->real_parent));
	return 0;
}

/* A child of one on the way is on the way; so is one that was born from outside into a cgroup. */
SEC("tp_btf/sched_process_fork")
int process_forks(u64 *context)
{
	struct task_struct *parent = (void *)context[0], *child = (void *)context[1];
	if (parent->tgid == child->tgid)
		return 0;
	int born_into = parent->cgroups->dfl_cgrp != child->cgroups->dfl_cgrp && !contained(parent);
	struct arrival *arrival = arrival_of(parent);
	if (born_into || arrival)
		arrive(child, arrival ? arrival->outside : mounts_of(parent));
	return 0;
}
