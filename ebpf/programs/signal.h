/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What the sensors share. An act is folded by (cgroup, kind, subject): the first one is sent with its particulars, the others
 * are counted beside it. The host's own processes leave as early as their cgroup is known to be the host's; a process that a
 * runtime has put into a container's cgroup is not the container's before it has started the container's program. Every
 * act is counted once: generated = delivered + folded + dropped. Ends in `sensors/event.rs`. */
#pragma once
#include "cgroup.h"
#include "root.h"

#define FOLDS 8192
#define CGROUPS 8192
#define BOOKS 4096
#define RING_BYTES (2 << 20)
/* The outermost names decide: what is cut off stands further in. */
#define CGROUP_PATH_BYTES 512
#define WALK_BYTES 512
#define ELEMENT_BYTES 96
#define DEEPEST_PATH 48
#define ARGUMENT_BYTES 512
#define SPACES 7

/* The order of `sensors::Act`. */
enum act { EXEC, SPACES_ENTERED, MOUNTED, PTRACED, MODULE, BPF_CALLED, CAPABILITY, OPENED, CONNECTED, LISTENED, ROOT_CHANGED, CANARY, ACTS };

struct event {
	u64 cgroup, started, at, subject, serial;
	u32 pid, act, detail;
	u16 family, port;
	u8 address[16];
	char comm[16];
	u32 binary_bytes, path_bytes, argument_bytes, spare;
	/* Names leaf first, each ended by a zero; `path` may also be a text as its process gave it. */
	char binary[WALK_BYTES + ELEMENT_BYTES];
	char path[WALK_BYTES + ELEMENT_BYTES];
	char arguments[ARGUMENT_BYTES + ELEMENT_BYTES];
};

struct {
	NUMBER(type, RINGBUF);
	NUMBER(max_entries, RING_BYTES);
} ring SEC(".maps");

/* Here and in the tables below a cgroup stands as its serial number. */
struct fold_key { u64 cgroup, subject; u32 act, detail; };
struct fold { u64 count, last; };
struct {
	NUMBER(type, LRU_PER_CPU_HASH);
	NUMBER(max_entries, FOLDS);
	TYPE(key, struct fold_key);
	TYPE(value, struct fold);
} folds SEC(".maps");

/* Whose a cgroup is: as long as it is not told, it is watched. A Pod's own cgroup holds what a runtime keeps beside the
 * containers. */
enum owner { UNTOLD, HOST_OWNED, POD_OWNED, CONTAINER_OWNED };
struct {
	NUMBER(type, LRU_HASH);
	NUMBER(max_entries, CGROUPS);
	TYPE(key, u64);
	TYPE(value, u32);
} owners SEC(".maps");

/* The same where it takes no call to look: a serial number and its owner in one word. What a cgroup is never changes. */
#define NEAR_OWNERS 1024
struct {
	NUMBER(type, ARRAY);
	NUMBER(max_entries, NEAR_OWNERS);
	TYPE(key, u32);
	TYPE(value, u64);
} near_owners SEC(".maps");

INLINE u32 owner_of(u64 cgroup)
{
	u32 slot = cgroup % NEAR_OWNERS;
	u64 *near = bpf_map_lookup_elem(&near_owners, &slot);
	if (near && *near >> 2 == cgroup)
		return *near & 3;
	u32 *owner = bpf_map_lookup_elem(&owners, &cgroup);
	if (!owner)
		return UNTOLD;
	if (near)
		*near = cgroup << 2 | *owner;
	return *owner;
}

/* Paths of cgroups, as the kernel wrote them when they were made or entered: kept after their end, so that what lived a
 * moment is attributed too. */
struct path_text { char bytes[CGROUP_PATH_BYTES]; };
struct {
	NUMBER(type, LRU_HASH);
	NUMBER(max_entries, CGROUPS);
	TYPE(key, u64);
	TYPE(value, struct path_text);
} paths SEC(".maps");

/* The node's own: filled in before anything is attached. Order: user, pid, net, mnt, ipc, uts, cgroup. */
struct {
	NUMBER(type, ARRAY);
	NUMBER(max_entries, SPACES);
	TYPE(key, u32);
	TYPE(value, u32);
} host_spaces SEC(".maps");

enum { SPACE_MNT = 3 };

/* Mount namespaces of containers, by inode: the cgroup in which the first program of each was started. */
struct {
	NUMBER(type, LRU_HASH);
	NUMBER(max_entries, CGROUPS);
	TYPE(key, u32);
	TYPE(value, u64);
} homes SEC(".maps");

/* Processes that were put into a cgroup and have not started a program there since, with the time of their start: a number
 * alone may be another one's by now. One that others put there is a runtime's, and `outside` is the mount namespace that the
 * runtime works in, not always the node's first: as long as it starts programs there it is still on its way (runc copies
 * itself before it makes the container's own). */
struct arrival { u64 started, outside; };
struct {
	NUMBER(type, LRU_HASH);
	NUMBER(max_entries, 4096);
	TYPE(key, u32);
	TYPE(value, struct arrival);
} arriving SEC(".maps");

