/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What the sensors share. Events are folded by (cgroup, behavior, subject, detail): the first one is sent with its details, the
 * others are only counted. Events of the host's own processes end as soon as their cgroup is known to be the host's. A process
 * that a container runtime has put into a container's cgroup counts as the container's once it has started the container's
 * program. Every event is counted once: generated = delivered + folded + dropped. Decoded by `sensors/event.rs`. */
#pragma once
#include "cgroup.h"
#include "root.h"

#define FOLDS 8192
#define CGROUPS 8192
#define COUNTED_CGROUPS 4096
#define RING_BYTES (2 << 20)
/* The outermost names decide whose a cgroup is: a cut only loses inner ones. */
#define CGROUP_PATH_BYTES 512
#define WALK_BYTES 512
#define ELEMENT_BYTES 96
#define MAX_PATH_DEPTH 48
#define ARGUMENT_BYTES 512
#define NAMESPACES 7
#define CAP_SYS_ADMIN 21
#define OVERLAY 0x794c7630

/* Declares a behavior that a sensor reports. Its number comes from the list of sensors (`sensors/mod.rs`): the loader writes it
 * before the programs are loaded. A behavior that the list lacks stays 0, and is neither counted nor sent. */
#define BEHAVIOR(name) const volatile u32 name = 0
/* The numbers of behaviors are below this: `counts.dropped_behaviors` has a bit for each. */
#define BEHAVIORS 64

struct event {
	u64 cgroup, started, at, subject, serial;
	u32 pid, behavior, detail;
	u16 family, port;
	u8 address[16];
	char comm[16];
	u32 binary_bytes, path_bytes, argument_bytes, spare;
	/* Names from leaf to root, each ended by a zero; `path` may also be text from the memory of the process. */
	char binary[WALK_BYTES + ELEMENT_BYTES];
	char path[WALK_BYTES + ELEMENT_BYTES];
	char arguments[ARGUMENT_BYTES + ELEMENT_BYTES];
};

struct {
	NUMBER(type, RINGBUF);
	NUMBER(max_entries, RING_BYTES);
} ring SEC(".maps");

/* Here and in the maps below a cgroup is identified by its serial number. */
struct fold_key { u64 cgroup, subject; u32 behavior, detail; };
struct fold { u64 count, last; };
struct {
	NUMBER(type, LRU_PER_CPU_HASH);
	NUMBER(max_entries, FOLDS);
	TYPE(key, struct fold_key);
	TYPE(value, struct fold);
} folds SEC(".maps");

/* The owner of a cgroup; while it is unknown, the cgroup is observed. A Pod's own cgroup holds what a runtime keeps beside the
 * containers. */
enum owner { OWNER_UNKNOWN, HOST_OWNED, POD_OWNED, CONTAINER_OWNED };
struct {
	NUMBER(type, LRU_HASH);
	NUMBER(max_entries, CGROUPS);
	TYPE(key, u64);
	TYPE(value, u32);
} owners SEC(".maps");

/* A cache of `owners` in an array, whose lookups are inlined: serial number and owner in one word. The owner of a cgroup never
 * changes. */
#define CACHED_OWNERS 1024
struct {
	NUMBER(type, ARRAY);
	NUMBER(max_entries, CACHED_OWNERS);
	TYPE(key, u32);
	TYPE(value, u64);
} owner_cache SEC(".maps");

INLINE u32 owner_of(u64 cgroup)
{
	u32 slot = cgroup % CACHED_OWNERS;
	u64 *near = bpf_map_lookup_elem(&owner_cache, &slot);
	if (near && *near >> 2 == cgroup)
		return *near & 3;
	u32 *owner = bpf_map_lookup_elem(&owners, &cgroup);
	if (!owner)
		return OWNER_UNKNOWN;
	if (near)
		*near = cgroup << 2 | *owner;
	return *owner;
}

