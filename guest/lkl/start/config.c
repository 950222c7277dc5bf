/* SPDX-License-Identifier: MPL-2.0 */
/* The configuration: JSON whose keys are those of the LKL guests of 2020 and some more; see docs/guests.md. */
#include "start.h"

#include <string.h>

struct key {
	const char *name;
	size_t offset;
};

#define KEY(type, name, field) { name, offsetof(struct type, field) }
static const struct key top_keys[] = {
	KEY(config, "gateway", gateway), KEY(config, "gateway6", gateway6), KEY(config, "sysctl", sysctl),
	KEY(config, "root", root), KEY(config, "root_options", root_options), KEY(config, "hostname", hostname),
	KEY(config, "workdir", workdir), KEY(config, "uid", uid), KEY(config, "gid", gid),
	KEY(config, "entropy", entropy), KEY(config, "stack", stack), KEY(config, "delay_main", delay),
	KEY(config, "fsgsbase", fsgsbase), { 0 }
};
static const struct key disk_keys[] = {
	KEY(disk, "name", name), KEY(disk, "transfer", transfer), KEY(disk, "flush", flush), { 0 }
};
static const struct key interface_keys[] = {
	KEY(interface, "name", name), KEY(interface, "ip", ip), KEY(interface, "masklen", masklen),
	KEY(interface, "ipv6", ip6), KEY(interface, "masklen6", masklen6), KEY(interface, "ifgateway", gateway),
	KEY(interface, "ifgateway6", gateway6), KEY(interface, "mac", mac), KEY(interface, "mtu", mtu),
	KEY(interface, "offload", offload), { 0 }
};
static const struct key mount_keys[] = {
	KEY(mount, "device", device), KEY(mount, "path", path), KEY(mount, "type", type),
	KEY(mount, "options", options), { 0 }
};
static const struct key route_keys[] = {
	KEY(route, "to", to), KEY(route, "via", via), KEY(route, "interface", interface), { 0 }
};
/* Keys of the guests of 2020 that mean nothing here; "debug" is the kernel's. */
static const char *const ignored[] = { "debug", "singlecpu", "dump", "boot_cmdline", "type", "param", "neigh", "qdisc", 0 };

static char *at;	/* what is read next */

