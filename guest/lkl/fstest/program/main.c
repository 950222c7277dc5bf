/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Runs the cases in a directory:
 *
 *	fstest [-l] [-u] DIRECTORY [NAME ...]
 *
 * -l lists their names. -u runs them as user 1000, and leaves out the cases that need
 * root. NAME selects cases; a trailing * stands for any suffix.
 * Each case prints its name and its lines, which begin with a space.
 *
 *	fstest random SECONDS SEED DIRECTORY
 *
 * changes a file at random and compares it with a model: see random.c.
 */
#define _GNU_SOURCE
#include "fstest.h"

#include <ftw.h>

static const struct fs_case *const case_lists[] = {
	mode_cases, permission_cases, link_cases, rename_cases, remove_cases,
	open_cases, data_cases, space_cases, copy_cases, map_cases, lock_cases,
	time_cases, kind_cases, directory_cases, xattr_cases, name_cases,
};

#define LISTS (sizeof(case_lists) / sizeof(case_lists[0]))

int run_random(int argc, char **argv);

static char scratch[512];

static int remove_file(const char *path, const struct stat *st, int type, struct FTW *f)
{
	(void)st;
	if (type == FTW_DNR)
		chmod(path, 0700);
	if (f->level > 0)
		remove(path);
	return 0;
}

static void clean_up(const char *directory)
{
	for (int fd = 3; fd < 1024; fd++)
		close(fd);
	become_first();
	umask(022);
	nftw(directory, remove_file, 300, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
	if (chdir(scratch) == -1 || rmdir(directory) == -1)
		printf("  cannot remove %s: %s\n", directory, strerror(errno));
}

static void run_case(const struct fs_case *c)
{
	static char directory[600];

	printf("%s\n", c->name);
	snprintf(directory, sizeof(directory), "%s/%s", scratch, c->name);
	if (mkdir(directory, 0777) == -1 || chmod(directory, 0777) == -1 || chdir(directory) == -1) {
		printf("  cannot make a directory: %s\n", strerror(errno));
		return;
	}
	c->run();
	clean_up(directory);
	fflush(stdout);
}

static bool is_selected(const struct fs_case *c, char **names)
{
	if (!*names)
		return true;
	for (; *names; names++) {
		size_t n = strlen(*names);

		if (n && (*names)[n - 1] == '*' ? !strncmp(c->name, *names, n - 1) : !strcmp(c->name, *names))
			return true;
	}
	return false;
}

static void run_all(bool list, bool user, char **names)
{
	for (size_t i = 0; i < LISTS; i++)
		for (const struct fs_case *c = case_lists[i]; c->name; c++) {
			if ((user && c->root) || !is_selected(c, names))
				continue;
			if (list)
				printf("%s%s\n", c->name, c->root ? " (root)" : "");
			else
				run_case(c);
		}
}

int main(int argc, char **argv)
{
	bool list = false, user = false;
	int option;

	if (argc > 1 && !strcmp(argv[1], "random"))
		return run_random(argc - 1, argv + 1);
	while ((option = getopt(argc, argv, "+lu")) != -1) {
		list |= option == 'l';
		user |= option == 'u';
		if (option == '?')
			return 2;
	}
	if (list) {
		run_all(true, user, argv + optind);
		return 0;
	}
	if (optind == argc)
		return fprintf(stderr, "usage: fstest [-l] [-u] DIRECTORY [NAME ...]\n"), 2;
	if (chdir(argv[optind]) == -1 || !getcwd(scratch, sizeof(scratch)))
		return perror(argv[optind]), 2;
	if (user && !start_as_user())
		return perror("become another user"), 2;
	umask(022);
	for (int fd = 3; fd < 1024; fd++)
		close(fd);
	run_all(false, user, argv + optind + 1);
	puts("done");
	return 0;
}
