/* SPDX-License-Identifier: MPL-2.0 */
/* Names, addresses and properties of the interfaces. */
#include "start.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/* From linux/ipv6.h, which does not compile with musl's headers. */
struct in6_ifreq {
	struct in6_addr address;
	uint32_t prefixlen;
	int index;
};

static long sockets[2] = { -1, -1 };

long network_ioctl(int family, int number, void *request)
{
	long *socket = &sockets[family == AF_INET6];

	if (*socket < 0)
		*socket = CALL(SYS_socket, family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	return *socket < 0 ? *socket : CALL(SYS_ioctl, *socket, number, request);
}

void network_ioctl_close(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(sockets); i++)
		CALL(SYS_close, sockets[i]);
}

_Noreturn void interface_fail(const char *interface, const char *what, const char *value, long err)
{
	say("lkl: network interface \"", interface, "\": ", what, value ? value : "", ": ",
	    error_text(err), NULL);
	finish(LKL_EXIT_NETWORK);
}

static struct ifreq request(const char *name)
{
	struct ifreq r;

	memset(&r, 0, sizeof(r));
	strncpy(r.ifr_name, name, IFNAMSIZ - 1);
	return r;
}

const char *interface_name(const struct interface *i)
{
	return i->rename ? i->rename : i->name;
}

int interface_index(const char *name)
{
	struct ifreq r = request(name);

	return network_ioctl(AF_INET, SIOCGIFINDEX, &r) < 0 ? 0 : r.ifr_ifindex;
}

/* Linux makes a number of "%d" in a name, and the other two are not interfaces in /proc. */
static bool is_usable_name(const char *name)
{
	return strlen(name) < IFNAMSIZ && !strchr(name, '%') && strcmp(name, "all") &&
	       strcmp(name, "default");
}

static void rename_interface(const struct interface *i, const char *from, const char *to)
{
	struct ifreq r = request(from);
	long err = -EINVAL;

	if (is_usable_name(i->rename)) {
		strncpy(r.ifr_newname, to, IFNAMSIZ - 1);
		err = network_ioctl(AF_INET, SIOCSIFNAME, &r);
	}
	if (err == -EINVAL)
		config_malformed("not a name for an interface", i->rename);
	if (err < 0)
		interface_fail(i->name, "name ", i->rename, err);
}

/*
 * Several interfaces get their names by way of a temporary one, since their old and new
 * names may overlap.
 */
static void rename_interfaces(const struct config *c)
{
	char temporary[] = "rename-a";
	int n = 0;

	for (int i = 0; i < c->n_interfaces; i++)
		n += !!c->interfaces[i].rename;
	for (int i = 0; i < c->n_interfaces && n > 1; i++) {
		temporary[sizeof(temporary) - 2] = 'a' + i;
		if (c->interfaces[i].rename)
			rename_interface(&c->interfaces[i], c->interfaces[i].name, temporary);
	}
	for (int i = 0; i < c->n_interfaces; i++) {
		temporary[sizeof(temporary) - 2] = 'a' + i;
		if (c->interfaces[i].rename)
			rename_interface(&c->interfaces[i], n > 1 ? temporary : c->interfaces[i].name,
					 c->interfaces[i].rename);
	}
}

static void set_mac(const struct interface *i)
{
	struct ifreq r = request(interface_name(i));
	unsigned char mac[6] = { 0 };
	int digits = 0;
	long err;

	for (const char *p = i->mac; *p; p++) {
		int d = hex_digit(*p);

		if (d < 0 && strchr(":-.", *p))
			continue;
		if (d < 0)
			config_malformed("not a MAC address", i->mac);
		if (digits < 12)
			mac[digits / 2] = mac[digits / 2] << 4 | d;
		digits++;
	}
	if (digits != 12)
		config_malformed("not a MAC address", i->mac);
	r.ifr_hwaddr.sa_family = ARPHRD_ETHER;
	memcpy(r.ifr_hwaddr.sa_data, mac, 6);
	err = network_ioctl(AF_INET, SIOCSIFHWADDR, &r);
	if (err < 0)
		interface_fail(i->name, "MAC address ", i->mac, err);
}

