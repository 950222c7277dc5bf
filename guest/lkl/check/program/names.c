/* SPDX-License-Identifier: MPL-2.0 */
/* Names of files, and directories. */
#define _GNU_SOURCE
#include "check.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static void hard_links(void)
{
	struct stat a, b;

	put_file("one", "text");
	OK(link("one", "two"));
	OK(stat("one", &a));
	OK(stat("two", &b));
	TRUE(a.st_ino == b.st_ino);
	IS(a.st_nlink, 2);
	FAILS(link("one", "two"), EEXIST);
	FAILS(link("none", "three"), ENOENT);
	FAILS(link(".", "directory"), EPERM);
	OK(unlink("one"));
	OK(stat("two", &b));
	IS(b.st_nlink, 1);
	TEXT(get_file("two"), "text");
	OK(symlink("two", "soft"));
	OK(linkat(AT_FDCWD, "soft", AT_FDCWD, "hard", 0));
	OK(lstat("hard", &b));
	TRUE(S_ISLNK(b.st_mode));
}

static void symbolic_links(void)
{
	char text[16] = "", *real;
	struct stat st;

	OK(symlink("a/b", "link"));
	GIVES(readlink("link", text, sizeof(text)), 3);
	TEXT(text, "a/b");
	GIVES(readlink("link", text, 1), 1);
	FAILS(readlink(".", text, sizeof(text)), EINVAL);
	FAILS(readlink("none", text, sizeof(text)), ENOENT);
	OK(lstat("link", &st));
	TRUE(S_ISLNK(st.st_mode));
	IS(st.st_size, 3);
	FAILS(stat("link", &st), ENOENT);
	FAILS(symlink("x", "link"), EEXIST);
	FAILS(symlink("", "empty"), ENOENT);
	OK(symlink("loop", "loop"));
	FAILS(open("loop", O_RDONLY), ELOOP);
	OK(mkdir("a", 0777));
	put_file("a/b", "found");
	TEXT(get_file("link"), "found");
	real = SOME(realpath("link", NULL));
	TEXT(real + strlen(real) - 4, "/a/b");
	free(real);
}

/* A chain of 40 links resolves, one of 41 does not. */
static void chain_of_links(void)
{
	char name[16], target[16] = "file";

	put_file("file", "text");
	for (int i = 1; i <= 41; i++) {
		snprintf(name, sizeof(name), "l%d", i);
		OK(symlink(target, name));
		strcpy(target, name);
	}
	TEXT(get_file("l40"), "text");
	FAILS(open("l41", O_RDONLY), ELOOP);
}

/* A direct call of renameat2. Flag 1 is RENAME_NOREPLACE, 2 is RENAME_EXCHANGE. */
static long rename_with_flags(const char *from, const char *to, unsigned flags)
{
	return syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, flags);
}

static void renames(void)
{
	struct stat st;

	put_file("a", "a");
	put_file("b", "b");
	OK(rename("a", "b"));
	TEXT(get_file("b"), "a");
	FAILS(rename("a", "c"), ENOENT);
	OK(rename("b", "b"));
	OK(mkdir("d", 0777));
	OK(mkdir("e", 0777));
	FAILS(rename("b", "d"), EISDIR);
	FAILS(rename("d", "b"), ENOTDIR);
	OK(rename("d", "e"));
	OK(rename("b", "e/b"));
	OK(mkdir("f", 0777));
	FAILS(rename("f", "e"), ENOTEMPTY);
	FAILS(rename("e", "e/below"), EINVAL);
	put_file("x", "x");
	put_file("y", "y");
	OK(link("x", "same"));
	OK(rename("x", "same"));
	OK(stat("x", &st));
	FAILS(rename_with_flags("x", "y", 1), EEXIST);
	OK(rename_with_flags("x", "y", 2));
	TEXT(get_file("x"), "y");
}

