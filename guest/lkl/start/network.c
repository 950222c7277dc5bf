/* SPDX-License-Identifier: MPL-2.0 */
/* Interfaces, addresses and routes, by ioctl; the rules of an interface's own gateway are in rules.c. */
#include "start.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <net/route.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/* linux/ipv6.h */
struct in6_ifreq {
	struct in6_addr address;
	uint32_t prefixlen;
	int index;
};

static long socket4, socket6;

static _Noreturn void fail(const char *interface, const char *what, const char *value, long err)
{
	say("lkl: network interface \"", interface, "\": ", what, value ? value : "", ": ", reason(err), NULL);
	finish(EXIT_NETWORK);
}

static _Noreturn void malformed(const char *what, const char *value)
{
	say("lkl: --config: ", what, ": ", value, NULL);
	finish(EXIT_WORDS);
}

static struct in_addr address4(const char *text)
{
	struct in_addr a;

	if (inet_pton(AF_INET, text, &a) != 1)
		malformed("not an IPv4 address", text);
	return a;
}

static struct in6_addr address6(const char *text)
{
	struct in6_addr a;

	if (inet_pton(AF_INET6, text, &a) != 1)
		malformed("not an IPv6 address", text);
	return a;
}

static in_addr_t mask4(long length)
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

static void put4(struct sockaddr *to, struct in_addr a)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr = a };

	memcpy(to, &in, sizeof(in));
}

