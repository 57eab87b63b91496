/* What no small program of the lab's image does: a hold on another process and a use of bpf, granted or refused; an unshare
 * that makes no namespace. */
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

/* No such request, no such command. */
#define NONE 9999

/* On loopback: to be connected there, to send there, or to be there. A port of 0 is the kernel's to choose. */
static int datagram(const char *act, int port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int own = socket(AF_INET, SOCK_DGRAM, 0);
	if (!strcmp(act, "udp-connect"))
		return connect(own, (void *)&to, sizeof(to)) != 0;
	if (!strcmp(act, "udp-send"))
		return sendto(own, act, 1, 0, (void *)&to, sizeof(to)) != 1;
	return bind(own, (void *)&to, sizeof(to)) != 0;
}

int main(int count, char **words)
{
	union bpf_attr map = { .map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1 };
	const char *act = count > 1 ? words[1] : "";
	if (!strcmp(act, "trace"))
		return syscall(SYS_ptrace, PTRACE_TRACEME, 0, 0, 0) != 0;
	if (!strcmp(act, "trace-refused"))
		return syscall(SYS_ptrace, NONE, 0, 0, 0) == 0;
	if (!strcmp(act, "map"))
		return syscall(SYS_bpf, BPF_MAP_CREATE, &map, sizeof(map)) < 0;
	if (!strcmp(act, "map-refused"))
		return syscall(SYS_bpf, NONE, &map, sizeof(map)) >= 0;
	if (!strcmp(act, "unshare-files"))
		return unshare(CLONE_FILES) != 0;
	if (!strncmp(act, "udp-", 4))
		return datagram(act, strcmp(act, "udp-any") ? 5300 : 0);
	return 1;
}
