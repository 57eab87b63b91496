/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* The root of a mount namespace: the container's root file system, whatever chroot its processes use. */
#pragma once
#include "kernel.h"

INLINE struct mount *mount_of(struct vfsmount *mount)
{
	return (void *)mount - __builtin_preserve_field_info(((struct mount *)0)->mnt, 0);
}

/* The most mounts that are crossed on the way to the root. */
#define MAX_ROOT_DEPTH 16

/* The mount at the root of a task's mount namespace, whatever chroot the task uses: from its own root upwards, the last mount that
 * is not merely stacked on the root of another one. NULL where the task's root is in no namespace. */
INLINE struct mount *root_of(struct task_struct *task)
{
	struct mount *last = task->nsproxy->mnt_ns->root, *mount = mount_of(task->fs->root.mnt), *root = mount;
	for (int step = 0; step < MAX_ROOT_DEPTH; step++) {
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
