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
 * network, mounts, disks, output; configured_mount, neighbors; disk_mount, mount_point,
 * interface; address; config, source_route, identity, limits; exit; cmdline; console, memory,
 * netlink, text. build-sdk checks that there is no
 * cycle.
 */
#ifndef LKL_START_H
#define LKL_START_H

#include <asm/lkl.h>
#include <linux/netlink.h>
#include <netinet/in.h>
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
#define MAX_MOUNTS 64
#define MAX_ROUTES 64

/* The program's root directory, of which the start program is outside. */
#define ROOT "/root"
/* The longest path of a mount point, in bytes. */
#define MAX_MOUNT_PATH 249

struct interface {
	const char *name, *rename;
	const char *ip, *masklen, *ip6, *masklen6, *gateway, *gateway6, *mac, *mtu, *offload;
};

/* Addresses of tasks that share the first interface's addresses. */
struct neighbors {
	const char *loopback, *loopback6, *address, *address6;
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
	struct neighbors neighbors;
	const char *gateway, *gateway6, *sysctl;
	const char *root, *root_options, *hostname, *workdir, *uid, *gid;
	const char *entropy, *stack, *delay, *fsgsbase, *argv0;
	const char *error, *stdout_tty, *stderr_tty;
};

/* A list of strings that grows. */
struct strings {
	char **list;
	size_t n, max;
};

/* The guest's command line. */
struct cmdline {
	struct strings env, args;
	char *config;		/* JSON, or NULL */
};

/* memory.c: zeroed pages, or NULL if the guest has too little memory. */
void *memory_map(size_t size);
void memory_unmap(void *memory, size_t size);

/* cmdline.c: splits lkl_cmdline. Returns false if the guest has too little memory for it. */
bool cmdline_read(struct cmdline *c);
/* Frees the command line, except for its configuration. */
void cmdline_free(struct cmdline *c);
/* The mapped memory that the configuration is in. */
const struct lkl_memory *cmdline_kept(void);

/* config.c: decodes the JSON in place. Returns false, and prints why, if that fails. */
bool config_read(struct config *c, char *json);
bool config_has_neighbors(const struct config *c);
/* Whether the text of a key is "1". */
bool config_is_set(const char *text);
/*
 * Returns the number of a key, or fallback if text is NULL. Ends the guest if the
 * text is not a number from 0 to max.
 */
long config_number(const char *key, const char *text, long fallback, long max);

/* mounts.c: mounts /proc and /dev for the start program itself. */
void mount_own(void);

/* These functions print an error and end the guest if they fail. */
void disks_offer(const struct config *c);
void mount_all(const struct config *c);
void network_up(const struct config *c);
/* Returns the process ID of the program. Frees the command line, of which the program has a copy. */
long program_start(const struct config *c, struct cmdline *line);

/* configured_mount.c: mounts a file system of the configuration. */
void mount_configured(const struct mount *m);

/* disk_mount.c */
#define DISK_PATH_SIZE (sizeof("/dev/") + LKL_DISK_NAME_MAX)
/* The path of a block device. Linux cuts the names of disks. */
void disk_path(char *to, const char *name);
/*
 * Returns the flags of mount() in a list of options, and copies the other options, which
 * are for the file system.
 */
unsigned long split_options(const char *options, char *rest, size_t size);
/*
 * Without a type: ext4, then ISO 9660, then, if the disk is read-only, ext4
 * read-only. Returns 0 or the error of the first attempt.
 */
long mount_disk(const char *device, const char *path, const char *type, const char *options);
/* Describes an error of mount_disk(). */
const char *mount_error(long err);

/*
 * mount_point.c: opens a directory or a file of the root file system. It is created if it
 * is missing. Returns a descriptor or a negative error number.
 */
long mount_point_open(const char *path, bool file);

/* limits.c */
void set_limits(void);

/* output.c: enables standard error as an output of its own if the tender offers it. */
void output_enable(const struct config *c);
/* Opens the descriptors 1 and 2 in a directory with devices, or leaves them as they are. */
void output_open(const struct config *c, const char *devices);

/* identity.c */
void set_hostname(const char *name);
void set_sysctls(const char *list);
void add_entropy(const char *hex);

/* address.c: these functions end the guest if the text is not an address. */
struct address {
	union {
		struct in_addr four;
		struct in6_addr six;
	};
};

struct network {
	struct address address;
	long length;		/* of the prefix, in bits */
};

struct address parse_address(const char *text, int family);
/* "address/length", or an address alone for a single host. */
struct network parse_network(const char *text, int family);
in_addr_t netmask(long length);
/* Prints that a value of the configuration is not what it must be, and ends the guest. */
_Noreturn void config_malformed(const char *what, const char *value);

/* interface.c: prints an error about an interface, named as in the manifest, and ends the guest. */
_Noreturn void interface_fail(const char *interface, const char *what, const char *value, long err);
/* Names and configures all interfaces. */
void interfaces_up(const struct config *c);
/* Returns the name in the guest. */
const char *interface_name(const struct interface *i);
/* Returns 0 if there is no interface of this name in the guest. */
int interface_index(const char *name);
/* An ioctl of a socket of the family. */
long network_ioctl(int family, int number, void *request);
void network_ioctl_close(void);

/* neighbors.c: passes the addresses on to the kernel. */
void neighbors_set(const struct config *c);

/* netlink.c: messages of rtnetlink that create something. */
struct netlink_message {
	struct nlmsghdr header;
	char body[128];
};

/* Returns a socket or a negative error number. */
long netlink_open(void);
/* Begins a message whose body starts with a fixed structure. */
struct netlink_message netlink_begin(int type, const void *fixed, size_t size);
/* Adds an attribute. */
void netlink_add(struct netlink_message *m, int type, const void *value, size_t size);
/* Sends the message. Returns the kernel's answer: 0 or a negative error number. */
long netlink_send(long socket, const struct netlink_message *m);

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
 * unmounted cleanly, made read-only if it is busy, or left mounted after a write error.
 * path is that in the program's root and must stay valid. The first mount is the root.
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