static void removes(void)
{
	put_file("file", "");
	OK(mkdir("d", 0777));
	FAILS(unlink("d"), EISDIR);
	FAILS(rmdir("file"), ENOTDIR);
	FAILS(rmdir("none"), ENOENT);
	put_file("d/file", "");
	FAILS(rmdir("d"), ENOTEMPTY);
	FAILS(unlinkat(AT_FDCWD, "d", AT_REMOVEDIR), ENOTEMPTY);
	OK(unlink("d/file"));
	FAILS(rmdir("d/."), EINVAL);
	OK(remove("d"));
	OK(remove("file"));
	FAILS(unlink("file"), ENOENT);
	FAILS(rmdir("/"), EBUSY);
}

static void long_names(void)
{
	char name[257], path[PATH_MAX + 10];

	memset(name, 'n', 255);
	name[255] = 0;
	OK(close(OK(open(name, O_CREAT | O_WRONLY, 0666))));
	OK(access(name, F_OK));
	name[255] = 'n';
	name[256] = 0;
	FAILS(open(name, O_CREAT | O_WRONLY, 0666), ENAMETOOLONG);
	FAILS(mkdir(name, 0777), ENAMETOOLONG);
	memset(path, '/', sizeof(path));
	strcpy(path + PATH_MAX - 2, ".");
	OK(access(path, F_OK));
	strcpy(path + PATH_MAX - 1, ".");
	FAILS(access(path, F_OK), ENAMETOOLONG);
	OK(mkdir("\xff\x01 \n*", 0777));
	OK(rmdir("\xff\x01 \n*"));
}

static void relative(void)
{
	int d;

	OK(mkdir("d", 0777));
	d = OK(open("d", O_RDONLY | O_DIRECTORY));
	OK(close(OK(openat(d, "file", O_CREAT | O_WRONLY, 0666))));
	OK(access("d/file", F_OK));
	OK(mkdirat(d, "sub", 0777));
	OK(faccessat(d, "../d/sub/./../file", F_OK, 0));
	OK(symlinkat("file", d, "link"));
	OK(renameat(d, "file", AT_FDCWD, "moved"));
	OK(unlinkat(d, "sub", AT_REMOVEDIR));
	OK(unlinkat(d, "link", 0));
	FAILS(openat(d, "none", O_RDONLY), ENOENT);
	FAILS(openat(9999, "file", O_RDONLY), EBADF);
	FAILS(openat(OK(open("moved", O_RDONLY)), "file", O_RDONLY), ENOTDIR);
	OK(rmdir("d"));
	FAILS(openat(d, "file", O_CREAT | O_WRONLY, 0666), ENOENT);
}

const struct check name_checks[] = {
	{ "name_hard_links", hard_links },
	{ "name_symbolic_links", symbolic_links },
	{ "name_chain_of_links", chain_of_links },
	{ "name_renames", renames },
	{ "name_removes", removes },
	{ "name_long", long_names },
	{ "name_relative", relative },
	{ 0 }
};

static void makes(void)
{
	struct stat st;

	OK(mkdir("d", 0777));
	OK(stat("d", &st));
	IS(st.st_mode, S_IFDIR | 0755);
	IS(st.st_nlink >= 2 || st.st_nlink == 1, true);
	FAILS(mkdir("d", 0777), EEXIST);
	FAILS(mkdir("none/d", 0777), ENOENT);
	OK(mkdir("d/e", 0777));
	OK(mkdir("trailing/", 0777));
	OK(access("d/e/../../trailing/.", F_OK));
}

static void changes(void)
{
	char before[512], here[512];
	int d;

	SOME(getcwd(before, sizeof(before)));
	OK(mkdir("d", 0777));
	OK(chdir("d"));
	SOME(getcwd(here, sizeof(here)));
	TEXT(here + strlen(before), "/d");
	TRUE(getcwd(here, 2) == NULL);
	IS(errno, ERANGE);
	OK(chdir(".."));
	d = OK(open("d", O_RDONLY));
	OK(fchdir(d));
	SOME(getcwd(here, sizeof(here)));
	TEXT(here + strlen(before), "/d");
	OK(rmdir("../d"));
	TRUE(getcwd(here, sizeof(here)) == NULL);
	IS(errno, ENOENT);
	FAILS(chdir("none"), ENOENT);
	OK(chdir(before));
	put_file("file", "");
	FAILS(chdir("file"), ENOTDIR);
}