static void set_mac(const char *name, const char *text)
{
	struct ifreq r = request(name);
	unsigned char mac[6] = { 0 };
	int digits = 0;
	long err;

	for (const char *p = text; *p; p++) {
		int d = digit(*p);

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

/* The host's end of the device has a virtio header before each frame; see drivers/net.c of the kernel. */
static void set_offload(const char *name)
{
	struct ifreq r = request(name);
	long err = CALL(SYS_ioctl, socket4, SIOCDEVPRIVATE, &r);

	if (err < 0)
		fail(name, "offloads", NULL, err);
}

static void up(const char *name)
{
	struct ifreq r = request(name);
	long err = CALL(SYS_ioctl, socket4, SIOCGIFFLAGS, &r);

	r.ifr_flags |= IFF_UP | IFF_RUNNING;
	if (err == 0)
		err = CALL(SYS_ioctl, socket4, SIOCSIFFLAGS, &r);
	if (err < 0)
		fail(name, "cannot be brought up", NULL, err);
}

static void add_ip4(const struct interface *i)
{
	struct ifreq r = request(i->name);
	long length = setting("masklen", i->masklen, 32, 32), err;

	put4(&r.ifr_addr, address4(i->ip));
	err = CALL(SYS_ioctl, socket4, SIOCSIFADDR, &r);
	put4(&r.ifr_netmask, (struct in_addr){ mask4(length) });
	if (err == 0)
		err = CALL(SYS_ioctl, socket4, SIOCSIFNETMASK, &r);
	if (err < 0)
		fail(i->name, "address ", i->ip, err);
}

static int index_of(const char *name)
{
	struct ifreq r = request(name);

	return CALL(SYS_ioctl, socket4, SIOCGIFINDEX, &r) < 0 ? 0 : r.ifr_ifindex;
}

static void add_ip6(const struct interface *i)
{
	struct in6_ifreq r = {
		.address = address6(i->ip6),
		.prefixlen = setting("masklen6", i->masklen6, 128, 128),
		.index = index_of(i->name),
	};
	long err = socket6 < 0 ? socket6 : CALL(SYS_ioctl, socket6, SIOCSIFADDR, &r);

	if (err < 0)
		fail(i->name, "address ", i->ip6, err);
}

/* Where a route leads: all addresses, or those of a network. */
struct network {
	union {
		struct in_addr four;
		struct in6_addr six;
	};
	long length;		/* of the prefix, in bits */
};

/* "address/length", or an address alone for a single host. */
static struct network network_of(const char *text, bool six)
{
	const char *slash = strchr(text, '/');
	size_t n = slash ? (size_t)(slash - text) : strlen(text);
	char address[64] = "";
	struct network net;

	if (n < sizeof(address))
		memcpy(address, text, n);
	net.length = number(slash ? slash + 1 : NULL, slash ? -1 : six ? 128 : 32);
	if (net.length < 0 || net.length > (six ? 128 : 32))
		malformed("not a network", text);
	if (six)
		net.six = address6(address);
	else
		net.four = address4(address);
	return net;
}

/* By a gateway, or without one to what is on the link itself. A gateway that no address reaches is first made reachable. */
static void route4(const char *name, struct network to, const char *gateway)
{
	struct rtentry r;
	long err;

	memset(&r, 0, sizeof(r));
	r.rt_dev = (char *)name;
	r.rt_flags = RTF_UP;
	put4(&r.rt_dst, (struct in_addr){ to.four.s_addr & mask4(to.length) });
	put4(&r.rt_genmask, (struct in_addr){ mask4(to.length) });
	if (gateway) {
		r.rt_flags |= RTF_GATEWAY;
		put4(&r.rt_gateway, address4(gateway));
	}
	err = CALL(SYS_ioctl, socket4, SIOCADDRT, &r);
	if (err == -ENETUNREACH && gateway) {
		struct rtentry host = r;

		host.rt_flags = RTF_UP | RTF_HOST;
		host.rt_dst = r.rt_gateway;
		put4(&host.rt_gateway, (struct in_addr){ 0 });
		if (CALL(SYS_ioctl, socket4, SIOCADDRT, &host) == 0)
			err = CALL(SYS_ioctl, socket4, SIOCADDRT, &r);
	}
	if (err < 0 && err != -EEXIST)
		fail(name, "route by ", gateway ? gateway : "the link", err);
}

static void route6(const char *name, struct network to, const char *gateway)
{
	struct in6_rtmsg r = {
		.rtmsg_dst = to.six,
		.rtmsg_dst_len = to.length,
		.rtmsg_flags = RTF_UP,
		.rtmsg_metric = 1024,
		.rtmsg_ifindex = index_of(name),
	};
	long err;

	if (gateway) {
		r.rtmsg_flags |= RTF_GATEWAY;
		r.rtmsg_gateway = address6(gateway);
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

/* An address counts at once: nobody else on the link was given it. */
static void no_dad(const char *name)
{
	char path[96] = "/proc/sys/net/ipv6/conf/";

	strncat(path, name, IFNAMSIZ);
	strcat(path, "/accept_dad");
	write_file(path, "0");
}

static void configure(const struct interface *i)
{
	if (!i->name || !index_of(i->name)) {
		say("lkl: the guest has no network device \"", i->name ? i->name : "", "\"", NULL);
		finish(EXIT_NETWORK);
	}
	no_dad(i->name);
	if (i->offload && !strcmp(i->offload, "1"))
		set_offload(i->name);
	if (i->mac)
		set_mac(i->name, i->mac);
	if (i->mtu) {
		struct ifreq r = request(i->name);
		long err;

		r.ifr_mtu = setting("mtu", i->mtu, 0, 65535);
		err = CALL(SYS_ioctl, socket4, SIOCSIFMTU, &r);
		if (err < 0)
			fail(i->name, "MTU ", i->mtu, err);
	}
	if (i->ip)
		add_ip4(i);
	up(i->name);
	if (i->ip6)
		add_ip6(i);
}

/* The interface that default routes go through: the one whose own gateway it is, else the first. */
static const char *by(const struct config *c, const char *gateway, bool six)
{
	if (!c->n_interfaces)
		malformed("no interface for the gateway", gateway);
	for (int i = 0; i < c->n_interfaces; i++) {
		const char *own = six ? c->interfaces[i].gateway6 : c->interfaces[i].gateway;

		if (own && !strcmp(own, gateway))
			return c->interfaces[i].name;
	}
	return c->interfaces[0].name;
}

static bool same(const char *a, const char *b)
{
	return a && b && !strcmp(a, b);
}

/* An interface's own gateways are for what its addresses send, unless everything goes that way. */
static void own_gateways(const struct config *c, const struct interface *i)
{
	struct source s = { .interface = index_of(i->name), .table = 1 + (i - c->interfaces) };
	long err;

	if (i->ip && i->gateway && !(same(c->gateway, i->gateway) && same(by(c, c->gateway, false), i->name))) {
		struct in_addr address = address4(i->ip), gateway = address4(i->gateway);

		s.family = AF_INET, s.address = &address, s.gateway = &gateway, s.size = sizeof(address);
		err = source_route(&s);
		if (err < 0)
			fail(i->name, "ifgateway ", i->gateway, err);
	}
	if (i->ip6 && i->gateway6 && !(same(c->gateway6, i->gateway6) && same(by(c, c->gateway6, true), i->name))) {
		struct in6_addr address = address6(i->ip6), gateway = address6(i->gateway6);

		s.family = AF_INET6, s.address = &address, s.gateway = &gateway, s.size = sizeof(address);
		err = source_route(&s);
		if (err < 0)
			fail(i->name, "ifgateway6 ", i->gateway6, err);
	}
}

static void add_route(const struct config *c, const struct route *r)
{
	bool six = r->to && strchr(r->to, ':');
	const char *name = r->interface ? r->interface : c->n_interfaces ? c->interfaces[0].name : NULL;

	if (!r->to || !name || !index_of(name)) {
		say("lkl: --config: a route needs the network it leads to and an interface that exists", NULL);
		finish(EXIT_WORDS);
	}
	if (six)
		route6(name, network_of(r->to, true), r->via);
	else
		route4(name, network_of(r->to, false), r->via);
}

void network_up(const struct config *c)
{
	const struct network everything = { 0 };

	socket4 = CALL(SYS_socket, AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socket6 = CALL(SYS_socket, AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	up("lo");
	for (int i = 0; i < c->n_interfaces; i++)
		configure(&c->interfaces[i]);
	for (int i = 0; i < c->n_routes; i++)
		add_route(c, &c->routes[i]);
	if (c->gateway)
		route4(by(c, c->gateway, false), everything, c->gateway);
	if (c->gateway6)
		route6(by(c, c->gateway6, true), everything, c->gateway6);
	for (int i = 0; i < c->n_interfaces; i++)
		own_gateways(c, &c->interfaces[i]);
	CALL(SYS_close, socket4);
	CALL(SYS_close, socket6);
}
