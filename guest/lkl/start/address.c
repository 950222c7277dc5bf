/* SPDX-License-Identifier: MPL-2.0 */
/* The addresses in the configuration. */
#include "start.h"

#include <arpa/inet.h>
#include <string.h>

_Noreturn void config_malformed(const char *what, const char *value)
{
	say("lkl: --config: ", what, ": ", value, NULL);
	finish(LKL_EXIT_CONFIG);
}

struct address parse_address(const char *text, int family)
{
	struct address a;

	if (inet_pton(family, text, &a) != 1)
		config_malformed(family == AF_INET6 ? "not an IPv6 address" :
						      "not an IPv4 address", text);
	return a;
}

struct network parse_network(const char *text, int family)
{
	const char *slash = strchr(text, '/');
	size_t n = slash ? (size_t)(slash - text) : strlen(text);
	long max = family == AF_INET6 ? 128 : 32;
	char address[64] = "";
	struct network net;

	if (n < sizeof(address))
		memcpy(address, text, n);
	net.length = slash ? decimal(slash + 1, -1) : max;
	if (net.length < 0 || net.length > max)
		config_malformed("not a network", text);
	net.address = parse_address(address, family);
	return net;
}

in_addr_t netmask(long length)
{
	return htonl(length ? ~0U << (32 - length) : 0);
}
