/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Files opened: those whose name says that they may hold credentials, those that lie on the node's own file system, and those
 * under /etc that can be written. Read when the call returns, from the file itself: no text of the process is believed. */

enum { NAMED = 1, OF_NODE = 2, ETC_WRITE = 4, RUNTIME_SOCKET = 8, WRITING = 16 };
#define FMODE_WRITE 2
#define FMODE_CREATED 0x100000
#define KEY_BYTES 32
#define UNIX_FAMILY 1

struct file_name { char bytes[KEY_BYTES]; };

/* Names worth a look; whether the path fits is decided by who reads. */
struct {
	NUMBER(type, HASH);
	NUMBER(max_entries, 64);
	TYPE(key, struct file_name);
	TYPE(value, u32);
} file_names SEC(".maps");

/* File systems of the node: device numbers as the kernel has them. */
struct {
	NUMBER(type, HASH);
	NUMBER(max_entries, 256);
	TYPE(key, u32);
	TYPE(value, u32);
} node_devices SEC(".maps");

/* A bit for each length that one of these names has: most files leave here. */
const volatile u64 name_lengths = 0;

INLINE int named(u32 length, const unsigned char *name)
{
	struct file_name key = {};
	if (length >= KEY_BYTES || !(name_lengths >> length & 1))
		return 0;
	bpf_probe_read_kernel_str(key.bytes, KEY_BYTES, name);
	return bpf_map_lookup_elem(&file_names, &key) != NULL;
}

INLINE u32 device_of(struct super_block *home)
{
	u32 device = 0;
	READ(device, &home->s_dev);
	return device;
}

/* On a file system that the node has mounted, seen by a container whose root is another one. Most files lie on the root. */
INLINE int of_node(struct task_struct *task, struct super_block *home)
{
	struct vfsmount *root = task->fs->root.mnt;
	u32 device = 0;
	/* An overlay is never the node's. */
	if (root->mnt_sb == home && (root->mnt_sb->s_magic == OVERLAY || is_top(task, mount_of(root))))
		return 0;
	device = device_of(home);
	return bpf_map_lookup_elem(&node_devices, &device) && home_of(root_of(task)) != home;
}

INLINE int is_etc(struct dentry *dentry)
{
	/* One byte more than the name has: a longer one, cut, would look like it. */
	char name[5] = {};
	const unsigned char *from = NULL;
	READ(from, &dentry->d_name.name);
	return bpf_probe_read_kernel_str(name, sizeof(name), from) == 4 && name[0] == 'e' && name[1] == 't' && name[2] == 'c';
}

/* By its place in the root's own file system: wherever else that is mounted, it is the same folder. */
INLINE int of_etc(struct dentry *dentry, struct dentry *root)
{
	for (int step = 0; step < DEEPEST_PATH; step++) {
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

/* By the path that leads to it. */
INLINE int below_etc(struct path *path)
{
	struct walk walk = {};
	struct vfsmount *mount = NULL;
	struct dentry *top = NULL;
	READ(walk.dentry, &path->dentry);
	READ(mount, &path->mnt);
	walk.mount = mount_of(mount);
	for (int step = 0; step < DEEPEST_PATH; step++) {
		struct dentry *named = walk.dentry;
		int stepped = up(&walk, 1);
		if (!stepped)
			break;
		if (stepped == 1)
			top = named;
	}
	return is_etc(top);
}

/* Of the container's /etc, by its place or by its path: whoever mounts one elsewhere and lives there is not away from it. */
INLINE int under_etc(struct task_struct *task, struct path *path, struct super_block *home)
{
	struct mount *root = root_of(task);
	struct vfsmount *mount = NULL;
	struct dentry *dentry = NULL, *top = NULL;
	READ(dentry, &path->dentry);
	READ(mount, &path->mnt);
	if (root && home == home_of(root)) {
		READ(top, &root->mnt.mnt_root);
		if (of_etc(dentry, top))
			return 1;
		if (mount_of(mount) == root)
			return 0;
	}
	return below_etc(path);
}

/* What every open is asked: name, file system and mode, in as few copies as that takes. */
#define DENTRY_BYTES 128

INLINE u32 worth(struct task_struct *task, struct file *file, u32 writing)
{
	u64 dentry[DENTRY_BYTES / 8];
	struct dentry *of = NULL;
	READ(of, &file->f_path.dentry);
	if (bpf_probe_read_kernel(dentry, sizeof(dentry), of))
		return 0;
	u32 detail = named(COPIED((void *)dentry, dentry, d_name.len), COPIED((void *)dentry, dentry, d_name.name)) ? NAMED : 0;
	struct super_block *home = COPIED((void *)dentry, dentry, d_sb);
	if (of_node(task, home))
		detail |= OF_NODE;
	if (writing && under_etc(task, &file->f_path, home))
		detail |= ETC_WRITE;
	return detail;
}

/* The same for each call that opens. */
SEC("tracepoint/syscalls/sys_exit_openat")
int file_opened(struct returned *call)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u64 cgroup = call->result >= 0 ? watched(task) : 0;
	u32 mode = 0;
	if (!cgroup)
		return 0;
	struct file *file = file_at(task, call->result);
	READ(mode, &file->f_mode);
	u32 writing = mode & FMODE_WRITE, detail = worth(task, file, writing);
	if (mode & (FMODE_WRITE | FMODE_CREATED))
		root_opened(task, cgroup, file);
	if (!detail)
		return 0;
	struct fold_key key = { .cgroup = cgroup, .act = OPENED, .detail = detail | (writing ? WRITING : 0) };
	struct inode *inode = NULL;
	struct super_block *home = NULL;
	READ(inode, &file->f_inode);
	READ(home, &inode->i_sb);
	/* Of the node's folders one file each is sample enough; what is named or written is told file by file. */
	if (detail == OF_NODE) {
		struct dentry *dentry = NULL;
		READ(dentry, &file->f_path.dentry);
		READ(dentry, &dentry->d_parent);
		READ(inode, &dentry->d_inode);
	}
	unsigned long number = 0;
	READ(number, &inode->i_ino);
	key.subject = number ^ (u64)device_of(home) << 40;
	struct event *event = sight(task, &key);
	if (!event)
		return 0;
	write_path(&file->f_path, event->path, &event->path_bytes, 1);
	/* Where it lies on its own file system: the node's name for it. */
	write_path(&file->f_path, event->arguments, &event->argument_bytes, 0);
	event->spare = device_of(home);
	send(event);
	return 0;
}

/* A socket in the file system is used by connecting to it. Its name is the one that its server gave it. */
SEC("tracepoint/syscalls/sys_exit_connect")
int file_connect(struct returned *call)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u64 cgroup = call->result == 0 ? watched(task) : 0;
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
	struct fold_key key = { .cgroup = cgroup, .subject = hash_of(name, sizeof(name)), .act = OPENED, .detail = RUNTIME_SOCKET };
	struct event *event = sight(task, &key);
	if (!event)
		return 0;
	__builtin_memcpy(event->path, name, sizeof(name));
	event->path_bytes = sizeof(name);
	send(event);
	return 0;
}
