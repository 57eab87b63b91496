/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What the programs know of the kernel: the fields that they read, and nothing else. Every structure is marked
 * `preserve_access_index`: the loader moves each access to where the running kernel has the field (CO-RE), so order and
 * size here mean nothing. A field that came, went or was renamed is asked for with `has()` before it is read. */
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int s32;
typedef long long s64;

#define SEC(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
#define MOVED __attribute__((preserve_access_index))
#define has(field) __builtin_preserve_field_info(field, 2)
#define NULL ((void *)0)

/* Helpers by their number in the kernel's interface (linux/bpf.h). */
static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*bpf_map_update_elem)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static u64 (*bpf_get_current_pid_tgid)(void) = (void *)14;
static long (*bpf_get_current_comm)(void *to, u32 size) = (void *)16;
static long (*bpf_probe_read_user)(void *to, u32 size, const void *from) = (void *)112;
static long (*bpf_probe_read_kernel)(void *to, u32 size, const void *from) = (void *)113;
static long (*bpf_probe_read_kernel_str)(void *to, u32 size, const void *from) = (void *)115;
static u64 (*bpf_ktime_get_boot_ns)(void) = (void *)125;
static long (*bpf_seq_write)(void *seq, const void *data, u32 size) = (void *)127;
static long (*bpf_ringbuf_output)(void *ring, void *data, u64 size, u64 flags) = (void *)130;
static struct task_struct *(*bpf_get_current_task_btf)(void) = (void *)158;
static long (*bpf_task_pt_regs)(struct task_struct *task) = (void *)175;

/* Maps, as BTF describes them: a number is the length of an array type, a type is a pointer to it. */
#define NUMBER(name, value) int(*name)[value]
#define TYPE(name, type) type *name
enum { HASH = 1, ARRAY = 2, PER_CPU_ARRAY = 6, LRU_HASH = 9, LRU_PER_CPU_HASH = 10, RINGBUF = 27 };
enum { ANY = 0, NOEXIST = 1 };

#define READ(to, from) bpf_probe_read_kernel(&(to), sizeof(to), (const void *)(from))

struct kuid { u32 val; } MOVED;
struct capabilities { u64 val; } MOVED;
struct ns_common { u32 inum; } MOVED;
struct user_namespace { struct ns_common ns; int level; } MOVED;
struct mnt_namespace { struct ns_common ns; } MOVED;
struct uts_namespace { struct ns_common ns; } MOVED;
struct ipc_namespace { struct ns_common ns; } MOVED;
struct pid_namespace { struct ns_common ns; } MOVED;
struct cgroup_namespace { struct ns_common ns; } MOVED;
struct net { struct ns_common ns; } MOVED;

struct nsproxy {
	struct uts_namespace *uts_ns;
	struct ipc_namespace *ipc_ns;
	struct mnt_namespace *mnt_ns;
	struct net *net_ns;
	struct cgroup_namespace *cgroup_ns;
} MOVED;

struct cred {
	struct kuid euid, egid;
	struct capabilities cap_effective, cap_permitted, cap_bset;
	struct user_namespace *user_ns;
} MOVED;

struct upid { int nr; struct pid_namespace *ns; } MOVED;
struct pid { u32 level; struct upid numbers[1]; } MOVED;
struct seccomp { int mode; } MOVED;

struct super_block { unsigned long s_flags; u32 s_dev; unsigned long s_magic; } MOVED;
struct vfsmount { struct dentry *mnt_root; struct super_block *mnt_sb; int mnt_flags; } MOVED;
struct path { struct vfsmount *mnt; struct dentry *dentry; } MOVED;
struct fs_struct { struct path root; } MOVED;

struct kernfs_node { u64 id; const char *name; } MOVED;
struct cgroup_subsys_state { struct cgroup_subsys_state *parent; struct cgroup *cgroup; } MOVED;
struct cgroup { struct cgroup_subsys_state self; struct kernfs_node *kn; int level; } MOVED;
struct css_set { struct cgroup_subsys_state *subsys[1]; struct cgroup *dfl_cgrp; } MOVED;
enum cgroup_subsys_id { memory_cgrp_id = 4 };

struct task_struct {
	u32 flags;
	int pid, tgid, exit_state;
	unsigned long atomic_flags;
	u64 start_boottime;
	struct task_struct *group_leader;
	struct pid *thread_pid;
	const struct cred *real_cred;
	char comm[16];
	struct fs_struct *fs;
	struct mm_struct *mm;
	struct nsproxy *nsproxy;
	struct seccomp seccomp;
	struct css_set *cgroups;
} MOVED;
