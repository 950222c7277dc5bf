/* SPDX-License-Identifier: MPL-2.0 */
/* Passes the addresses of the neighbors on to the kernel, which uses them (neighbors.c). */
#include "start.h"

#include <string.h>
#include <sys/socket.h>

static void put_address(unsigned char *to, const char *text, int family)
{
	struct address a;

	if (!text)
		return;
	a = parse_address(text, family);
	if (family == AF_INET6) {
		memcpy(to, &a.six, 16);
		return;
	}
	/* Mapped to IPv6: ::ffff:a.b.c.d. */
	memset(to + 10, 0xff, 2);
	memcpy(to + 12, &a.four, 4);
}

void neighbors_set(const struct config *c)
{
	const struct neighbors *n = &c->neighbors;
	const struct interface *own = &c->interfaces[0];
	struct lkl_neighbor_addresses addresses;
	long err;

	if (!config_has_neighbors(c))
		return;
	if (!c->n_interfaces)
		config_malformed("no interface leads to", "neighbors");
	memset(&addresses, 0, sizeof(addresses));
	addresses.interface = interface_index(interface_name(own));
	put_address(addresses.own, own->ip, AF_INET);
	put_address(addresses.own6, own->ip6, AF_INET6);
	put_address(addresses.loopback, n->loopback, AF_INET);
	put_address(addresses.loopback6, n->loopback6, AF_INET6);
	put_address(addresses.address, n->address, AF_INET);
	put_address(addresses.address6, n->address6, AF_INET6);
	err = CALL(LKL_NR_NEIGHBORS, &addresses);
	if (err < 0)
		interface_fail(own->name, "neighbors", NULL, err);
}
