/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* The root of a mount namespace: what a container's files are held against, wherever chroot has put its processes. */
#pragma once
#include "kernel.h"

INLINE struct mount *mount_of(struct vfsmount *mount)
{
	return (void *)mount - __builtin_preserve_field_info(((struct mount *)0)->mnt, 0);
}

/* Mounts over mounts that a task's root is looked for through. */
#define DEEPEST_ROOT 16

/* The mount at the root of a task's mount namespace, wherever chroot has put the task: from its own root upwards, the last one
 * that is not merely stacked on another one's root. NULL where that is not found: a root that hangs in no namespace. */
INLINE struct mount *root_of(struct task_struct *task)
{
	struct mount *last = task->nsproxy->mnt_ns->root, *mount = mount_of(task->fs->root.mnt), *root = mount;
	for (int step = 0; step < DEEPEST_ROOT; step++) {
		struct mount *above = NULL;
		struct dentry *on = NULL, *top = NULL;
		if (mount == last)
			return root;
		READ(above, &mount->mnt_parent);
		if (!above)
			break;
		READ(on, &mount->mnt_mountpoint);
		READ(top, &above->mnt.mnt_root);
		if (on != top)
			root = above;
		mount = above;
	}
	return NULL;
}
