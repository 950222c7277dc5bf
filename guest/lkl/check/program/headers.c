/* SPDX-License-Identifier: MPL-2.0 */
/* Headers that ports expect, and that musl lacks. */
#define _GNU_SOURCE
#include "check.h"

#include <errno.h>
#include <error.h>
#include <fcntl.h>
#include <sys/cdefs.h>
#include <sys/queue.h>

__BEGIN_DECLS
struct item {
	int value;
	TAILQ_ENTRY(item) others;
	LIST_ENTRY(item) listed;
};
__END_DECLS

static void queues(void)
{
	TAILQ_HEAD(tail, item) tail = TAILQ_HEAD_INITIALIZER(tail);
	LIST_HEAD(list, item) list = LIST_HEAD_INITIALIZER(list);
	struct item items[3] = { { .value = 1 }, { .value = 2 }, { .value = 3 } }, *i;
	int sum = 0;

	for (int n = 0; n < 3; n++) {
		TAILQ_INSERT_HEAD(&tail, &items[n], others);
		LIST_INSERT_HEAD(&list, &items[n], listed);
	}
	TAILQ_REMOVE(&tail, &items[1], others);
	TAILQ_FOREACH(i, &tail, others)
		sum = 10 * sum + i->value;
	IS(sum, 31);
	IS(LIST_FIRST(&list)->value, 3);
}

static int names;

static void count_name(void)
{
	names++;
}

static void errors(void)
{
	int kept = OK(dup(2)), file = OK(open("errors", O_CREAT | O_RDWR, 0600));
	unsigned int before = error_message_count;

	error_print_progname = count_name;
	error_one_per_line = 1;
	OK(dup2(file, 2));
	error(0, ENOENT, "first %d", 1);
	error_at_line(0, 0, "name", 7, "second");
	error_at_line(0, 0, "name", 7, "not printed");
	OK(dup2(kept, 2));
	error_print_progname = NULL;
	error_one_per_line = 0;
	IS(names, 2);
	IS(error_message_count, before + 2);
	TEXT(get_file("errors"), "first 1: No such file or directory\nname:7: second\n");
}

const struct check header_checks[] = {
	{ "header_queues", queues },
	{ "header_errors", errors },
	{ 0 }
};