/* Paths of cgroups, as the kernel gives them when a cgroup is made or entered. They outlive the cgroup, so that events of
 * short-lived containers are attributed too. */
struct path_text { char bytes[CGROUP_PATH_BYTES]; };
struct {
	NUMBER(type, LRU_HASH);
	NUMBER(max_entries, CGROUPS);
	TYPE(key, u64);
	TYPE(value, struct path_text);
} paths SEC(".maps");

/* The node's own namespaces, written before anything is attached. Order: user, pid, net, mnt, ipc, uts, cgroup. */
struct {
	NUMBER(type, ARRAY);
	NUMBER(max_entries, NAMESPACES);
	TYPE(key, u32);
	TYPE(value, u32);
} host_ns SEC(".maps");

enum { NS_MNT = 3 };

/* Mount namespaces of containers, by inode -> the cgroup in which the first program of each was started. */
struct {
	NUMBER(type, LRU_HASH);
	NUMBER(max_entries, CGROUPS);
	TYPE(key, u32);
	TYPE(value, u64);
} mnt_cgroups SEC(".maps");

/* Processes that were moved into a cgroup and have not started a program there yet. The start time tells a process from a later
 * one with the same pid. A process that another one moved there belongs to the runtime, and `outside` is the mount namespace
 * that the runtime works in, which need not be the node's: while it starts programs in that namespace it is still arriving
 * (runc copies itself before it makes the container's own). */
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

/* What became of events: each is generated once, and is then one of the other three. `dropped_behaviors` has the bit of each
 * behavior of which an event was dropped. */
struct counts { u64 generated, delivered, folded, dropped, dropped_behaviors; };

/* By behavior. Number 0, which no behavior has, counts for cgroups that got no entry in `cgroup_counts`. */
struct {
	NUMBER(type, PER_CPU_ARRAY);
	NUMBER(max_entries, BEHAVIORS);
	TYPE(key, u32);
	TYPE(value, struct counts);
} counters SEC(".maps");

/* The same by cgroup. */
struct {
	NUMBER(type, LRU_PER_CPU_HASH);
	NUMBER(max_entries, COUNTED_CGROUPS);
	TYPE(key, u64);
	TYPE(value, struct counts);
} cgroup_counts SEC(".maps");

struct tally { struct counts *of_behavior, *of_cgroup; };
#define TALLY(tally, outcome) ((tally)->of_behavior->outcome++, (tally)->of_cgroup->outcome++)

/* Where an event is counted: under its behavior and under its cgroup, or nowhere if one of them has no entry. */
INLINE int open_tally(struct tally *tally, u32 behavior, u64 cgroup)
{
	struct counts none = {};
	u32 shared = 0;
	if (!behavior)
		return 0;
	tally->of_behavior = bpf_map_lookup_elem(&counters, &behavior);
	tally->of_cgroup = bpf_map_lookup_elem(&cgroup_counts, &cgroup);
	if (!tally->of_cgroup && bpf_map_update_elem(&cgroup_counts, &cgroup, &none, NOEXIST) == 0)
		tally->of_cgroup = bpf_map_lookup_elem(&cgroup_counts, &cgroup);
	if (!tally->of_cgroup)
		tally->of_cgroup = bpf_map_lookup_elem(&counters, &shared);
	return tally->of_behavior && tally->of_cgroup;
}

/* The serial number of the cgroup that a task is attributed to. Plain loads, as every event begins with this. */
INLINE u64 attributed_cgroup(struct task_struct *task)
{
	struct cgroup *unified = task->cgroups->dfl_cgrp;
	if (unified->level > 0)
		return unified->self.serial_nr;
	struct cgroup *memory = cgroup_of(task);
	return level_of(memory) > 0 ? serial_of(memory) : 0;
}

/* The cgroup of a task that is observed; 0 for the host's own. */
INLINE u64 observed_cgroup(struct task_struct *task)
{
	u64 id = attributed_cgroup(task);
	return owner_of(id) == HOST_OWNED ? 0 : id;
}

