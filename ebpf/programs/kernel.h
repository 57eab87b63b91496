/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* The kernel structures that the programs use, with only the fields that they read. Every structure is marked
 * `preserve_access_index`: the loader relocates each access to where the running kernel has the field (CO-RE), so order and size
 * here mean nothing. A field that not every kernel has is checked with `has()` before it is read. */
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
static long (*bpf_map_delete_elem)(void *map, const void *key) = (void *)3;
static long (*bpf_probe_read_user)(void *to, u32 size, const void *from) = (void *)112;
static long (*bpf_probe_read_user_str)(void *to, u32 size, const void *from) = (void *)114;
static long (*bpf_probe_read_kernel)(void *to, u32 size, const void *from) = (void *)113;
static long (*bpf_probe_read_kernel_str)(void *to, u32 size, const void *from) = (void *)115;
static u64 (*bpf_ktime_get_boot_ns)(void) = (void *)125;
static long (*bpf_seq_write)(void *seq, const void *data, u32 size) = (void *)127;
static void *(*bpf_ringbuf_reserve)(void *ring, u64 size, u64 flags) = (void *)131;
static void (*bpf_ringbuf_submit)(void *data, u64 flags) = (void *)132;
static struct task_struct *(*bpf_get_current_task_btf)(void) = (void *)158;
static struct pt_regs *(*bpf_task_pt_regs)(struct task_struct *task) = (void *)175;

/* Map definitions in BTF form: a number is the length of an array type, a type is a pointer to it. */
#define NUMBER(name, value) int(*name)[value]
#define TYPE(name, type) type *name
enum { HASH = 1, ARRAY = 2, PER_CPU_ARRAY = 6, LRU_HASH = 9, LRU_PER_CPU_HASH = 10, RINGBUF = 27 };
enum { ANY = 0, NOEXIST = 1 };

/* A field of a copy of an object's first bytes. */
#define OFFSET(object, field) __builtin_preserve_field_info(((struct object *)0)->field, 0)
#define COPIED(copy, object, field) (*(typeof(((struct object *)0)->field) *)((copy) + OFFSET(object, field)))

#define READ(to, from) bpf_probe_read_kernel(&(to), sizeof(to), (const void *)(from))

struct kuid { u32 val; } MOVED;
struct capabilities { u64 val; } MOVED;
struct ns_common { u32 inum; } MOVED;
struct user_namespace { struct ns_common ns; int level; } MOVED;
struct mnt_namespace { struct ns_common ns; struct mount *root; } MOVED;
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
	struct kuid uid, suid, euid, egid, fsuid;
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
struct mount { struct mount *mnt_parent; struct dentry *mnt_mountpoint; struct vfsmount mnt; } MOVED;
struct qstr { u32 len; const unsigned char *name; } MOVED;
struct dentry { struct dentry *d_parent; struct qstr d_name; struct inode *d_inode; struct super_block *d_sb; } MOVED;
struct inode { u16 i_mode; struct super_block *i_sb; unsigned long i_ino; const unsigned int i_nlink; } MOVED;
struct file { u32 f_mode; struct inode *f_inode; struct path f_path; void *private_data; } MOVED;
struct fdtable { u32 max_fds; struct file **fd; } MOVED;
struct files_struct { struct fdtable *fdt; } MOVED;
struct mm_struct { struct file *exe_file; unsigned long arg_start, arg_end; } MOVED;
struct linux_binprm { struct file *file; char buf[256]; } MOVED;
struct module { char name[56]; } MOVED;

struct in6_addr { u8 bytes[16]; };
struct sock_common {
	u32 skc_daddr, skc_rcv_saddr;
	u16 skc_dport, skc_num, skc_family;
	struct in6_addr skc_v6_daddr, skc_v6_rcv_saddr;
} MOVED;
struct sock { struct sock_common __sk_common; u16 sk_protocol; u8 sk_userlocks; } MOVED;
struct socket { struct sock *sk; } MOVED;
struct sockaddr_un { char sun_path[108]; } MOVED;
struct unix_address { int len; struct sockaddr_un name[1]; } MOVED;
struct unix_sock { struct unix_address *addr; struct sock *peer; } MOVED;

/* Arguments of a system call: the registers of the caller, which still hold them when the call returns. */
#if defined(ARCH_x86_64)
struct pt_regs { unsigned long di, si, dx, r8; } MOVED;
#define FIRST(caller) (caller)->di
#define SECOND(caller) (caller)->si
#define FIFTH(caller) (caller)->r8
#elif defined(ARCH_aarch64)
struct pt_regs { u64 regs[31]; u64 orig_x0; } MOVED;
#define FIRST(caller) (caller)->orig_x0
#define SECOND(caller) (caller)->regs[1]
#define FIFTH(caller) (caller)->regs[4]
#else
#error "the registers of this machine's system calls are not known"
#endif

struct kernfs_node { u64 id; const char *name; } MOVED;
struct cgroup_subsys_state { struct cgroup_subsys_state *parent; struct cgroup *cgroup; u64 serial_nr; } MOVED;
struct cgroup { struct cgroup_subsys_state self; struct kernfs_node *kn; int level; struct cgroup *ancestors[1]; } MOVED;
struct css_set { struct cgroup_subsys_state *subsys[1]; struct cgroup *dfl_cgrp; } MOVED;
enum cgroup_subsys_id { memory_cgrp_id = 4 };

struct task_struct {
	u32 flags;
	int pid, tgid, exit_state;
	unsigned long atomic_flags;
	u64 start_boottime;
	struct task_struct *group_leader, *real_parent;
	struct pid *thread_pid;
	const struct cred *real_cred;
	char comm[16];
	struct fs_struct *fs;
	struct mm_struct *mm;
	struct files_struct *files;
	struct nsproxy *nsproxy;
	struct seccomp seccomp;
	struct css_set *cgroups;
} MOVED;
