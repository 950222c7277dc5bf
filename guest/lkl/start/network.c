/* SPDX-License-Identifier: MPL-2.0 */
/* Interfaces, addresses and routes, by ioctl. */
#include "start.h"

#include <arpa/inet.h>
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

static struct in_addr address4(const char *interface, const char *text)
{
	struct in_addr a;

	if (inet_pton(AF_INET, text, &a) != 1)
		fail(interface, "not an IPv4 address: ", text, 22);
	return a;
}

static struct in6_addr address6(const char *interface, const char *text)
{
	struct in6_addr a;

	if (inet_pton(AF_INET6, text, &a) != 1)
		fail(interface, "not an IPv6 address: ", text, 22);
	return a;
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

		if (d < 0)
			continue;
		if (digits < 12)
			mac[digits / 2] = mac[digits / 2] << 4 | d;
		digits++;
	}
	if (digits != 12)
		fail(name, "not a MAC address: ", text, 22);
	r.ifr_hwaddr.sa_family = ARPHRD_ETHER;
	memcpy(r.ifr_hwaddr.sa_data, mac, 6);
	err = CALL(SYS_ioctl, socket4, SIOCSIFHWADDR, &r);
	if (err < 0)
		fail(name, "MAC address ", text, err);
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
	long length = number(i->masklen, 32), err;

	if (length < 0 || length > 32)
		fail(i->name, "masklen ", i->masklen, 22);
	put4(&r.ifr_addr, address4(i->name, i->ip));
	err = CALL(SYS_ioctl, socket4, SIOCSIFADDR, &r);
	put4(&r.ifr_netmask, (struct in_addr){ htonl(length ? ~0U << (32 - length) : 0) });
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
		.address = address6(i->name, i->ip6),
		.prefixlen = number(i->masklen6, 128),
		.index = index_of(i->name),
	};
	long err = socket6 < 0 ? socket6 : CALL(SYS_ioctl, socket6, SIOCSIFADDR, &r);

	if (err < 0)
		fail(i->name, "address ", i->ip6, err);
}

/* A route to everything by a gateway; one that no address reaches is first made reachable on the interface. */
static void default4(const char *name, const char *gateway)
{
	struct rtentry r;
	long err;

	memset(&r, 0, sizeof(r));
	r.rt_dev = (char *)name;
	r.rt_flags = RTF_UP | RTF_GATEWAY;
	put4(&r.rt_dst, (struct in_addr){ 0 });
	put4(&r.rt_genmask, (struct in_addr){ 0 });
	put4(&r.rt_gateway, address4(name ? name : "", gateway));
	err = CALL(SYS_ioctl, socket4, SIOCADDRT, &r);
	if (err == -101 && name) {
		struct rtentry host = r;

		host.rt_flags = RTF_UP | RTF_HOST;
		host.rt_dst = r.rt_gateway;
		put4(&host.rt_gateway, (struct in_addr){ 0 });
		if (CALL(SYS_ioctl, socket4, SIOCADDRT, &host) == 0)
			err = CALL(SYS_ioctl, socket4, SIOCADDRT, &r);
	}
	if (err < 0 && err != -17)
		fail(name ? name : "", "gateway ", gateway, err);
}

static void default6(const char *name, const char *gateway)
{
	struct in6_rtmsg r = {
		.rtmsg_gateway = address6(name, gateway),
		.rtmsg_flags = RTF_UP | RTF_GATEWAY,
		.rtmsg_metric = 1024,
		.rtmsg_ifindex = index_of(name),
	};
	long err = CALL(SYS_ioctl, socket6, SIOCADDRT, &r);

	if (err < 0 && err != -17)
		fail(name, "gateway ", gateway, err);
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
	if (i->mac)
		set_mac(i->name, i->mac);
	if (i->mtu) {
		struct ifreq r = request(i->name);
		long err;

		r.ifr_mtu = number(i->mtu, 0);
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
	for (int i = 0; i < c->n_interfaces; i++) {
		const char *own = six ? c->interfaces[i].gateway6 : c->interfaces[i].gateway;

		if (own && !strcmp(own, gateway))
			return c->interfaces[i].name;
	}
	return c->interfaces[0].name;
}

void network_up(const struct config *c)
{
	socket4 = CALL(SYS_socket, AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socket6 = CALL(SYS_socket, AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	up("lo");
	for (int i = 0; i < c->n_interfaces; i++)
		configure(&c->interfaces[i]);
	if (c->gateway && c->n_interfaces)
		default4(c->n_interfaces == 1 ? c->interfaces[0].name : by(c, c->gateway, false), c->gateway);
	if (c->gateway6 && c->n_interfaces)
		default6(by(c, c->gateway6, true), c->gateway6);
	CALL(SYS_close, socket4);
	CALL(SYS_close, socket6);
}
