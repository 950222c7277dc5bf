/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Prints its environment, writes and syncs a file, and then prints each signal. SIGTERM ends it with status 7. After
 * SIGINT it handles no more signals.
 */
#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	char host[65] = "", directory[256] = "", seed[8] = "", cache[32] = "", ttl[8] = "";
	sigset_t all;
	glob_t disks;
	int got, fd;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	gethostname(host, sizeof(host));
	getcwd(directory, sizeof(directory));
	printf("host=%s uid=%d gid=%d cwd=%s alloc=%s\n", host, getuid(), getgid(), directory, getenv("NOMAD_ALLOC_ID"));
	for (int i = 1; i < argc; i++)
		printf("arg%d=[%s]\n", i, argv[i]);
	fd = open("/dev/urandom", O_RDONLY);
	if (fd >= 0 && read(fd, seed, sizeof(seed)) == sizeof(seed))
		printf("random=%lx\n", *(long *)seed);
	fd = glob("/sys/block/*/queue/write_cache", 0, NULL, &disks) == 0 ? open(disks.gl_pathv[0], O_RDONLY) : -1;
	if (fd >= 0 && read(fd, cache, sizeof(cache) - 1) > 0)
		printf("disk=%s", cache);
	fd = open("written", O_CREAT | O_WRONLY, 0644);
	if (fd < 0 || write(fd, "kept\n", 5) != 5 || fsync(fd) < 0)
		perror("written");
	fd = open("/proc/sys/net/ipv4/ip_default_ttl", O_RDONLY);
	if (fd >= 0 && (got = read(fd, ttl, sizeof(ttl) - 1)) > 0)
		printf("ttl=%s", ttl);
	printf("ready\n");
	fflush(stdout);
	while (sigwait(&all, &got) == 0) {
		printf("signal=%d\n", got);
		fflush(stdout);
		if (got == SIGTERM)
			return 7;
		while (got == SIGINT)
			sleep(1);
	}
	return 1;
}