INLINE struct arrival *arrival_of(struct task_struct *task)
{
	u32 pid = task->tgid;
	struct arrival *arrival = bpf_map_lookup_elem(&arriving, &pid);
	return arrival && arrival->started == task->group_leader->start_boottime ? arrival : NULL;
}

INLINE int is_arriving(struct task_struct *task)
{
	return arrival_of(task) != NULL;
}

INLINE u32 mounts_of(struct task_struct *task)
{
	return task->nsproxy->mnt_ns->ns.inum;
}

INLINE void arrive(struct task_struct *task, u64 outside)
{
	u32 pid = task->tgid;
	struct arrival arrival = { task->group_leader->start_boottime, outside };
	bpf_map_update_elem(&arriving, &pid, &arrival, ANY);
}

/* What became of behaviors: each is generated once, and then one of the other three. `lost` has a bit for each act of which
 * something was dropped. */
struct counts { u64 generated, delivered, folded, dropped, lost; };

/* By act; the last one is the book of those whose cgroup had no room for one of its own. */
struct {
	NUMBER(type, PER_CPU_ARRAY);
	NUMBER(max_entries, ACTS + 1);
	TYPE(key, u32);
	TYPE(value, struct counts);
} counters SEC(".maps");

/* The same by cgroup. */
struct {
	NUMBER(type, LRU_PER_CPU_HASH);
	NUMBER(max_entries, BOOKS);
	TYPE(key, u64);
	TYPE(value, struct counts);
} books SEC(".maps");

struct tally { struct counts *of_act, *of_cgroup; };
#define TALLY(tally, outcome) ((tally)->of_act->outcome++, (tally)->of_cgroup->outcome++)

/* Where an act is counted: both places, or, without a table, nowhere. */
INLINE int open_tally(struct tally *tally, u32 act, u64 cgroup)
{
	struct counts none = {};
	u32 shared = ACTS;
	tally->of_act = bpf_map_lookup_elem(&counters, &act);
	tally->of_cgroup = bpf_map_lookup_elem(&books, &cgroup);
	if (!tally->of_cgroup && bpf_map_update_elem(&books, &cgroup, &none, NOEXIST) == 0)
		tally->of_cgroup = bpf_map_lookup_elem(&books, &cgroup);
	if (!tally->of_cgroup)
		tally->of_cgroup = bpf_map_lookup_elem(&counters, &shared);
	return tally->of_act && tally->of_cgroup;
}

/* The serial number of the cgroup that a task is attributed to. Plain loads: this stands before everything else. */
INLINE u64 cgroup_of_act(struct task_struct *task)
{
	struct cgroup *unified = task->cgroups->dfl_cgrp;
	if (unified->level > 0)
		return unified->self.serial_nr;
	struct cgroup *memory = cgroup_of(task);
	return level_of(memory) > 0 ? serial_of(memory) : 0;
}

/* The cgroup of a task whose behaviors matter; 0 for the host's own. */
INLINE u64 watched(struct task_struct *task)
{
	u64 id = cgroup_of_act(task);
	return owner_of(id) == HOST_OWNED ? 0 : id;
}

/* Whether a task is known to be within a container: then it is no runtime. */
INLINE int contained(struct task_struct *task)
{
	return owner_of(cgroup_of_act(task)) == CONTAINER_OWNED;
}

INLINE void drop(struct tally *tally, u32 act)
{
	TALLY(tally, dropped);
	tally->of_cgroup->lost |= 1ULL << act;
}

/* Whether this act is the first of its sort; every other one is counted here. */
INLINE int first(struct fold_key *key, struct tally *tally)
{
	struct fold one = { 1, bpf_ktime_get_boot_ns() };
	struct fold *fold = bpf_map_lookup_elem(&folds, key);
	TALLY(tally, generated);
	if (!fold && bpf_map_update_elem(&folds, key, &one, NOEXIST) == 0)
		return 1;
	if (!fold)
		fold = bpf_map_lookup_elem(&folds, key);
	if (!fold) {
		drop(tally, key->act);
		return 0;
	}
	fold->count++;
	fold->last = one.last;
	TALLY(tally, folded);
	return 0;
}

struct walk { struct dentry *dentry; struct mount *mount; };

/* One step towards the root, mounts crossed; 0 at the root. */
INLINE int up(struct walk *walk, int cross)
{
	struct dentry *root = NULL, *parent = NULL;
	READ(root, &walk->mount->mnt.mnt_root);
	if (walk->dentry == root && cross) {
		struct mount *above = NULL;
		READ(above, &walk->mount->mnt_parent);
		if (!above || above == walk->mount)
			return 0;
		READ(walk->dentry, &walk->mount->mnt_mountpoint);
		walk->mount = above;
		return 2;
	}
	READ(parent, &walk->dentry->d_parent);
	if (!parent || parent == walk->dentry)
		return 0;
	walk->dentry = parent;
	return 1;
}

