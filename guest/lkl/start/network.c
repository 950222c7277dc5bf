/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Interfaces, addresses and routes, by ioctl. source_route.c adds the routes of an
 * interface's own gateway.
 */
#include "start.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <net/route.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/* From linux/ipv6.h, which does not compile with musl's headers. */
struct in6_ifreq {
	struct in6_addr address;
	uint32_t prefixlen;
	int index;
};

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

static long socket4, socket6;

static _Noreturn void fail(const char *interface, const char *what, const char *value, long err)
{
	say("lkl: network interface \"", interface, "\": ", what, value ? value : "", ": ",
	    error_text(err), NULL);
	finish(LKL_EXIT_NETWORK);
}

static _Noreturn void malformed(const char *what, const char *value)
{
	say("lkl: --config: ", what, ": ", value, NULL);
	finish(LKL_EXIT_CONFIG);
}

static struct address parse_address(const char *text, int family)
{
	struct address a;

	if (inet_pton(family, text, &a) != 1)
		malformed(family == AF_INET6 ? "not an IPv6 address" : "not an IPv4 address", text);
	return a;
}

/* "address/length", or an address alone for a single host. */
static struct network parse_network(const char *text, int family)
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
		malformed("not a network", text);
	net.address = parse_address(address, family);
	return net;
}

static in_addr_t netmask(long length)
{
	return htonl(length ? ~0U << (32 - length) : 0);
}

static struct ifreq request(const char *name)
{
	struct ifreq r;

	memset(&r, 0, sizeof(r));
	strncpy(r.ifr_name, name, IFNAMSIZ - 1);
	return r;
}

/* Returns 0 if there is no such interface. */
static int interface_index(const char *name)
{
	struct ifreq r = request(name);

	return CALL(SYS_ioctl, socket4, SIOCGIFINDEX, &r) < 0 ? 0 : r.ifr_ifindex;
}

static void put_address(struct sockaddr *to, in_addr_t address)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = address };

	memcpy(to, &in, sizeof(in));
}

static void set_mac(const char *name, const char *text)
{
	struct ifreq r = request(name);
	unsigned char mac[6] = { 0 };
	int digits = 0;
	long err;

	for (const char *p = text; *p; p++) {
		int d = hex_digit(*p);

		if (d < 0 && strchr(":-.", *p))
			continue;
		if (d < 0)
			malformed("not a MAC address", text);
		if (digits < 12)
			mac[digits / 2] = mac[digits / 2] << 4 | d;
		digits++;
	}
	if (digits != 12)
		malformed("not a MAC address", text);
	r.ifr_hwaddr.sa_family = ARPHRD_ETHER;
	memcpy(r.ifr_hwaddr.sa_data, mac, 6);
	err = CALL(SYS_ioctl, socket4, SIOCSIFHWADDR, &r);
	if (err < 0)
		fail(name, "MAC address ", text, err);
}

static void set_mtu(const char *name, const char *text)
{
	struct ifreq r = request(name);
	long err;

	r.ifr_mtu = config_number("mtu", text, 0, 65535);
	err = CALL(SYS_ioctl, socket4, SIOCSIFMTU, &r);
	if (err < 0)
		fail(name, "MTU ", text, err);
}

static void set_offload(const char *name)
{
	struct ifreq r = request(name);
	long err = CALL(SYS_ioctl, socket4, LKL_SIOC_OFFLOAD, &r);

	if (err < 0)
		fail(name, "offloads", NULL, err);
}

/*
 * Makes IPv6 addresses valid at once, without duplicate address detection, which
 * takes a second: the host assigns them.
 */
static void disable_dad(const char *name)
{
	char path[96] = "/proc/sys/net/ipv6/conf/";

	strncat(path, name, IFNAMSIZ);
	strcat(path, "/accept_dad");
	write_file(path, "0");
}

static void bring_up(const char *name)
{
	struct ifreq r = request(name);
	long err = CALL(SYS_ioctl, socket4, SIOCGIFFLAGS, &r);

	r.ifr_flags |= IFF_UP | IFF_RUNNING;
	if (err == 0)
		err = CALL(SYS_ioctl, socket4, SIOCSIFFLAGS, &r);
	if (err < 0)
		fail(name, "cannot be brought up", NULL, err);
}

static void add_address4(const struct interface *i)
{
	struct ifreq r = request(i->name);
	long length = config_number("masklen", i->masklen, 32, 32), err;

	put_address(&r.ifr_addr, parse_address(i->ip, AF_INET).four.s_addr);
	err = CALL(SYS_ioctl, socket4, SIOCSIFADDR, &r);
	put_address(&r.ifr_netmask, netmask(length));
	if (err == 0)
		err = CALL(SYS_ioctl, socket4, SIOCSIFNETMASK, &r);
	if (err < 0)
		fail(i->name, "address ", i->ip, err);
}

static void add_address6(const struct interface *i)
{
	struct in6_ifreq r = {
		.address = parse_address(i->ip6, AF_INET6).six,
		.prefixlen = config_number("masklen6", i->masklen6, 128, 128),
		.index = interface_index(i->name),
	};
	long err = socket6 < 0 ? socket6 : CALL(SYS_ioctl, socket6, SIOCSIFADDR, &r);

	if (err < 0)
		fail(i->name, "address ", i->ip6, err);
}

