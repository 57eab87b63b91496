/* Calls that no program of the lab's image makes: ptrace and bpf, permitted or refused, an unshare that creates no namespace,
 * and datagram sockets. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <sched.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A request that ptrace and a command that bpf does not have. */
#define INVALID 9999

/* Connects, sends or binds on loopback. The kernel chooses a port for 0. */
static int datagram(const char *behavior, int port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int own = socket(AF_INET, SOCK_DGRAM, 0);
	if (!strcmp(behavior, "udp-connect"))
		return connect(own, (void *)&to, sizeof(to)) != 0;
	if (!strcmp(behavior, "udp-send"))
		return sendto(own, behavior, 1, 0, (void *)&to, sizeof(to)) != 1;
	return bind(own, (void *)&to, sizeof(to)) != 0;
}

int main(int count, char **arguments)
{
	union bpf_attr map = { .map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1 };
	const char *behavior = count > 1 ? arguments[1] : "";
	if (!strcmp(behavior, "trace"))
		return syscall(SYS_ptrace, PTRACE_TRACEME, 0, 0, 0) != 0;
	if (!strcmp(behavior, "trace-refused"))
		return syscall(SYS_ptrace, INVALID, 0, 0, 0) == 0;
	if (!strcmp(behavior, "map"))
		return syscall(SYS_bpf, BPF_MAP_CREATE, &map, sizeof(map)) < 0;
	if (!strcmp(behavior, "map-refused"))
		return syscall(SYS_bpf, INVALID, &map, sizeof(map)) >= 0;
	if (!strcmp(behavior, "unshare-files"))
		return unshare(CLONE_FILES) != 0;
	if (!strncmp(behavior, "udp-", 4))
		return datagram(behavior, strcmp(behavior, "udp-any") ? 5300 : 0);
	return 1;
}
