/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Programs that are started, folded by their file; and which processes are still arriving in a container. */
#pragma once
#include "../signal.h"

BEHAVIOR(EXEC);

enum { PRIVILEGED = 1, FOREIGN = 2, NARROW = 4, FIRST_PROGRAM = 8 };
/* The class of an ELF file, in its first bytes. */
#define EI_CLASS 4
#define ELFCLASS32 1
/* "busybox", as the first eight bytes of a name. */
#define BUSYBOX 0x00786f6279737562ULL

/* Whether a file is not from the image: in the writable layer, without a name, or on another file system than the container's
 * root. */
INLINE int foreign(struct task_struct *task, struct inode *inode)
{
	unsigned long sort = 0;
	if (!inode->i_nlink)
		return 1;
	struct super_block *root = root_super(task);
	if (!root)
		return 1;
	READ(sort, &root->s_magic);
	if (sort != OVERLAY)
		return 0;
	if (inode->i_sb != root)
		return 1;
	/* overlayfs keeps the upper dentry directly behind the inode; the type of its own inode may be in a module's BTF. */
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

/* Whether a process is the container's entry point: process 1 of its pid namespace, with a runtime as parent. In a pid namespace
 * that was made inside the container, the parent of process 1 is inside too. */
INLINE int is_first(struct task_struct *task)
{
	struct pid *pid = task->thread_pid;
	int number = 0;
	READ(number, &((struct upid *)&pid->numbers[0])[pid->level].nr);
	return number == 1 && !is_contained(task->real_parent);
}

/* The key of a start: the file and the name of the process; for a file that is many programs, its first arguments too. */
INLINE u64 program_key(struct task_struct *task, u64 inode)
{
	u64 name[2] = {}, words[4] = {};
	READ(name, &task->comm);
	u64 sort = inode * 0x9e3779b97f4a7c15ULL ^ name[0] * 0xc2b2ae3d27d4eb4fULL ^ name[1] * 0x165667b19e3779f9ULL;
	if (name[0] != BUSYBOX)
		return sort;
	bpf_probe_read_user(words, sizeof(words), (void *)task->mm->arg_start);
	return sort ^ hash_of(words, sizeof(words));
}

/* Notes the cgroup of a mount namespace; the inode of a namespace that ended is used again. */
INLINE void learn_mnt_cgroup(struct task_struct *task, u64 cgroup)
{
	u32 mnt = mounts_of(task), which = NS_MNT;
	u32 *host = bpf_map_lookup_elem(&host_ns, &which);
	u64 *known = bpf_map_lookup_elem(&mnt_cgroups, &mnt);
	if (host && *host != mnt && (!known || !is_within(cgroup_of(task), *known)))
		bpf_map_update_elem(&mnt_cgroups, &mnt, &cgroup, ANY);
}

SEC("tp_btf/sched_process_exec")
int process_exec(u64 *context)
{
	struct task_struct *task = (void *)context[0];
	struct linux_binprm *program = (void *)context[2];
	u32 pid = task->tgid;
	u64 cgroup = observed_cgroup(task);
	if (!cgroup)
		return 0;
	struct arrival *arrival = arrival_of(task);
	/* The runtime's own program, which is the node's. */
	if (arrival && arrival->outside == mounts_of(task))
		return 0;
	if (arrival)
		bpf_map_delete_elem(&arriving, &pid);
	struct inode *inode = program->file->f_inode;
	struct fold_key key = { .cgroup = cgroup, .behavior = EXEC, .subject = program_key(task, inode->i_ino) };
	key.detail = (privileged(task) ? PRIVILEGED : 0) | (foreign(task, inode) ? FOREIGN : 0) |
		     (program->buf[EI_CLASS] == ELFCLASS32 ? NARROW : 0) | (is_first(task) ? FIRST_PROGRAM : 0);
	struct event *event = begin_event(task, &key);
	if (!event)
		return 0;
	learn_mnt_cgroup(task, cgroup);
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

INLINE void learn_path(struct cgroup *cgroup, const char *text)
{
	u64 serial = serial_of(cgroup);
	u32 zero = 0;
	struct path_text *path = bpf_map_lookup_elem(&path_scratch, &zero);
	if (!path || bpf_probe_read_kernel_str(path->bytes, sizeof(path->bytes), text) < 0)
		return;
	bpf_map_update_elem(&paths, &serial, path, NOEXIST);
}

SEC("tp_btf/cgroup_mkdir")
int process_cgroup_made(u64 *context)
{
	learn_path((void *)context[0], (void *)context[1]);
	return 0;
}

/* A process that is moved from inside a container is not arriving: a runtime moves it from outside. */
SEC("tp_btf/cgroup_attach_task")
int process_arrives(u64 *context)
{
	struct task_struct *task = (void *)context[2];
	learn_path((void *)context[0], (void *)context[1]);
	struct task_struct *mover = bpf_get_current_task_btf();
	if (!is_contained(mover))
		arrive(task, mover->tgid == task->tgid ? 0 : mounts_of(task->real_parent));
	return 0;
}

/* The child of an arriving process is arriving; so is one that clone3 puts into a cgroup from outside. */
SEC("tp_btf/sched_process_fork")
int process_forks(u64 *context)
{
	struct task_struct *parent = (void *)context[0], *child = (void *)context[1];
	if (parent->tgid == child->tgid)
		return 0;
	int cloned_into = parent->cgroups->dfl_cgrp != child->cgroups->dfl_cgrp && !is_contained(parent);
	struct arrival *arrival = arrival_of(parent);
	if (cloned_into || arrival)
		arrive(child, arrival ? arrival->outside : mounts_of(parent));
	return 0;
}
