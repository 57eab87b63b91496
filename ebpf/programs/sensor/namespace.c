/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Namespaces entered or made. What a call has led to is read after it: an entered namespace from the task itself. */

enum { SETNS = 1, UNSHARE = 2, CLONED = 3, LEFT = 4 };

struct spaces { u32 inum[SPACES]; };

/* The flags of `linux/sched.h`, in the same order. */
static const u32 made_by[SPACES] = { 0x10000000, 0x20000000, 0x40000000, 0x20000, 0x8000000, 0x4000000, 0x2000000 };

INLINE void spaces_of(struct task_struct *task, struct spaces *spaces)
{
	struct nsproxy *proxy = NULL;
	struct pid *pid = task->thread_pid;
	struct pid_namespace *numbers = NULL;
	struct net *net = NULL;
	struct mnt_namespace *mnt = NULL;
	struct ipc_namespace *ipc = NULL;
	struct uts_namespace *uts = NULL;
	struct cgroup_namespace *cgroup = NULL;
	spaces->inum[0] = task->real_cred->user_ns->ns.inum;
	READ(numbers, &((struct upid *)&pid->numbers[0])[pid->level].ns);
	READ(spaces->inum[1], &numbers->ns.inum);
	READ(proxy, &task->nsproxy);
	READ(net, &proxy->net_ns);
	READ(spaces->inum[2], &net->ns.inum);
	READ(mnt, &proxy->mnt_ns);
	READ(spaces->inum[3], &mnt->ns.inum);
	READ(ipc, &proxy->ipc_ns);
	READ(spaces->inum[4], &ipc->ns.inum);
	READ(uts, &proxy->uts_ns);
	READ(spaces->inum[5], &uts->ns.inum);
	READ(cgroup, &proxy->cgroup_ns);
	READ(spaces->inum[6], &cgroup->ns.inum);
}

INLINE u32 hosts(struct spaces *spaces)
{
	u32 bits = 0;
	for (u32 space = 0; space < SPACES; space++) {
		u32 *host = bpf_map_lookup_elem(&host_spaces, &space);
		if (host && *host == spaces->inum[space])
			bits |= 1 << space;
	}
	return bits;
}

INLINE u32 differing(struct spaces *one, struct spaces *other)
{
	u32 bits = 0;
	for (u32 space = 0; space < SPACES; space++)
		if (one->inum[space] != other->inum[space])
			bits |= 1 << space;
	return bits;
}

INLINE void enter(struct task_struct *task, u64 cgroup, u32 call, u32 bits)
{
	struct fold_key key = { .cgroup = cgroup, .subject = bits, .act = SPACES_ENTERED, .detail = call };
	struct event *event = sight(task, &key);
	if (event)
		send(event);
}

SEC("tracepoint/syscalls/sys_exit_setns")
int namespace_setns(struct returned *call)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct spaces spaces = {};
	u64 cgroup = call->result == 0 ? watched(task) : 0;
	if (!cgroup)
		return 0;
	spaces_of(task, &spaces);
	enter(task, cgroup, SETNS, hosts(&spaces));
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_unshare")
int namespace_unshare(struct returned *call)
{
	struct task_struct *task = bpf_get_current_task_btf();
	/* A call that succeeded has made all that it asked for. Its parent tells nothing: that may be the runtime. */
	u64 asked = first_argument(task);
	u32 bits = 0;
	for (u32 space = 0; space < SPACES; space++)
		if (asked & made_by[space])
			bits |= 1 << space;
	u64 cgroup = call->result == 0 && bits ? watched(task) : 0;
	if (cgroup)
		enter(task, cgroup, UNSHARE, bits);
	return 0;
}

SEC("tp_btf/sched_process_fork")
int namespace_clone(u64 *context)
{
	struct task_struct *parent = (void *)context[0], *child = (void *)context[1];
	struct spaces own = {}, parents = {};
	if (parent->nsproxy == child->nsproxy && parent->real_cred->user_ns == child->real_cred->user_ns)
		return 0;
	u64 cgroup = watched(child);
	if (!cgroup)
		return 0;
	spaces_of(child, &own);
	spaces_of(parent, &parents);
	enter(child, cgroup, CLONED, differing(&own, &parents));
	return 0;
}

/* Out of the container's cgroup: the one thing by which everybody knows whose a process is. It has happened already when this
 * is told, so that the container is known by the mount namespace. */
SEC("tp_btf/cgroup_attach_task")
int namespace_left(u64 *context)
{
	struct task_struct *task = (void *)context[2];
	struct cgroup *to = (void *)context[0];
	/* Moves in hierarchies by which nobody is known: a runtime makes them while its process is on the way in. */
	if (to != task->cgroups->dfl_cgrp && to != cgroup_of(task))
		return 0;
	u32 space = mounts_of(task);
	u64 *home = bpf_map_lookup_elem(&homes, &space);
	u32 *owner = home ? bpf_map_lookup_elem(&owners, home) : NULL;
	/* A runtime's monitor beside the containers is the host's. */
	if (!home || (owner && *owner == HOST_OWNED) || is_within(cgroup_of(task), *home))
		return 0;
	struct fold_key key = { .cgroup = *home, .act = SPACES_ENTERED, .detail = LEFT };
	key.subject = serial_of(to);
	struct event *event = told(task, &key);
	if (!event)
		return 0;
	long bytes = bpf_probe_read_kernel_str(event->path, WALK_BYTES, (void *)context[1]);
	if (bytes > 0 && bytes <= WALK_BYTES)
		event->path_bytes = bytes;
	send(event);
	return 0;
}
