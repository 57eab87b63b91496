/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Capabilities that let a process pass, over the host's own user namespace. CAP_SYS_ADMIN is left out: the kernel asks for it
 * whenever memory is mapped, which tells nothing; its real uses show as mounts, namespaces and bpf calls. */

SEC("tp_btf/cap_capable")
int capability_used(u64 *context)
{
	const struct user_namespace *space = (void *)context[2];
	u32 capability = context[3];
	struct task_struct *task = bpf_get_current_task_btf();
	if ((int)context[4] != 0 || capability == CAP_SYS_ADMIN || space->level != 0)
		return 0;
	u64 cgroup = watched(task);
	struct fold_key key = { .cgroup = cgroup, .subject = capability, .act = CAPABILITY };
	struct event *event = cgroup ? sight(task, &key) : NULL;
	if (event)
		send(event);
	return 0;
}
