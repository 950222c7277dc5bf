/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The start program: pid 1 of the guest. It reads the host's words, mounts, configures the network, starts the program
 * that is linked with the guest, passes signals on to it, and ends the guest when it ends.
 *
 * It runs before libc is set up and beside the program: no errno, no thread-local storage, no malloc; of libc only what
 * works on memory alone (string.h, inet_pton).
 */
#ifndef LKL_START_H
#define LKL_START_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

long lkl_syscall(long nr, long a1, long a2, long a3, long a4, long a5, long a6);

/* A system call: its result, or a negative error number. Arguments that are missing are 0. */
#define CALL(...) CALL_(__VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define CALL_(nr, a, b, c, d, e, f, ...) \
	lkl_syscall(nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

/* Exit statuses of a guest that are not its program's; docs/guests.md has the list. */
enum {
	EXIT_WORDS = 121,	/* the command line or the configuration cannot be used */
	EXIT_ROOT = 122,	/* the root file system cannot be mounted */
	EXIT_NETWORK = 123,	/* a network interface cannot be configured, or is gone */
	EXIT_START = 124	/* something else that the program needs failed */
};

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

/* What the tender offers for a block device; see docs/guests.md. */
struct disk {
	const char *name, *transfer, *flush;
};

/* What --config says; null where it says nothing. */
struct config {
	struct disk disks[MAX_DISKS];
	struct interface interfaces[MAX_INTERFACES];
	struct mount mounts[MAX_MOUNTS];
	struct route routes[MAX_ROUTES];
	int n_disks, n_interfaces, n_mounts, n_routes;
	const char *gateway, *gateway6, *sysctl;
	const char *root, *root_options, *hostname, *workdir, *uid, *gid, *entropy, *stack, *delay, *fsgsbase;
};

/* The host's words, taken apart; all lists end in a null pointer. */
struct words {
	char *env[MAX_WORDS], *args[MAX_WORDS];
	int n_env, n_args;
	char *config;		/* JSON, or null */
};

/* Takes the words apart in place. False: too many. */
bool words_split(struct words *w, char *line);

/* Reads JSON, decoding in place. False: it is not JSON, and why has been said. */
bool config_read(struct config *c, char *json);

/* Each ends the guest if it fails, saying why. */
void disks_offer(const struct config *c);
void mount_all(const struct config *c);
void unmount_all(void);
void network_up(const struct config *c);
void sysctl_set(const struct config *c);

/* An interface's own address, and the gateway for what it sends. */
struct source {
	int family;
	const void *address, *gateway;
	int size;		/* of an address, in bytes */
	int interface;		/* its index */
	int table;		/* of its own, 1 to 252 */
};

/* Adds that gateway as the default route of that address alone. Returns 0 or a negative error number. */
long source_route(const struct source *s);

/* Starts the program; the result is its process id. */
long program_start(const struct config *c, struct words *w);

/* Writes its arguments, strings up to a null pointer, as a line to the console. */
void say(const char *first, ...);
/* The text of an error: a few words, or the number. */
const char *reason(long err);
/* Unmounts what is mounted and ends the guest. */
_Noreturn void finish(int status);

/* The name of a signal. */
const char *signal_name(int signal);
/* The value of a hexadecimal digit, or -1. */
int digit(char c);
/* The number in a decimal text, or fallback if that is no number. */
long number(const char *text, long fallback);
/* The configuration's number under a key, or fallback if there is none; ends the guest if it is not one from 0 to most. */
long setting(const char *key, const char *text, long fallback, long most);
/* Writes a whole file; its path need not have been checked. Returns 0 or a negative error number. */
long write_file(const char *path, const char *text);

#endif
