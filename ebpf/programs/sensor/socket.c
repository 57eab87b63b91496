/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* TCP connections begun and sockets that listen, by the kernel's own addresses; and the runtime's sockets. */

#define SYN_SENT 2
#define LISTEN 10
#define IPV4 2
#define IPV6 10

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

SEC("tp_btf/inet_sock_set_state")
int socket_state(u64 *context)
{
	const struct sock *sock = (void *)context[0];
	int state = context[2];
	struct endpoint end = {};
	if (state != SYN_SENT && state != LISTEN)
		return 0;
	struct task_struct *task = bpf_get_current_task_btf();
	u64 cgroup = watched(task);
	if (!cgroup)
		return 0;
	endpoint(sock, state == SYN_SENT, &end);
	struct fold_key key = { .cgroup = cgroup, .subject = hash_of(&end, sizeof(end)), .act = state == SYN_SENT ? CONNECTED : LISTENED };
	struct event *event = sight(task, &key);
	if (!event)
		return 0;
	event->family = end.family;
	event->port = end.port;
	__builtin_memcpy(event->address, end.address, 16);
	send(event);
	return 0;
}
