/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Files that are opened: those whose name suggests credentials, those on a file system of the node, and those under /etc that can
 * be written. Read when the call returns, from the kernel's file: nothing from the memory of the process is trusted. */
#pragma once
#include "root.c"

BEHAVIOR(OPENED);

enum { NAMED = 1, OF_NODE = 2, ETC_WRITE = 4, RUNTIME_SOCKET = 8, WRITING = 16 };
#define FMODE_WRITE 2
#define FMODE_CREATED 0x100000
#define KEY_BYTES 32
#define UNIX_FAMILY 1

struct file_name { char bytes[KEY_BYTES]; };

/* Names that may be of credentials; user space decides by the path. */
struct {
	NUMBER(type, HASH);
	NUMBER(max_entries, 64);
	TYPE(key, struct file_name);
	TYPE(value, u32);
} file_names SEC(".maps");

/* File systems of the node: the kernel's device numbers. */
struct {
	NUMBER(type, HASH);
	NUMBER(max_entries, 256);
	TYPE(key, u32);
	TYPE(value, u32);
} node_devices SEC(".maps");

/* A bit for each length that one of these names has: rules most files out. */
const volatile u64 name_lengths = 0;

INLINE int named(u32 length, const unsigned char *name)
{
	struct file_name key = {};
	if (length >= KEY_BYTES || !(name_lengths >> length & 1))
		return 0;
	bpf_probe_read_kernel_str(key.bytes, KEY_BYTES, name);
	return bpf_map_lookup_elem(&file_names, &key) != NULL;
}

INLINE u32 device_of(struct super_block *super)
{
	u32 device = 0;
	READ(device, &super->s_dev);
	return device;
}

/* Whether a file system is mounted by the node and is not the container's root. Most files lie on the root. */
INLINE int of_node(struct task_struct *task, struct super_block *super)
{
	struct vfsmount *root = task->fs->root.mnt;
	u32 device = 0;
	/* An overlay is never a file system of the node. */
	if (root->mnt_sb == super && (root->mnt_sb->s_magic == OVERLAY || is_top(task, mount_of(root))))
		return 0;
	device = device_of(super);
	return bpf_map_lookup_elem(&node_devices, &device) && super_of(root_of(task)) != super;
}

INLINE int is_etc(struct dentry *dentry)
{
	/* One byte more than the name, so that a longer name does not match when it is cut. */
	char name[5] = {};
	const unsigned char *from = NULL;
	READ(from, &dentry->d_name.name);
	return bpf_probe_read_kernel_str(name, sizeof(name), from) == 4 && name[0] == 'e' && name[1] == 't' && name[2] == 'c';
}

/* By its position in the root's file system, wherever else that is mounted. */
INLINE int of_etc(struct dentry *dentry, struct dentry *root)
{
	for (int step = 0; step < MAX_PATH_DEPTH; step++) {
		struct dentry *parent = NULL;
		READ(parent, &dentry->d_parent);
		if (parent == root)
			return is_etc(dentry);
		if (!parent || parent == dentry)
			break;
		dentry = parent;
	}
	return 0;
}

/* By the path through the mounts. */
INLINE int below_etc(struct path *path)
{
	struct walk walk = {};
	struct vfsmount *mount = NULL;
	struct dentry *top = NULL;
	READ(walk.dentry, &path->dentry);
	READ(mount, &path->mnt);
	walk.mount = mount_of(mount);
	for (int step = 0; step < MAX_PATH_DEPTH; step++) {
		struct dentry *named = walk.dentry;
		int stepped = up(&walk, 1);
		if (!stepped)
			break;
		if (stepped == 1)
			top = named;
	}
	return is_etc(top);
}

/* Whether a file is in the container's /etc, by its position in the root's file system or by its path: mounting /etc elsewhere, or
 * chroot, hides neither. */
INLINE int under_etc(struct task_struct *task, struct path *path, struct super_block *super)
{
	struct mount *root = root_of(task);
	struct vfsmount *mount = NULL;
	struct dentry *dentry = NULL, *top = NULL;
	READ(dentry, &path->dentry);
	READ(mount, &path->mnt);
	if (root && super == super_of(root)) {
		READ(top, &root->mnt.mnt_root);
		if (of_etc(dentry, top))
			return 1;
		if (mount_of(mount) == root)
			return 0;
	}
	return below_etc(path);
}