static void set_mtu(const struct interface *i)
{
	struct ifreq r = request(interface_name(i));
	long err;

	r.ifr_mtu = config_number("mtu", i->mtu, 0, 65535);
	err = network_ioctl(AF_INET, SIOCSIFMTU, &r);
	if (err < 0)
		interface_fail(i->name, "MTU ", i->mtu, err);
}

static void call_driver(const struct interface *i, int number, const char *what)
{
	struct ifreq r = request(interface_name(i));
	long err = network_ioctl(AF_INET, number, &r);

	if (err < 0)
		interface_fail(i->name, what, NULL, err);
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

static void bring_up(const char *interface, const char *name)
{
	struct ifreq r = request(name);
	long err = network_ioctl(AF_INET, SIOCGIFFLAGS, &r);

	r.ifr_flags |= IFF_UP | IFF_RUNNING;
	if (err == 0)
		err = network_ioctl(AF_INET, SIOCSIFFLAGS, &r);
	if (err < 0)
		interface_fail(interface, "cannot be brought up", NULL, err);
}

/* An ioctl would give a network of one or two addresses a broadcast address. */
static void add_address4(const struct interface *i)
{
	struct address a = parse_address(i->ip, AF_INET);
	struct ifaddrmsg fixed = {
		.ifa_family = AF_INET,
		.ifa_prefixlen = config_number("masklen", i->masklen, 32, 32),
		.ifa_index = interface_index(interface_name(i)),
	};
	in_addr_t broadcast = a.four.s_addr | ~netmask(fixed.ifa_prefixlen);
	struct netlink_message m = netlink_begin(RTM_NEWADDR, &fixed, sizeof(fixed));
	long socket = netlink_open(), err = socket;

	netlink_add(&m, IFA_LOCAL, &a.four, sizeof(a.four));
	netlink_add(&m, IFA_ADDRESS, &a.four, sizeof(a.four));
	if (fixed.ifa_prefixlen < 31)
		netlink_add(&m, IFA_BROADCAST, &broadcast, sizeof(broadcast));
	if (socket >= 0) {
		err = netlink_send(socket, &m);
		CALL(SYS_close, socket);
	}
	if (err < 0)
		interface_fail(i->name, "address ", i->ip, err);
}

static void add_address6(const struct interface *i)
{
	struct in6_ifreq r = {
		.address = parse_address(i->ip6, AF_INET6).six,
		.prefixlen = config_number("masklen6", i->masklen6, 128, 128),
		.index = interface_index(interface_name(i)),
	};
	long err = network_ioctl(AF_INET6, SIOCSIFADDR, &r);

	if (err < 0)
		interface_fail(i->name, "address ", i->ip6, err);
}

static void configure(const struct interface *i, bool has_neighbors)
{
	disable_dad(interface_name(i));
	if (i->offload && !strcmp(i->offload, "1"))
		call_driver(i, LKL_SIOC_OFFLOAD, "offloads");
	else if (has_neighbors)
		call_driver(i, LKL_SIOC_LONG_FRAMES, "long frames");
	if (i->mac)
		set_mac(i);
	if (i->mtu)
		set_mtu(i);
	if (i->ip)
		add_address4(i);
	bring_up(i->name, interface_name(i));
	if (i->ip6)
		add_address6(i);
}

void interfaces_up(const struct config *c)
{
	bring_up("lo", "lo");
	for (int n = 0; n < c->n_interfaces; n++) {
		const char *name = c->interfaces[n].name;

		if (!name || !interface_index(name)) {
			say("lkl: the guest has no network device \"", name ? name : "", "\"", NULL);
			finish(LKL_EXIT_NETWORK);
		}
	}
	rename_interfaces(c);
	for (int n = 0; n < c->n_interfaces; n++)
		configure(&c->interfaces[n], !n && config_has_neighbors(c));
}
