/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The configuration: JSON with the keys of legacy LKL guests and further ones;
 * see docs/guest-reference.md. An unknown key is reported and ignored, so that a
 * newer host can start an older guest.
 */
#include "start.h"

#include <json.h>
#include <string.h>

struct key {
	const char *name;
	size_t offset;		/* of the value in the record */
};

#define KEY(type, name, field) { name, offsetof(struct type, field) }
static const struct key top_keys[] = {
	KEY(config, "gateway", gateway), KEY(config, "gateway6", gateway6),
	KEY(config, "sysctl", sysctl), KEY(config, "root", root),
	KEY(config, "root_options", root_options), KEY(config, "hostname", hostname),
	KEY(config, "workdir", workdir), KEY(config, "uid", uid), KEY(config, "gid", gid),
	KEY(config, "entropy", entropy), KEY(config, "stack", stack),
	KEY(config, "delay_main", delay), KEY(config, "fsgsbase", fsgsbase),
	KEY(config, "argv0", argv0), KEY(config, "stderr", error),
	KEY(config, "stdout_tty", stdout_tty), KEY(config, "stderr_tty", stderr_tty), { 0 }
};
static const struct key disk_keys[] = {
	KEY(disk, "name", name), KEY(disk, "transfer", transfer), KEY(disk, "flush", flush), { 0 }
};
static const struct key interface_keys[] = {
	KEY(interface, "name", name), KEY(interface, "rename", rename), KEY(interface, "ip", ip),
	KEY(interface, "masklen", masklen), KEY(interface, "ipv6", ip6),
	KEY(interface, "masklen6", masklen6),
	KEY(interface, "ifgateway", gateway), KEY(interface, "ifgateway6", gateway6),
	KEY(interface, "mac", mac), KEY(interface, "mtu", mtu),
	KEY(interface, "offload", offload), { 0 }
};
static const struct key mount_keys[] = {
	KEY(mount, "device", device), KEY(mount, "path", path), KEY(mount, "type", type),
	KEY(mount, "options", options), { 0 }
};
static const struct key neighbors_keys[] = {
	KEY(neighbors, "loopback", loopback), KEY(neighbors, "loopback6", loopback6),
	KEY(neighbors, "address", address), KEY(neighbors, "address6", address6), { 0 }
};
static const struct key route_keys[] = {
	KEY(route, "to", to), KEY(route, "via", via), KEY(route, "interface", interface), { 0 }
};

/* Keys of legacy LKL guests that have no meaning here. The kernel reads "debug" itself. */
static const char *const ignored_keys[] = {
	"debug", "singlecpu", "dump", "boot_cmdline", "type", "param", "neigh", "qdisc"
};

/* A key whose value is a list of objects. */
struct list {
	const char *name;
	size_t records, count;	/* offsets in struct config: the array, the number of records */
	size_t size;		/* of a record */
	int max;
	const struct key *keys;
};

#define LIST(field, record, max) { #field, offsetof(struct config, field), \
				   offsetof(struct config, n_##field), \
				   sizeof(struct record), max, record##_keys }
static const struct list lists[] = {
	LIST(disks, disk, MAX_DISKS), LIST(interfaces, interface, MAX_INTERFACES),
	LIST(mounts, mount, MAX_MOUNTS), LIST(routes, route, MAX_ROUTES)
};

struct reader {
	struct config *config;
	const struct list *list;	/* the list that is being read, or NULL */
	void *record;			/* the list's current record, or an object */
	const struct key *keys;		/* of the record */
	bool failed;
};

static bool fail(struct reader *r, const char *why, const char *where)
{
	say("lkl: --config: ", why, where, NULL);
	r->failed = true;
	return false;
}

static bool ignore_key(const char *key)
{
	for (size_t i = 0; i < ARRAY_SIZE(ignored_keys); i++)
		if (!strcmp(ignored_keys[i], key))
			return false;
	say("lkl: --config: unknown key ignored: ", key, NULL);
	return false;
}

/* An empty value counts as a missing key. */
static bool set_value(void *record, const struct key *keys, const struct json_value *v)
{
	for (const struct key *k = keys; v->text && k->name; k++)
		if (!strcmp(k->name, v->key)) {
			*(const char **)((char *)record + k->offset) = *v->text ? v->text : NULL;
			return false;
		}
	return ignore_key(v->key);
}

static bool begin_list(struct reader *r, const struct json_value *v)
{
	for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
		if (!strcmp(lists[i].name, v->key)) {
			r->list = &lists[i];
			r->keys = lists[i].keys;
			return true;
		}
	return ignore_key(v->key);
}

static bool begin_object(struct reader *r, const struct json_value *v)
{
	if (strcmp(v->key, "neighbors"))
		return ignore_key(v->key);
	r->list = NULL;
	r->record = &r->config->neighbors;
	r->keys = neighbors_keys;
	return true;
}

static bool begin_record(struct reader *r, const struct json_value *v)
{
	int *count = (int *)((char *)r->config + r->list->count);

	if (v->type != JSON_OBJECT)
		return fail(r, "not an object: ", v->path);
	if (*count >= r->list->max)
		return fail(r, "too many ", r->list->name);
	r->record = (char *)r->config + r->list->records + (size_t)(*count)++ * r->list->size;
	return true;
}

/*
 * Depth 1: the keys of the document. 2: the records of a list, or the keys of an object.
 * 3: the keys of a record.
 */
static bool visit(void *to, const struct json_value *v)
{
	struct reader *r = to;

	if (r->failed)
		return false;
	switch (v->depth) {
	case 0:
		return v->type == JSON_OBJECT || fail(r, "not an object", "");
	case 1:
		if (v->type == JSON_ARRAY)
			return begin_list(r, v);
		if (v->type == JSON_OBJECT)
			return begin_object(r, v);
		return set_value(r->config, top_keys, v);
	case 2:
		if (r->list)
			return begin_record(r, v);
		return set_value(r->record, r->keys, v);
	default:
		return set_value(r->record, r->keys, v);
	}
}

bool config_read(struct config *c, char *json)
{
	struct reader r = { .config = c };
	const char *error = json_read(json, visit, &r);

	if (error && !r.failed)
		fail(&r, "JSON syntax error at: ", *error ? error : "the end");
	return !r.failed;
}

bool config_has_neighbors(const struct config *c)
{
	const struct neighbors *n = &c->neighbors;

	return n->loopback || n->loopback6 || n->address || n->address6;
}

bool config_is_set(const char *text)
{
	return text && !strcmp(text, "1");
}

long config_number(const char *key, const char *text, long fallback, long max)
{
	long n = text ? decimal(text, -1) : fallback;

	if (n < 0 || n > max) {
		say("lkl: --config: not a ", key, ": ", text, NULL);
		finish(LKL_EXIT_CONFIG);
	}
	return n;
}
