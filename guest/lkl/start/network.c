/* SPDX-License-Identifier: MPL-2.0 */
/* Routes. source_route.c adds those of an interface's own gateway. */
#include "start.h"

#include <errno.h>
#include <net/route.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static void put_address(struct sockaddr *to, in_addr_t address)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = address };

	memcpy(to, &in, sizeof(in));
}

/*
 * Adds a route to a network, by a gateway or to the link itself. If no route leads
 * to the gateway, a route to it by the link is added first.
 */
static void add_route4(const struct interface *i, const struct network *to, const char *gateway)
{
	struct rtentry r;
	long err;

	memset(&r, 0, sizeof(r));
	r.rt_dev = (char *)interface_name(i);
	r.rt_flags = RTF_UP;
	put_address(&r.rt_dst, to->address.four.s_addr & netmask(to->length));
	put_address(&r.rt_genmask, netmask(to->length));
	if (gateway) {
		r.rt_flags |= RTF_GATEWAY;
		put_address(&r.rt_gateway, parse_address(gateway, AF_INET).four.s_addr);
	}
	err = network_ioctl(AF_INET, SIOCADDRT, &r);
	if (err == -ENETUNREACH && gateway) {
		struct rtentry host = r;

		host.rt_flags = RTF_UP | RTF_HOST;
		host.rt_dst = r.rt_gateway;
		put_address(&host.rt_gateway, 0);
		if (network_ioctl(AF_INET, SIOCADDRT, &host) == 0)
			err = network_ioctl(AF_INET, SIOCADDRT, &r);
	}
	if (err < 0 && err != -EEXIST)
		interface_fail(i->name, "route by ", gateway ? gateway : "the link", err);
}

static void add_route6(const struct interface *i, const struct network *to, const char *gateway)
{
	struct in6_rtmsg r = {
		.rtmsg_dst = to->address.six,
		.rtmsg_dst_len = to->length,
		.rtmsg_flags = RTF_UP,
		.rtmsg_metric = 1024,
		.rtmsg_ifindex = interface_index(interface_name(i)),
	};
	long err;

	if (gateway) {
		r.rtmsg_flags |= RTF_GATEWAY;
		r.rtmsg_gateway = parse_address(gateway, AF_INET6).six;
	}
	err = network_ioctl(AF_INET6, SIOCADDRT, &r);
	if (err == -EHOSTUNREACH && gateway) {
		struct in6_rtmsg host = r;

		host.rtmsg_flags = RTF_UP | RTF_HOST;
		host.rtmsg_dst = r.rtmsg_gateway;
		host.rtmsg_dst_len = 128;
		memset(&host.rtmsg_gateway, 0, sizeof(host.rtmsg_gateway));
		if (network_ioctl(AF_INET6, SIOCADDRT, &host) == 0)
			err = network_ioctl(AF_INET6, SIOCADDRT, &r);
	}
	if (err < 0 && err != -EEXIST)
		interface_fail(i->name, "route by ", gateway ? gateway : "the link", err);
}

static void add_route(const struct interface *i, int family, const struct network *to,
		      const char *gateway)
{
	if (family == AF_INET6)
		add_route6(i, to, gateway);
	else
		add_route4(i, to, gateway);
}

static bool same(const char *a, const char *b)
{
	return a && b && !strcmp(a, b);
}

/* Returns the interface of a route, by default the first one, or NULL. */
static const struct interface *route_interface(const struct config *c, const struct route *r)
{
	for (int i = 0; i < c->n_interfaces; i++)
		if (!r->interface || same(r->interface, c->interfaces[i].name))
			return &c->interfaces[i];
	return NULL;
}

static void add_configured_route(const struct config *c, const struct route *r)
{
	int family = r->to && strchr(r->to, ':') ? AF_INET6 : AF_INET;
	const struct interface *i = route_interface(c, r);
	struct network to;

	if (!r->to || !i) {
		say("lkl: --config: a route needs the network it leads to and an interface that exists",
		    NULL);
		finish(LKL_EXIT_CONFIG);
	}
	to = parse_network(r->to, family);
	add_route(i, family, &to, r->via);
}

static const char *default_gateway(const struct config *c, int family)
{
	return family == AF_INET6 ? c->gateway6 : c->gateway;
}

static const char *own_gateway(const struct interface *i, int family)
{
	return family == AF_INET6 ? i->gateway6 : i->gateway;
}

/* The default route uses the interface that names the gateway as its own, else the first. */
static const struct interface *default_interface(const struct config *c, int family)
{
	const char *gateway = default_gateway(c, family);

	for (int i = 0; i < c->n_interfaces; i++)
		if (same(own_gateway(&c->interfaces[i], family), gateway))
			return &c->interfaces[i];
	return &c->interfaces[0];
}

static void add_default_route(const struct config *c, int family)
{
	/* Not { 0 }, which need not clear all of a union. */
	static const struct network everything;
	const char *gateway = default_gateway(c, family);

	if (!gateway)
		return;
	if (!c->n_interfaces)
		config_malformed("no interface for the gateway", gateway);
	add_route(default_interface(c, family), family, &everything, gateway);
}

/*
 * An interface's own gateway is the default gateway for packets that are sent from
 * the interface's address. The route of the whole guest may be the same already.
 */
static void add_own_gateway(const struct config *c, const struct interface *i, int family)
{
	const char *ip = family == AF_INET6 ? i->ip6 : i->ip, *text = own_gateway(i, family);
	struct address address, gateway;
	long err;

	if (!ip || !text)
		return;
	if (same(default_gateway(c, family), text) && default_interface(c, family) == i)
		return;
	address = parse_address(ip, family);
	gateway = parse_address(text, family);
	err = source_route_add(&(struct source_route){
		.family = family,
		.address = &address,
		.gateway = &gateway,
		.size = family == AF_INET6 ? sizeof(address.six) : sizeof(address.four),
		.interface = interface_index(interface_name(i)),
		.table = 1 + (i - c->interfaces),
	});
	if (err < 0)
		interface_fail(i->name, family == AF_INET6 ? "ifgateway6 " : "ifgateway ", text, err);
}

void network_up(const struct config *c)
{
	interfaces_up(c);
	neighbors_set(c);
	for (int i = 0; i < c->n_routes; i++)
		add_configured_route(c, &c->routes[i]);
	add_default_route(c, AF_INET);
	add_default_route(c, AF_INET6);
	for (int i = 0; i < c->n_interfaces; i++) {
		add_own_gateway(c, &c->interfaces[i], AF_INET);
		add_own_gateway(c, &c->interfaces[i], AF_INET6);
	}
	network_ioctl_close();
}
