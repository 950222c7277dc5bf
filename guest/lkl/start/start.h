/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The start program: pid 1 of the guest. It reads the command line, mounts the
 * file systems, configures the network, and starts the program that is linked
 * with the guest. It then passes signals on to the program, and ends the guest
 * when the program ends.
 *
 * It runs before libc is initialized, and concurrently with the program. So it
 * must not use errno, thread-local storage or malloc(). Of libc it uses only
 * functions that work on memory alone (string.h, inet_pton()).
 *
 * Files call functions of files further down in this order only: start; program,
 * network, mounts, disks; config, source_route, identity; exit; cmdline, console,
 * text. build-sdk checks that there is no cycle.
 */
#ifndef LKL_START_H
#define LKL_START_H

#include <asm/lkl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

/* A system call. Returns its result or a negative error number. Missing arguments are 0. */
#define CALL(...) CALL_(__VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define CALL_(nr, a, b, c, d, e, f, ...) \
	lkl_syscall(nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

#define MAX_DISKS 64
#define MAX_INTERFACES 16
#define MAX_MOUNTS 16
#define MAX_ROUTES 64
#define MAX_WORDS 1024

struct interface {
	const char *name, *ip, *masklen, *ip6, *masklen6, *gateway, *gateway6, *mac, *mtu, *offload;
};

struct route {
	const char *to, *via, *interface;
};

struct mount {
	const char *device, *path, *type, *options;
};

/* The features of a block device that the tender offers; see docs/guest-reference.md. */
struct disk {
	const char *name, *transfer, *flush;
};

/* The configuration: the JSON of --config. A key that is missing is NULL. */
struct config {
	struct disk disks[MAX_DISKS];
	struct interface interfaces[MAX_INTERFACES];
	struct mount mounts[MAX_MOUNTS];
	struct route routes[MAX_ROUTES];
	int n_disks, n_interfaces, n_mounts, n_routes;
	const char *gateway, *gateway6, *sysctl;
	const char *root, *root_options, *hostname, *workdir, *uid, *gid;
	const char *entropy, *stack, *delay, *fsgsbase;
};

/* The guest's command line. Both lists end with NULL. */
struct cmdline {
	char *env[MAX_WORDS], *args[MAX_WORDS];
	int n_env, n_args;
	char *config;		/* JSON, or NULL */
};

/* cmdline.c: splits the line in place. Returns false if it has too many words. */
bool cmdline_split(struct cmdline *c, char *line);

/* config.c: decodes the JSON in place. Returns false, and prints why, if that fails. */
bool config_read(struct config *c, char *json);
/*
 * Returns the number of a key, or fallback if text is NULL. Ends the guest if the
 * text is not a number from 0 to max.
 */
long config_number(const char *key, const char *text, long fallback, long max);

/* These functions print an error and end the guest if they fail. */
void disks_offer(const struct config *c);
void mount_all(const struct config *c);
void network_up(const struct config *c);
/* Returns the process ID of the program. */
long program_start(const struct config *c, struct cmdline *line);

/* identity.c */
void set_hostname(const char *name);
void set_sysctls(const char *list);
void add_entropy(const char *hex);

/* source_route.c: a default route for packets that are sent from one address. */
struct source_route {
	int family;
	const void *address, *gateway;
	int size;		/* of an address, in bytes */
	int interface;		/* index */
	int table;		/* for this route alone: 1 to 252 */
};

/* Returns 0 or a negative error number. */
long source_route_add(const struct source_route *r);

/* exit.c: unmounts the file systems and ends the guest. */
_Noreturn void finish(int status);
/*
 * Registers a mount for finish(), which unmounts in reverse order. A disk is
 * unmounted cleanly, or made read-only if it is busy. path must stay valid.
 */
void unmount_at_exit(const char *path, bool disk);

/* console.c: prints the strings, up to a NULL, as one line. */
void say(const char *first, ...);

/* text.c: a few words that describe an error number, or the number itself. */
const char *error_text(long err);
const char *signal_name(int signal);
/* Returns the value of a hexadecimal digit, or -1. */
int hex_digit(char c);
/* Returns the value of a decimal number, or fallback if text is not one. */
long decimal(const char *text, long fallback);
/* Writes text to an existing file. Returns 0 or a negative error number. */
long write_file(const char *path, const char *text);

#endif
