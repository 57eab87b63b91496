/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Connections that are begun and sockets that listen, by the kernel's own addresses. UDP has no states: a socket that is connected,
 * or that sends to an address given by the caller, has a peer, and one whose process chose its port listens. */
#pragma once
#include "../signal.h"

BEHAVIOR(CONNECTED);
BEHAVIOR(LISTENED);

#define SYN_SENT 2
#define LISTEN 10
#define IPV4 2
#define IPV6 10
#define UDP 17
/* SOCK_BINDPORT_LOCK of net/sock.h. */
#define PORT_CHOSEN 8

struct endpoint { u8 address[16]; u16 family, port; u32 spare; };

INLINE void endpoint(const struct sock *sock, int peer, struct endpoint *end)
{
	const struct sock_common *common = &sock->__sk_common;
	u16 port = 0;
	READ(end->family, &common->skc_family);
	if (peer) {
		READ(port, &common->skc_dport);
		end->port = __builtin_bswap16(port);
	} else {
		READ(end->port, &common->skc_num);
	}
	if (end->family == IPV4)
		bpf_probe_read_kernel(end->address, 4, peer ? (void *)&common->skc_daddr : (void *)&common->skc_rcv_saddr);
	else
		bpf_probe_read_kernel(end->address, 16, peer ? (void *)&common->skc_v6_daddr : (void *)&common->skc_v6_rcv_saddr);
}

INLINE int send_endpoint(struct task_struct *task, u64 cgroup, u32 behavior, u32 protocol, struct endpoint *end)
{
	struct fold_key key = { .cgroup = cgroup, .subject = hash_of(end, sizeof(*end)), .behavior = behavior, .detail = protocol };
	struct event *event = begin_settled_event(task, &key);
	if (!event)
		return 0;
	event->family = end->family;
	event->port = end->port;
	__builtin_memcpy(event->address, end->address, 16);
	send(event);
	return 0;
}

SEC("tp_btf/inet_sock_set_state")
int socket_state(u64 *context)
{
	const struct sock *sock = (void *)context[0];
	int state = context[2];
	struct endpoint end = {};
	if (state != SYN_SENT && state != LISTEN)
		return 0;
	struct task_struct *task = bpf_get_current_task_btf();
	u64 cgroup = observed_cgroup(task);
	if (!cgroup)
		return 0;
	endpoint(sock, state == SYN_SENT, &end);
	return send_endpoint(task, cgroup, state == SYN_SENT ? CONNECTED : LISTENED, 0, &end);
}

INLINE struct sock *udp_at(struct task_struct *task)
{
	struct sock *sock = sock_at(task, first_argument(task));
	u16 family = 0, protocol = 0;
	READ(family, &sock->__sk_common.skc_family);
	READ(protocol, &sock->sk_protocol);
	return (family == IPV4 || family == IPV6) && protocol == UDP ? sock : NULL;
}

SEC("tracepoint/syscalls/sys_exit_connect")
int socket_connected(struct returned *call)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u64 cgroup = call->result == 0 ? observed_cgroup(task) : 0;
	struct sock *sock = cgroup ? udp_at(task) : NULL;
	struct endpoint end = {};
	if (!sock)
		return 0;
	endpoint(sock, 1, &end);
	/* Without a port the call dissolved the association (AF_UNSPEC). */
	return end.port ? send_endpoint(task, cgroup, CONNECTED, UDP, &end) : 0;
}

/* Whether the process chose the port of a socket: a port that the kernel chose is a client's. A bit field on older kernels. */
INLINE int port_chosen(struct sock *sock)
{
	u64 locks = 0;
	bpf_probe_read_kernel(&locks, __builtin_preserve_field_info(sock->sk_userlocks, 1),
			      (void *)sock + __builtin_preserve_field_info(sock->sk_userlocks, 0));
	locks = locks << __builtin_preserve_field_info(sock->sk_userlocks, 4) >> __builtin_preserve_field_info(sock->sk_userlocks, 5);
	return locks & PORT_CHOSEN;
}

SEC("tracepoint/syscalls/sys_exit_bind")
int socket_bound(struct returned *call)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u64 cgroup = call->result == 0 ? observed_cgroup(task) : 0;
	struct sock *sock = cgroup ? udp_at(task) : NULL;
	struct endpoint end = {};
	if (!sock || !port_chosen(sock))
		return 0;
	endpoint(sock, 0, &end);
	return send_endpoint(task, cgroup, LISTENED, UDP, &end);
}

/* The beginning of `struct sockaddr_in` and `sockaddr_in6`; the address of the latter follows it. */
struct name { u16 family, port; u8 four[4]; };

/* The destination of a datagram, from the memory of the process: no kernel object keeps it. */
INLINE int sent_to(struct returned *call, u64 to)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u64 cgroup = call->result >= 0 && to ? observed_cgroup(task) : 0;
	struct name name = {};
	struct endpoint end = {};
	if (!cgroup || !udp_at(task) || bpf_probe_read_user(&name, 8, (void *)to))
		return 0;
	end.family = name.family;
	end.port = __builtin_bswap16(name.port);
	if (name.family == IPV4)
		__builtin_memcpy(end.address, name.four, 4);
	else if (name.family != IPV6 || bpf_probe_read_user(end.address, 16, (void *)to + 8))
		return 0;
	return send_endpoint(task, cgroup, CONNECTED, UDP, &end);
}

SEC("tracepoint/syscalls/sys_exit_sendto")
int socket_sent(struct returned *call)
{
	return sent_to(call, fifth_argument(bpf_get_current_task_btf()));
}

/* `struct msghdr` begins with the pointer to the destination; of the messages of one sendmmsg the first one is read. */
SEC("tracepoint/syscalls/sys_exit_sendmsg")
int socket_messaged(struct returned *call)
{
	u64 to = 0;
	bpf_probe_read_user(&to, sizeof(to), (void *)second_argument(bpf_get_current_task_btf()));
	return sent_to(call, to);
}