/* Whether a task is known to be inside a container, and so is no runtime. */
INLINE int is_contained(struct task_struct *task)
{
	return owner_of(attributed_cgroup(task)) == CONTAINER_OWNED;
}

INLINE void drop(struct tally *tally, u32 behavior)
{
	TALLY(tally, dropped);
	tally->of_cgroup->dropped_behaviors |= 1ULL << behavior;
}

/* Whether this event is the first with its key; every other one is counted here. */
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
		drop(tally, key->behavior);
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

/* Whether a mount lies directly on the first mount of its namespace: a chroot can lead there only to the root itself. */
INLINE int is_top(struct task_struct *task, struct mount *mount)
{
	struct mount *above = NULL;
	READ(above, &mount->mnt_parent);
	return above == task->nsproxy->mnt_ns->root;
}

INLINE struct super_block *super_of(struct mount *mount)
{
	struct super_block *super = NULL;
	if (mount)
		READ(super, &mount->mnt.mnt_sb);
	return super;
}

/* The file system at the root of a task's mount namespace; it is the root of most tasks too. */
INLINE struct super_block *root_super(struct task_struct *task)
{
	struct vfsmount *root = task->fs->root.mnt;
	return is_top(task, mount_of(root)) ? root->mnt_sb : super_of(root_of(task));
}

/* Writes the names from a file up to its root, from the kernel's own dentries, which a process cannot change meanwhile. `bytes`
 * lives in the record itself: a value that is loaded from memory is equally unknown in every iteration, so that the verifier
 * checks the loop once and not once for each length. */
INLINE void write_path(struct path *path, char *to, volatile u32 *bytes, int cross)
{
	struct walk walk = {};
	struct vfsmount *mount = NULL;
	*bytes = 0;
	READ(walk.dentry, &path->dentry);
	READ(mount, &path->mnt);
	walk.mount = mount_of(mount);
	for (int step = 0; step < MAX_PATH_DEPTH; step++) {
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

/* Counts an event, and reserves its record with the process filled in where it is the first with its key; otherwise NULL. */
INLINE struct event *begin_event(struct task_struct *task, struct fold_key *key)
{
	struct tally tally = {};
	if (!open_tally(&tally, key->behavior, key->cgroup) || !first(key, &tally))
		return NULL;
	struct event *event = bpf_ringbuf_reserve(&ring, sizeof(*event), 0);
	if (!event) {
		drop(&tally, key->behavior);
		/* The next event with this key is to be the first again. */
		bpf_map_delete_elem(&folds, key);
		return NULL;
	}
	TALLY(&tally, delivered);
	event->cgroup = cgroup_id(cgroup_of(task));
	event->serial = key->cgroup;
	event->subject = key->subject;
	event->behavior = key->behavior;
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

/* The same for processes that are not arriving in a container. */
INLINE struct event *begin_settled_event(struct task_struct *task, struct fold_key *key)
{
	return is_arriving(task) ? NULL : begin_event(task, key);
}

INLINE void send(struct event *event)
{
	bpf_ringbuf_submit(event, 0);
}

/* FNV-1a: a key for a text. */
INLINE u64 hash_of(const void *bytes, u32 count)
{
	u64 hash = 14695981039346656037ULL;
	for (u32 at = 0; at < count; at++)
		hash = (hash ^ ((const u8 *)bytes)[at]) * 1099511628211ULL;
	return hash;
}

/* The context of the tracepoints at the return of a system call. */
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

/* The socket behind a descriptor that a system call has just used as one. */
INLINE struct sock *sock_at(struct task_struct *task, u32 descriptor)
{
	struct file *file = file_at(task, descriptor);
	struct socket *socket = NULL;
	struct sock *sock = NULL;
	READ(socket, &file->private_data);
	READ(sock, &socket->sk);
	return sock;
}
