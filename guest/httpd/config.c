/* SPDX-License-Identifier: MPL-2.0 */
#include <json.h>
#include <stdio.h>
#include <string.h>

#include "config.h"

#define MTU_MIN 576

/* The state of reading a configuration. */
struct reader {
	struct config *config;
	int mistakes;
};

/* Sets a part of the configuration, and reports an invalid value. */
typedef void config_setter(struct reader *r, const char *name,
			   const char *value);

static void report_mistake(struct reader *r, const char *name, const char *value)
{
	printf("httpd: bad %s \"%s\"\n", name, value);
	r->mistakes++;
}

static void set_ip(struct reader *r, const char *name, const char *value)
{
	if (!ip4addr_aton(value, &r->config->ip))
		report_mistake(r, name, value);
}

static void set_masklen(struct reader *r, const char *name, const char *value)
{
	uint64_t length;

	if (!parse_uint64(value, &length) || length > 32) {
		report_mistake(r, name, value);
		return;
	}
	ip4_addr_set_u32(&r->config->mask,
			 length ? lwip_htonl(~0U << (32 - length)) : 0);
}

static void set_gateway(struct reader *r, const char *name, const char *value)
{
	if (!ip4addr_aton(value, &r->config->gateway))
		report_mistake(r, name, value);
}

static void set_ip6(struct reader *r, const char *name, const char *value)
{
	if (!ip6addr_aton(value, &r->config->ip6))
		report_mistake(r, name, value);
}

static void set_gateway6(struct reader *r, const char *name, const char *value)
{
	if (!ip6addr_aton(value, &r->config->gateway6))
		report_mistake(r, name, value);
}

/* lwIP supports only /64 prefixes. */
static void set_masklen6(struct reader *r, const char *name, const char *value)
{
	uint64_t length;

	if (!parse_uint64(value, &length) || length > 128)
		report_mistake(r, name, value);
	else if (length != 64)
		printf("httpd: prefix /%lu is unsupported, using /64\n", length);
}

static void set_mac(struct reader *r, const char *name, const char *value)
{
	static const char digits[] = "0123456789abcdef";

	if (strlen(value) != 17) {
		report_mistake(r, name, value);
		return;
	}
	for (int i = 0; i < 17; i++) {
		char c = value[i] >= 'A' && value[i] <= 'F' ? value[i] | 32 :
							      value[i];
		const char *digit = strchr(digits, c);

		if (i % 3 == 2 ? c != ':' : !digit) {
			report_mistake(r, name, value);
			return;
		}
		if (i % 3 != 2)
			r->config->mac[i / 3] =
				(uint8_t)(r->config->mac[i / 3] << 4 |
					  (digit - digits));
	}
	r->config->has_mac = true;
}

static void set_mtu(struct reader *r, const char *name, const char *value)
{
	if (!parse_uint64(value, &r->config->mtu) || r->config->mtu < MTU_MIN)
		report_mistake(r, name, value);
}

static void set_port(struct reader *r, const char *name, const char *value)
{
	uint64_t port;

	if (!parse_uint64(value, &port) || port == 0 || port > 65535)
		report_mistake(r, name, value);
	else
		r->config->port = (uint16_t)port;
}

/* Splits ADDRESS[/LENGTH] and passes each part to its setter. */
static void set_prefix(struct reader *r, const char *name,
		       const char *value, config_setter *set_address,
		       config_setter *set_length)
{
	char text[64];
	const char *slash = strchr(value, '/');
	size_t n = slash ? (size_t)(slash - value) : strlen(value);

	if (n >= sizeof(text)) {
		report_mistake(r, name, value);
		return;
	}
	memcpy(text, value, n);
	text[n] = 0;
	set_address(r, name, text);
	if (slash)
		set_length(r, name, slash + 1);
}

struct key {
	const char *name;
	config_setter *set;
};

static const struct key json_keys[] = {
	{ "interfaces.0.ip", set_ip },
	{ "interfaces.0.masklen", set_masklen },
	{ "interfaces.0.ipv6", set_ip6 },
	{ "interfaces.0.masklen6", set_masklen6 },
	{ "interfaces.0.ifgateway", set_gateway },
	{ "interfaces.0.ifgateway6", set_gateway6 },
	{ "interfaces.0.mac", set_mac },
	{ "interfaces.0.mtu", set_mtu },
	{ "gateway", set_gateway },
	{ "gateway6", set_gateway6 },
	{ NULL, NULL },
};

static void set_cidr(struct reader *r, const char *name, const char *value)
{
	set_prefix(r, name, value, set_ip, set_masklen);
}

static void set_cidr6(struct reader *r, const char *name, const char *value)
{
	set_prefix(r, name, value, set_ip6, set_masklen6);
}

static void set_log(struct reader *r, const char *name, const char *value)
{
	(void)name;
	r->config->log = strcmp(value, "0") != 0;
}

static const struct key word_keys[] = {
	{ "ip", set_cidr },   { "gw", set_gateway }, { "ip6", set_cidr6 },
	{ "gw6", set_gateway6 }, { "mac", set_mac },	 { "mtu", set_mtu },
	{ "port", set_port }, { "log", set_log },    { NULL, NULL },
};

static bool set_json(void *to, const struct json_value *value)
{
	if (!value->text)
		return true;
	for (const struct key *k = json_keys; k->name; k++)
		if (strcmp(k->name, value->path) == 0 && *value->text)
			k->set(to, value->path, value->text);
	return true;
}

static void read_json(struct reader *r, char *text)
{
	const char *at = json_read(text, set_json, r);

	if (at) {
		printf("httpd: --config: not JSON at byte %ld\n", at - text);
		r->mistakes++;
	}
}

/* The environment ends at the first word that begins with two dashes. */
static void read_words(struct reader *r, const struct words *words)
{
	struct config *c = r->config;

	c->words = words;
	c->environment = words->count;
	for (int i = 0; i < words->count; i++) {
		if (strncmp(words->word[i], "--", 2) != 0)
			continue;
		if (c->environment == words->count)
			c->environment = i;
		if (strcmp(words->word[i], "--config") == 0 &&
		    i + 1 < words->count)
			read_json(r, words->word[++i]);
		else if (strcmp(words->word[i], "--") == 0)
			break;
	}
}

bool config_read(struct config *config, const char *command_line)
{
	const struct words *words = words_split(command_line);
	struct reader r = { .config = config };

	memset(config, 0, sizeof(*config));
	config->port = 80;
	config->log = true;
	set_masklen(&r, "masklen", "24");
	read_words(&r, words);
	for (const struct key *k = word_keys; k->name; k++) {
		const char *value = words_option(words, k->name);

		if (value)
			k->set(&r, k->name, value);
	}
	if (ip4_addr_isany_val(config->ip) && ip6_addr_isany_val(config->ip6)) {
		printf("httpd: no address: give ip=ADDRESS/LENGTH or --config "
		       "with interfaces\n");
		r.mistakes++;
	}
	return r.mistakes == 0;
}