/* Whether a mount stands right on what every mount namespace begins with: nobody's chroot leads there but to the root. */
INLINE int is_top(struct task_struct *task, struct mount *mount)
{
	struct mount *above = NULL;
	READ(above, &mount->mnt_parent);
	return above == task->nsproxy->mnt_ns->root;
}

INLINE struct super_block *home_of(struct mount *mount)
{
	struct super_block *home = NULL;
	if (mount)
		READ(home, &mount->mnt.mnt_sb);
	return home;
}

/* The file system that a task's mount namespace has at its root; most tasks stand right on it. */
INLINE struct super_block *root_home(struct task_struct *task)
{
	struct vfsmount *root = task->fs->root.mnt;
	return is_top(task, mount_of(root)) ? root->mnt_sb : home_of(root_of(task));
}

/* Writes the names from a file up to its root: the kernel's own, which nobody changes under the reader. `bytes` stands in the
 * record itself: a value that comes back from memory is the same unknown in every round, so that the verifier walks this
 * once and not once for each length. */
INLINE void write_path(struct path *path, char *to, volatile u32 *bytes, int cross)
{
	struct walk walk = {};
	struct vfsmount *mount = NULL;
	*bytes = 0;
	READ(walk.dentry, &path->dentry);
	READ(mount, &path->mnt);
	walk.mount = mount_of(mount);
	for (int step = 0; step < DEEPEST_PATH; step++) {
		struct dentry *named = walk.dentry;
		const unsigned char *name = NULL;
		u32 at = *bytes;
		int stepped = up(&walk, cross);
		if (!stepped || at >= WALK_BYTES)
			break;
		if (stepped == 2)
			continue;
		READ(name, &named->d_name.name);
		long read = bpf_probe_read_kernel_str(to + at, ELEMENT_BYTES, name);
		if (read > 0)
			*bytes = at + read;
	}
}

INLINE struct file *program_of(struct task_struct *task)
{
	struct mm_struct *mm = NULL;
	struct file *file = NULL;
	READ(mm, &task->mm);
	READ(file, &mm->exe_file);
	return file;
}

/* A record of an act that is the first of its sort: room in the ring, and who did it. NULL where that is not so. */
INLINE struct event *told(struct task_struct *task, struct fold_key *key)
{
	struct tally tally = {};
	if (!open_tally(&tally, key->act, key->cgroup) || !first(key, &tally))
		return NULL;
	struct event *event = bpf_ringbuf_reserve(&ring, sizeof(*event), 0);
	if (!event) {
		drop(&tally, key->act);
		/* The next one shall be the first. */
		bpf_map_delete_elem(&folds, key);
		return NULL;
	}
	TALLY(&tally, delivered);
	event->cgroup = cgroup_id(cgroup_of(task));
	event->serial = key->cgroup;
	event->subject = key->subject;
	event->act = key->act;
	event->detail = key->detail;
	event->started = task->start_boottime;
	event->at = bpf_ktime_get_boot_ns();
	event->pid = task->tgid;
	event->family = event->port = 0;
	event->path_bytes = event->argument_bytes = event->spare = 0;
	READ(event->comm, &task->comm);
	write_path(&program_of(task)->f_path, event->binary, &event->binary_bytes, 1);
	return event;
}

/* The same, of whoever is not on the way into a container any more. */
INLINE struct event *sight(struct task_struct *task, struct fold_key *key)
{
	return is_arriving(task) ? NULL : told(task, key);
}

INLINE void send(struct event *event)
{
	bpf_ringbuf_submit(event, 0);
}

/* FNV-1a, to tell texts apart. */
INLINE u64 hash_of(const void *bytes, u32 count)
{
	u64 hash = 14695981039346656037ULL;
	for (u32 at = 0; at < count; at++)
		hash = (hash ^ ((const u8 *)bytes)[at]) * 1099511628211ULL;
	return hash;
}

/* What the syscall tracepoints give when a call returns. */
struct returned { u64 common; int number; s64 result; };

INLINE u64 first_argument(struct task_struct *task)
{
	u64 value = 0;
	READ(value, &FIRST(bpf_task_pt_regs(task)));
	return value;
}

INLINE u64 second_argument(struct task_struct *task)
{
	u64 value = 0;
	READ(value, &SECOND(bpf_task_pt_regs(task)));
	return value;
}

INLINE u64 fifth_argument(struct task_struct *task)
{
	u64 value = 0;
	READ(value, &FIFTH(bpf_task_pt_regs(task)));
	return value;
}

INLINE struct file *file_at(struct task_struct *task, u32 descriptor)
{
	struct fdtable *table = task->files->fdt;
	struct file *file = NULL;
	if (descriptor < table->max_fds)
		READ(file, &table->fd[descriptor]);
	return file;
}

/* The socket behind a descriptor that a call has just used as one. */
INLINE struct sock *sock_at(struct task_struct *task, u32 descriptor)
{
	struct file *file = file_at(task, descriptor);
	struct socket *socket = NULL;
	struct sock *sock = NULL;
	READ(socket, &file->private_data);
	READ(sock, &socket->sk);
	return sock;
}