static void configure(const struct interface *i)
{
	if (!i->name || !interface_index(i->name)) {
		say("lkl: the guest has no network device \"", i->name ? i->name : "", "\"", NULL);
		finish(LKL_EXIT_NETWORK);
	}
	disable_dad(i->name);
	if (i->offload && !strcmp(i->offload, "1"))
		set_offload(i->name);
	if (i->mac)
		set_mac(i->name, i->mac);
	if (i->mtu)
		set_mtu(i->name, i->mtu);
	if (i->ip)
		add_address4(i);
	bring_up(i->name);
	if (i->ip6)
		add_address6(i);
}

/*
 * Adds a route to a network, by a gateway or to the link itself. If no route leads
 * to the gateway, a route to it by the link is added first.
 */
static void add_route4(const char *name, const struct network *to, const char *gateway)
{
	struct rtentry r;
	long err;

	memset(&r, 0, sizeof(r));
	r.rt_dev = (char *)name;
	r.rt_flags = RTF_UP;
	put_address(&r.rt_dst, to->address.four.s_addr & netmask(to->length));
	put_address(&r.rt_genmask, netmask(to->length));
	if (gateway) {
		r.rt_flags |= RTF_GATEWAY;
		put_address(&r.rt_gateway, parse_address(gateway, AF_INET).four.s_addr);
	}
	err = CALL(SYS_ioctl, socket4, SIOCADDRT, &r);
	if (err == -ENETUNREACH && gateway) {
		struct rtentry host = r;

		host.rt_flags = RTF_UP | RTF_HOST;
		host.rt_dst = r.rt_gateway;
		put_address(&host.rt_gateway, 0);
		if (CALL(SYS_ioctl, socket4, SIOCADDRT, &host) == 0)
			err = CALL(SYS_ioctl, socket4, SIOCADDRT, &r);
	}
	if (err < 0 && err != -EEXIST)
		fail(name, "route by ", gateway ? gateway : "the link", err);
}

static void add_route6(const char *name, const struct network *to, const char *gateway)
{
	struct in6_rtmsg r = {
		.rtmsg_dst = to->address.six,
		.rtmsg_dst_len = to->length,
		.rtmsg_flags = RTF_UP,
		.rtmsg_metric = 1024,
		.rtmsg_ifindex = interface_index(name),
	};
	long err;

	if (gateway) {
		r.rtmsg_flags |= RTF_GATEWAY;
		r.rtmsg_gateway = parse_address(gateway, AF_INET6).six;
	}
	err = CALL(SYS_ioctl, socket6, SIOCADDRT, &r);
	if (err == -EHOSTUNREACH && gateway) {
		struct in6_rtmsg host = r;

		host.rtmsg_flags = RTF_UP | RTF_HOST;
		host.rtmsg_dst = r.rtmsg_gateway;
		host.rtmsg_dst_len = 128;
		memset(&host.rtmsg_gateway, 0, sizeof(host.rtmsg_gateway));
		if (CALL(SYS_ioctl, socket6, SIOCADDRT, &host) == 0)
			err = CALL(SYS_ioctl, socket6, SIOCADDRT, &r);
	}
	if (err < 0 && err != -EEXIST)
		fail(name, "route by ", gateway ? gateway : "the link", err);
}

static void add_route(const char *name, int family, const struct network *to, const char *gateway)
{
	if (family == AF_INET6)
		add_route6(name, to, gateway);
	else
		add_route4(name, to, gateway);
}

static void add_configured_route(const struct config *c, const struct route *r)
{
	int family = r->to && strchr(r->to, ':') ? AF_INET6 : AF_INET;
	const char *name = r->interface;
	struct network to;

	if (!name && c->n_interfaces)
		name = c->interfaces[0].name;
	if (!r->to || !name || !interface_index(name)) {
		say("lkl: --config: a route needs the network it leads to and an interface that exists",
		    NULL);
		finish(LKL_EXIT_CONFIG);
	}
	to = parse_network(r->to, family);
	add_route(name, family, &to, r->via);
}

static const char *default_gateway(const struct config *c, int family)
{
	return family == AF_INET6 ? c->gateway6 : c->gateway;
}

static const char *own_gateway(const struct interface *i, int family)
{
	return family == AF_INET6 ? i->gateway6 : i->gateway;
}

static bool same(const char *a, const char *b)
{
	return a && b && !strcmp(a, b);
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
		malformed("no interface for the gateway", gateway);
	add_route(default_interface(c, family)->name, family, &everything, gateway);
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
	if (same(default_gateway(c, family), text) &&
	    same(default_interface(c, family)->name, i->name))
		return;
	address = parse_address(ip, family);
	gateway = parse_address(text, family);
	err = source_route_add(&(struct source_route){
		.family = family,
		.address = &address,
		.gateway = &gateway,
		.size = family == AF_INET6 ? sizeof(address.six) : sizeof(address.four),
		.interface = interface_index(i->name),
		.table = 1 + (i - c->interfaces),
	});
	if (err < 0)
		fail(i->name, family == AF_INET6 ? "ifgateway6 " : "ifgateway ", text, err);
}

void network_up(const struct config *c)
{
	socket4 = CALL(SYS_socket, AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socket6 = CALL(SYS_socket, AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bring_up("lo");
	for (int i = 0; i < c->n_interfaces; i++)
		configure(&c->interfaces[i]);
	for (int i = 0; i < c->n_routes; i++)
		add_configured_route(c, &c->routes[i]);
	add_default_route(c, AF_INET);
	add_default_route(c, AF_INET6);
	for (int i = 0; i < c->n_interfaces; i++) {
		add_own_gateway(c, &c->interfaces[i], AF_INET);
		add_own_gateway(c, &c->interfaces[i], AF_INET6);
	}
	CALL(SYS_close, socket4);
	CALL(SYS_close, socket6);
}
