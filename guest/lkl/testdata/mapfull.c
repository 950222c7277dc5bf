/* SPDX-License-Identifier: MPL-2.0 */
/* mapfull DIRECTORY: stores to a mapped hole of a file while the disk is full. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096

static void report(const char *what, bool ok)
{
	printf("%s: %s\n", what, ok ? "done" : strerror(errno));
}

static void fill(const char *path)
{
	static const char block[PAGE];
	int fd = open(path, O_CREAT | O_WRONLY, 0600);

	while (write(fd, block, sizeof(block)) > 0)
		;
	fsync(fd);
	close(fd);
}

static bool replace(char *map)
{
	return mmap(map, PAGE, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == map;
}

int main(int argc, char **argv)
{
	int file, disk;
	char *map, *buffer = aligned_alloc(PAGE, PAGE);

	if (argc != 2 || chdir(argv[1]) || !buffer)
		return 2;
	file = open("file", O_CREAT | O_RDWR, 0600);
	disk = open("file", O_RDONLY | O_DIRECT);
	if (ftruncate(file, PAGE))
		return 2;
	map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	fill("full");
	strcpy(map, "changed");
	report("full disk: fsync", !fsync(file));
	report("full disk: msync", !msync(map, PAGE, MS_SYNC));
	report("full disk: MAP_FIXED", replace(map));
	printf("memory: %s\n", map);
	unlink("full");
	report("after unlink: fsync", !fsync(file));
	printf("disk: %s\n", pread(disk, buffer, PAGE, 0) == PAGE ? buffer : strerror(errno));
	report("after unlink: MAP_FIXED", replace(map));
	printf("memory: %s\n", map);
	return 0;
}
