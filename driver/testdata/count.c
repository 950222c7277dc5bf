/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Counts its starts in a file of a disk, argument 1, and waits for a signal. With
 * argument 2, it then writes this number of MiB to another file, and reports the
 * number of bytes for which fsync() returned 0.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static char block[1 << 20];

static void fill(const char *dir, int mib)
{
	char path[256];
	int fd, n;

	snprintf(path, sizeof(path), "%s/fill", dir);
	fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0600);
	memset(block, 'x', sizeof(block));
	for (n = 0; n < mib; n++)
		if (write(fd, block, sizeof(block)) != sizeof(block) || fsync(fd) < 0)
			break;
	printf("synced=%d errno=%s\n", n, n < mib ? strerror(errno) : "none");
}

int main(int argc, char **argv)
{
	char path[256], text[32] = "";
	struct statvfs fs;
	struct stat st;
	int fd, count;

	setvbuf(stdout, NULL, _IOLBF, 0);
	snprintf(path, sizeof(path), "%s/count", argv[1]);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	if (fd < 0) {
		printf("open: %s\n", strerror(errno));
		fd = open(path, O_RDONLY);
	}
	read(fd, text, sizeof(text) - 1);
	count = atoi(text) + 1;
	snprintf(text, sizeof(text), "%d", count);
	if (pwrite(fd, text, strlen(text), 0) < 0 || fsync(fd) < 0)
		printf("write: %s\n", strerror(errno));
	if (statvfs(argv[1], &fs) == 0)
		printf("mib=%ld\n", (long)(fs.f_blocks * fs.f_frsize >> 20));
	if (stat(argv[1], &st) == 0)
		printf("owner=%d mode=%o\n", st.st_uid, st.st_mode & 07777);
	printf("count=%d\n", count);
	if (argc > 2)
		fill(argv[1], atoi(argv[2]));
	puts("ready");
	pause();
	return 0;
}