static void blank(void)
{
	while (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r')
		at++;
}

static bool fail(const char *what)
{
	say("lkl: --config: ", what, " before: ", *at ? at : "the end", NULL);
	return false;
}

/* The code point of a \uXXXX whose u is at p, or -1. */
static long escape_u(const char *p)
{
	long value = 0;

	for (int i = 1; i <= 4; i++) {
		int d = digit(p[i]);

		if (d < 0)
			return -1;
		value = value << 4 | d;
	}
	return value;
}

static char *utf8(char *to, long c)
{
	if (c < 0x80) {
		*to++ = c;
	} else if (c < 0x800) {
		*to++ = 0xc0 | c >> 6;
		*to++ = 0x80 | (c & 63);
	} else {
		if (c >= 0x10000) {
			*to++ = 0xf0 | c >> 18;
			*to++ = 0x80 | (c >> 12 & 63);
		} else {
			*to++ = 0xe0 | c >> 12;
		}
		*to++ = 0x80 | (c >> 6 & 63);
		*to++ = 0x80 | (c & 63);
	}
	return to;
}

/* Decodes what follows a backslash at *from; leaves *from at its last byte. */
static char *escape(char **from, char *to)
{
	static const char names[] = "\"\\/bfnrt", bytes[] = "\"\\/\b\f\n\r\t";
	const char *name = **from ? strchr(names, **from) : NULL;
	long c, low;

	if (name) {
		*to = bytes[name - names];
		return to + 1;
	}
	if (**from != 'u' || (c = escape_u(*from)) <= 0)
		return NULL;
	*from += 4;
	if (c >> 10 == 0xd800 >> 10) {
		if ((*from)[1] != '\\' || (*from)[2] != 'u' || (low = escape_u(*from + 2)) >> 10 != 0xdc00 >> 10)
			return NULL;
		*from += 6;
		c = 0x10000 + ((c & 0x3ff) << 10 | (low & 0x3ff));
	}
	return utf8(to, c);
}

/* A string, or a number or word as its text; null: neither. The byte after it is taken over by its end if it is a quote. */
static char *scalar(char *ended_by)
{
	char *start, *to;

	blank();
	if (*at != '"') {
		start = at;
		while (*at && !strchr(",]} \t\r\n:{[\"", *at))
			at++;
		blank();
		*ended_by = *at;
		if (at == start)
			return NULL;
		for (to = start; to < at && !strchr(",]} \t\r\n", *to); to++)
			;
		if (*at)
			at++;
		*to = 0;
		return start;
	}
	start = to = ++at;
	for (; *at && *at != '"'; at++) {
		if (*at != '\\') {
			*to++ = *at;
			continue;
		}
		at++;
		to = escape(&at, to);
		if (!to)
			return NULL;
	}
	if (!*at)
		return NULL;
	at++;
	*to = 0;
	blank();
	*ended_by = *at;
	if (*at)
		at++;
	return start;
}

static void set(void *record, const struct key *keys, const char *name, const char *value)
{
	for (const struct key *k = keys; k->name; k++)
		if (!strcmp(k->name, name)) {
			*(const char **)((char *)record + k->offset) = *value ? value : NULL;
			return;
		}
	for (int i = 0; ignored[i]; i++)
		if (!strcmp(ignored[i], name))
			return;
	say("lkl: --config: unknown key ignored: ", name, NULL);
}

/* Passes over a value that nobody wants: up to the comma or bracket after it. */
static bool skip(char *ended_by)
{
	int depth = 0;

	for (; *at; at++) {
		if (*at == '"') {
			for (at++; *at && *at != '"'; at++)
				if (*at == '\\' && at[1])
					at++;
			if (!*at)
				break;
		} else if (*at == '{' || *at == '[') {
			depth++;
		} else if (depth && (*at == '}' || *at == ']')) {
			depth--;
		} else if (!depth && strchr(",}]", *at)) {
			*ended_by = *at++;
			return true;
		}
	}
	return fail("unfinished value");
}

/* A list whose [ has been read, and the comma or bracket after it. */
static bool list(struct config *c, const char *name, char *ended_by);

/* The members of an object whose { has been read, up to its }. */
static bool members(struct config *c, void *record, const struct key *keys)
{
	char ended_by = ',';

	blank();
	if (*at == '}') {
		at++;
		return true;
	}
	while (ended_by == ',') {
		char *name = scalar(&ended_by), *value;

		if (!name || ended_by != ':')
			return fail("a key and a colon expected");
		blank();
		if (*at == '[' && record == c) {
			at++;
			if (!list(c, name, &ended_by))
				return false;
		} else if (*at == '[' || *at == '{') {
			say("lkl: --config: unknown key ignored: ", name, NULL);
			if (!skip(&ended_by))
				return false;
		} else {
			value = scalar(&ended_by);
			if (!value)
				return fail("a value expected");
			set(record, keys, name, value);
		}
	}
	return ended_by == '}' || fail("a comma or } expected");
}

struct list {
	const char *name;
	size_t records, size, count;	/* in struct config: where the records are, how large one is, where their number is */
	int most;
	const struct key *keys;
};

#define LIST(field, record, most) \
	{ #field, offsetof(struct config, field), sizeof(struct record), offsetof(struct config, n_##field), most, record##_keys }
static const struct list lists[] = {
	LIST(disks, disk, MAX_DISKS), LIST(interfaces, interface, MAX_INTERFACES), LIST(mounts, mount, MAX_MOUNTS),
	LIST(routes, route, MAX_ROUTES)
};

/* The records of a list whose [ has been read, up to its ]. */
static bool records(struct config *c, const struct list *l)
{
	int *count = (int *)((char *)c + l->count);
	bool more = true;

	blank();
	if (*at == ']') {
		at++;
		return true;
	}
	while (more) {
		blank();
		if (*at != '{')
			return fail("an object expected");
		at++;
		if (*count >= l->most)
			return fail("too many entries");
		if (!members(c, (char *)c + l->records + (*count)++ * l->size, l->keys))
			return false;
		blank();
		more = *at == ',';
		if (!more && *at != ']')
			return fail("a comma or ] expected");
		at++;
	}
	return true;
}

static bool list(struct config *c, const char *name, char *ended_by)
{
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		if (strcmp(lists[i].name, name))
			continue;
		if (!records(c, &lists[i]))
			return false;
		blank();
		*ended_by = *at;
		if (*at)
			at++;
		return true;
	}
	say("lkl: --config: unknown key ignored: ", name, NULL);
	at--;
	return skip(ended_by);
}

bool config_read(struct config *c, char *json)
{
	at = json;
	blank();
	if (*at != '{')
		return fail("{ expected");
	at++;
	if (!members(c, c, top_keys))
		return false;
	blank();
	return !*at || fail("the end expected");
}