/* The checks that every open goes through: name, file system and mode, with as few copies as possible. */
#define DENTRY_BYTES 128

INLINE u32 relevance(struct task_struct *task, struct file *file, u32 writing)
{
	u64 dentry[DENTRY_BYTES / 8];
	struct dentry *of = NULL;
	READ(of, &file->f_path.dentry);
	if (bpf_probe_read_kernel(dentry, sizeof(dentry), of))
		return 0;
	u32 detail = named(COPIED((void *)dentry, dentry, d_name.len), COPIED((void *)dentry, dentry, d_name.name)) ? NAMED : 0;
	struct super_block *super = COPIED((void *)dentry, dentry, d_sb);
	if (of_node(task, super))
		detail |= OF_NODE;
	if (writing && under_etc(task, &file->f_path, super))
		detail |= ETC_WRITE;
	return detail;
}

/* Attached to every call that opens files. */
SEC("tracepoint/syscalls/sys_exit_openat")
int file_opened(struct returned *call)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u64 cgroup = call->result >= 0 ? observed_cgroup(task) : 0;
	u32 mode = 0;
	if (!cgroup)
		return 0;
	struct file *file = file_at(task, call->result);
	READ(mode, &file->f_mode);
	u32 writing = mode & FMODE_WRITE, detail = relevance(task, file, writing);
	if (mode & (FMODE_WRITE | FMODE_CREATED))
		root_opened(task, cgroup, file);
	if (!detail)
		return 0;
	struct fold_key key = { .cgroup = cgroup, .behavior = OPENED, .detail = detail | (writing ? WRITING : 0) };
	struct inode *inode = NULL;
	struct super_block *super = NULL;
	READ(inode, &file->f_inode);
	READ(super, &inode->i_sb);
	/* On the node's file systems one event per folder is enough; named and written files are reported one by one. */
	if (detail == OF_NODE) {
		struct dentry *dentry = NULL;
		READ(dentry, &file->f_path.dentry);
		READ(dentry, &dentry->d_parent);
		READ(inode, &dentry->d_inode);
	}
	unsigned long number = 0;
	READ(number, &inode->i_ino);
	key.subject = number ^ (u64)device_of(super) << 40;
	struct event *event = begin_settled_event(task, &key);
	if (!event)
		return 0;
	write_path(&file->f_path, event->path, &event->path_bytes, 1);
	/* The path on its own file system, from which user space finds the path on the node. */
	write_path(&file->f_path, event->arguments, &event->argument_bytes, 0);
	event->spare = device_of(super);
	send(event);
	return 0;
}

/* A Unix socket is used by connecting to it. The path is the one that its server bound. */
SEC("tracepoint/syscalls/sys_exit_connect")
int file_connect(struct returned *call)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u64 cgroup = call->result == 0 ? observed_cgroup(task) : 0;
	if (!cgroup)
		return 0;
	struct sock *own = sock_at(task, first_argument(task)), *peer = NULL;
	struct unix_address *address = NULL;
	char name[KEY_BYTES * 2] = {};
	u16 family = 0;
	READ(family, &own->__sk_common.skc_family);
	if (family != UNIX_FAMILY)
		return 0;
	READ(peer, &((struct unix_sock *)own)->peer);
	READ(address, &((struct unix_sock *)peer)->addr);
	bpf_probe_read_kernel_str(name, sizeof(name), &address->name[0].sun_path);
	if (name[0] != '/')
		return 0;
	struct fold_key key = { .cgroup = cgroup, .subject = hash_of(name, sizeof(name)), .behavior = OPENED, .detail = RUNTIME_SOCKET };
	struct event *event = begin_settled_event(task, &key);
	if (!event)
		return 0;
	__builtin_memcpy(event->path, name, sizeof(name));
	event->path_bytes = sizeof(name);
	send(event);
	return 0;
}