/*
 * Returns the sum of the numbers in the names of a directory's files, or -1 if
 * a name appears twice.
 */
static long sum_of_names(DIR *d)
{
	static bool seen[2000];
	struct dirent *e;
	long sum = 0;

	memset(seen, 0, sizeof(seen));
	while ((e = readdir(d))) {
		long n = atol(e->d_name);

		if (e->d_name[0] == '.')
			continue;
		if (n < 0 || n >= 2000 || seen[n] || e->d_type != DT_REG)
			return -1;
		seen[n] = true;
		sum += n;
	}
	return sum;
}

static void lists(void)
{
	char name[64];
	DIR *d;

	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "%d-with-a-longer-name", i);
		OK(close(OK(open(name, O_CREAT | O_WRONLY, 0666))));
	}
	d = SOME(opendir("."));
	IS(sum_of_names(d), 499500);
	rewinddir(d);
	IS(sum_of_names(d), 499500);
	for (int i = 0; i < 1000; i += 2) {
		snprintf(name, sizeof(name), "%d-with-a-longer-name", i);
		OK(unlink(name));
	}
	rewinddir(d);
	IS(sum_of_names(d), 250000);
	OK(closedir(d));
	TRUE(opendir("none") == NULL);
	IS(errno, ENOENT);
}

static void places(void)
{
	struct dirent *e;
	char name[64];
	long place = 0;
	DIR *d;

	for (int i = 0; i < 50; i++) {
		snprintf(name, sizeof(name), "file%d", i);
		put_file(name, "");
	}
	d = SOME(opendir("."));
	for (int i = 0; i < 25; i++)
		SOME(readdir(d));
	place = telldir(d);
	e = SOME(readdir(d));
	strcpy(name, e->d_name);
	while (readdir(d))
		;
	seekdir(d, place);
	e = SOME(readdir(d));
	TEXT(e->d_name, name);
	OK(closedir(d));
}

static int depth, files, directories;

static int count_entry(const char *path, const struct stat *st, int type, struct FTW *f)
{
	(void)path, (void)st;
	depth = f->level > depth ? f->level : depth;
	files += type == FTW_F;
	directories += type == FTW_D;
	return 0;
}

static void walks(void)
{
	char path[256] = "d";
	glob_t found;

	for (int i = 0; i < 20; i++) {
		OK(mkdir(path, 0777));
		strcat(path, "/f.txt");
		put_file(path, "");
		strcpy(path + strlen(path) - 5, "d");
	}
	depth = files = directories = 0;
	OK(nftw(".", count_entry, 64, FTW_PHYS));
	IS(depth, 21);
	IS(files, 20);
	IS(directories, 21);
	IS(glob("d/*/*.pdf", 0, NULL, &found), GLOB_NOMATCH);
	IS(glob("d/?x", GLOB_MARK, NULL, &found), GLOB_NOMATCH);
	IS(glob("d/[a-f]*.t?t", 0, NULL, &found), 0);
	IS(found.gl_pathc, 1);
	globfree(&found);
}

static int by_name_backwards(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*b)->d_name, (*a)->d_name);
}

static int not_hidden(const struct dirent *e)
{
	return e->d_name[0] != '.';
}

static void sorts(void)
{
	struct dirent **list;

	put_file("b", "");
	put_file("c", "");
	put_file("a", "");
	IS(scandir(".", &list, not_hidden, by_name_backwards), 3);
	TEXT(list[0]->d_name, "c");
	TEXT(list[2]->d_name, "a");
	for (int i = 0; i < 3; i++)
		free(list[i]);
	free(list);
}

const struct check directory_checks[] = {
	{ "directory_makes", makes },
	{ "directory_changes", changes },
	{ "directory_lists", lists },
	{ "directory_places", places },
	{ "directory_walks", walks },
	{ "directory_sorts", sorts },
	{ 0 }
};
