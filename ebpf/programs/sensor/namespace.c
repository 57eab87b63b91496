/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Namespaces that are entered or made. Read when the call returns: the namespaces of setns from the task itself. */
#pragma once
#include "../signal.h"

BEHAVIOR(NAMESPACES_CHANGED);

enum { SETNS = 1, UNSHARE = 2, CLONED = 3, LEFT = 4 };

struct namespaces { u32 inum[NAMESPACES]; };

/* CLONE_NEW* of `linux/sched.h`, in the order of `host_ns`. */
static const u32 clone_flags[NAMESPACES] = { 0x10000000, 0x20000000, 0x40000000, 0x20000, 0x8000000, 0x4000000, 0x2000000 };

INLINE void namespaces_of(struct task_struct *task, struct namespaces *namespaces)
{
	struct nsproxy *proxy = NULL;
	struct pid *pid = task->thread_pid;
	struct pid_namespace *numbers = NULL;
	struct net *net = NULL;
	struct mnt_namespace *mnt = NULL;
	struct ipc_namespace *ipc = NULL;
	struct uts_namespace *uts = NULL;
	struct cgroup_namespace *cgroup = NULL;
	namespaces->inum[0] = task->real_cred->user_ns->ns.inum;
	READ(numbers, &((struct upid *)&pid->numbers[0])[pid->level].ns);
	READ(namespaces->inum[1], &numbers->ns.inum);
	READ(proxy, &task->nsproxy);
	READ(net, &proxy->net_ns);
	READ(namespaces->inum[2], &net->ns.inum);
	READ(mnt, &proxy->mnt_ns);
	READ(namespaces->inum[3], &mnt->ns.inum);
	READ(ipc, &proxy->ipc_ns);
	READ(namespaces->inum[4], &ipc->ns.inum);
	READ(uts, &proxy->uts_ns);
	READ(namespaces->inum[5], &uts->ns.inum);
	READ(cgroup, &proxy->cgroup_ns);
	READ(namespaces->inum[6], &cgroup->ns.inum);
}

INLINE u32 host_bits(struct namespaces *namespaces)
{
	u32 bits = 0;
	for (u32 namespace = 0; namespace < NAMESPACES; namespace++) {
		u32 *host = bpf_map_lookup_elem(&host_ns, &namespace);
		if (host && *host == namespaces->inum[namespace])
			bits |= 1 << namespace;
	}
	return bits;
}

INLINE u32 differing(struct namespaces *one, struct namespaces *other)
{
	u32 bits = 0;
	for (u32 namespace = 0; namespace < NAMESPACES; namespace++)
		if (one->inum[namespace] != other->inum[namespace])
			bits |= 1 << namespace;
	return bits;
}

INLINE void enter(struct task_struct *task, u64 cgroup, u32 call, u32 bits)
{
	struct fold_key key = { .cgroup = cgroup, .subject = bits, .behavior = NAMESPACES_CHANGED, .detail = call };
	struct event *event = begin_settled_event(task, &key);
	if (event)
		send(event);
}

SEC("tracepoint/syscalls/sys_exit_setns")
int namespace_setns(struct returned *call)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct namespaces namespaces = {};
	u64 cgroup = call->result == 0 ? observed_cgroup(task) : 0;
	if (!cgroup)
		return 0;
	namespaces_of(task, &namespaces);
	enter(task, cgroup, SETNS, host_bits(&namespaces));
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_unshare")
int namespace_unshare(struct returned *call)
{
	struct task_struct *task = bpf_get_current_task_btf();
	/* A successful call made everything that it asked for. Comparing with the parent would prove nothing: that may be the runtime. */
	u64 asked = first_argument(task);
	u32 bits = 0;
	for (u32 namespace = 0; namespace < NAMESPACES; namespace++)
		if (asked & clone_flags[namespace])
			bits |= 1 << namespace;
	u64 cgroup = call->result == 0 && bits ? observed_cgroup(task) : 0;
	if (cgroup)
		enter(task, cgroup, UNSHARE, bits);
	return 0;
}

SEC("tp_btf/sched_process_fork")
int namespace_clone(u64 *context)
{
	struct task_struct *parent = (void *)context[0], *child = (void *)context[1];
	struct namespaces own = {}, parents = {};
	if (parent->nsproxy == child->nsproxy && parent->real_cred->user_ns == child->real_cred->user_ns)
		return 0;
	u64 cgroup = observed_cgroup(child);
	if (!cgroup)
		return 0;
	namespaces_of(child, &own);
	namespaces_of(parent, &parents);
	enter(child, cgroup, CLONED, differing(&own, &parents));
	return 0;
}

/* Out of the container's cgroup, which attribution relies on. The move has already happened here, so the container is found by the
 * mount namespace. */
SEC("tp_btf/cgroup_attach_task")
int namespace_left(u64 *context)
{
	struct task_struct *task = (void *)context[2];
	struct cgroup *to = (void *)context[0];
	/* A move in a hierarchy that attribution does not use: runtimes make them while a process arrives. */
	if (to != task->cgroups->dfl_cgrp && to != cgroup_of(task))
		return 0;
	u32 mnt = mounts_of(task);
	u64 *container = bpf_map_lookup_elem(&mnt_cgroups, &mnt);
	u32 *owner = container ? bpf_map_lookup_elem(&owners, container) : NULL;
	/* A runtime's monitor beside the containers belongs to the host. */
	if (!container || (owner && *owner == HOST_OWNED) || is_within(cgroup_of(task), *container))
		return 0;
	struct fold_key key = { .cgroup = *container, .behavior = NAMESPACES_CHANGED, .detail = LEFT };
	key.subject = serial_of(to);
	struct event *event = begin_event(task, &key);
	if (!event)
		return 0;
	long bytes = bpf_probe_read_kernel_str(event->path, WALK_BYTES, (void *)context[1]);
	if (bytes > 0 && bytes <= WALK_BYTES)
		event->path_bytes = bytes;
	send(event);
	return 0;
}
