/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* The cgroup of a task and the names on its path. The parent is found through `cgroup.self.parent`, which has been there since
 * cgroups version 2 began; `kernfs_node.parent` was renamed and moved under RCU in 6.15. */
#pragma once
#include "kernel.h"

/* The outermost levels decide whose a cgroup is; a kubelet inside a container of its own uses seven. */
#define LEVELS 12
/* Kernels before 6.1 have no array of ancestors: there, the owner of a cgroup that is nested deeper than this is unknown. */
#define MAX_DEPTH 256
#define NAME_BYTES 128
#define PATH_BYTES 512

struct cgroup_path {
	struct cgroup *at[LEVELS];
	u32 bytes;
	u32 whole;
	/* Names, outermost first, each ended by a zero; the last one may be cut. */
	char names[PATH_BYTES + NAME_BYTES];
};

INLINE int level_of(struct cgroup *cgroup)
{
	int level = 0;
	READ(level, &cgroup->level);
	return level;
}

/* The unified hierarchy's cgroup; where that is the root, the memory controller's of version 1. */
INLINE struct cgroup *cgroup_of(struct task_struct *task)
{
	struct css_set *set = NULL;
	struct cgroup *cgroup = NULL;
	struct cgroup_subsys_state *memory = NULL;
	READ(set, &task->cgroups);
	READ(cgroup, &set->dfl_cgrp);
	if (level_of(cgroup) > 0)
		return cgroup;
	u64 controller = __builtin_preserve_enum_value(*(enum cgroup_subsys_id *)memory_cgrp_id, 1);
	READ(memory, (void **)&set->subsys[0] + controller);
	if (memory)
		READ(cgroup, &memory->cgroup);
	return cgroup;
}

INLINE u64 cgroup_id(struct cgroup *cgroup)
{
	struct kernfs_node *node = NULL;
	u64 id = 0;
	READ(node, &cgroup->kn);
	READ(id, &node->id);
	return id;
}

/* The identity of a cgroup here: given once, across all hierarchies. A cgroup's id is that of a file, and on a node with version 1
 * another hierarchy may give the same id to another container. */
INLINE u64 serial_of(struct cgroup *cgroup)
{
	u64 serial = 0;
	READ(serial, &cgroup->self.serial_nr);
	return serial;
}

/* Whether a cgroup is the one with this serial number, or nested in it. */
INLINE int is_within(struct cgroup *cgroup, u64 serial)
{
	for (int step = 0; step < MAX_DEPTH && cgroup; step++) {
		if (serial_of(cgroup) == serial)
			return 1;
		if (level_of(cgroup) <= 0)
			break;
		READ(cgroup, &cgroup->self.parent);
	}
	return 0;
}

/* The outermost levels, however deep the cgroup itself is nested. */
INLINE void find(struct cgroup *cgroup, struct cgroup_path *path)
{
	int level = level_of(cgroup);
	for (int slot = 0; slot < LEVELS && slot < level; slot++)
		READ(path->at[slot], (void **)&cgroup->ancestors[0] + slot + 1);
	path->whole = 1;
}

INLINE void climb(struct cgroup *cgroup, struct cgroup_path *path)
{
	path->whole = 0;
	for (int step = 0; step < MAX_DEPTH; step++) {
		int level = level_of(cgroup);
		if (level <= 0 || !cgroup) {
			path->whole = 1;
			return;
		}
		u32 slot = (u32)level - 1;
		if (slot < LEVELS)
			path->at[slot] = cgroup;
		/* `self` is the first member: its address is the cgroup's. */
		READ(cgroup, &cgroup->self.parent);
	}
}

INLINE void name_path(struct cgroup *cgroup, struct cgroup_path *path)
{
	u32 depth = level_of(cgroup), bytes = 0;
	if (has(cgroup->ancestors))
		find(cgroup, path);
	else
		climb(cgroup, path);
	for (u32 slot = 0; slot < LEVELS; slot++) {
		struct kernfs_node *node = NULL;
		const char *name = NULL;
		if (slot >= depth || bytes >= PATH_BYTES)
			break;
		READ(node, &path->at[slot]->kn);
		READ(name, &node->name);
		long read = bpf_probe_read_kernel_str(&path->names[bytes], NAME_BYTES, name);
		if (read > 0 && read <= NAME_BYTES)
			bytes += read;
	}
	path->bytes = bytes;
}
