// SPDX-License-Identifier: GPL-2.0-only
/*
 * Neighbors: tasks on the host that have the same addresses as the guest, as if they
 * shared a network namespace with it. The host gives them further addresses, aliases,
 * for the packets between the two. This file replaces the neighbor's address by its alias
 * in packets that leave, and back in those that arrive, so that sockets on both sides see
 * native addresses only. No state is needed, since one address stands for one alias.
 *
 * A packet on lo leaves if no socket of the guest wants it. A packet from an alias is
 * handled as if it came from lo, so that it also reaches 127.0.0.1 and ::1.
 */
#include <linux/etherdevice.h>
#include <linux/icmp.h>
#include <linux/icmpv6.h>
#include <linux/inetdevice.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/netdevice.h>
#include <linux/rtnetlink.h>
#include <net/arp.h>
#include <net/inet6_hashtables.h>
#include <net/inet_hashtables.h>
#include <net/ip6_route.h>
#include <net/ipv6.h>
#include <net/ndisc.h>
#include <net/route.h>
#include <net/tcp.h>
#include <net/udp.h>
#include <asm/lkl.h>

/* The headers of a packet. IPv4 addresses are mapped to IPv6. */
struct lkl_packet {
	struct in6_addr from, to;
	__be16 ports[2];	/* source and destination of TCP and UDP */
	int header, transport;	/* offsets of the IP and transport header */
	u8 protocol;		/* 0 for a later fragment */
	bool six;
};

static struct {
	struct in6_addr native, alias;
} lkl_neighbors[4];
static unsigned int lkl_n_neighbors;
static struct net_device *lkl_uplink;
static const struct net_device_ops *lkl_lo_ops;	/* of lo without neighbors */

static const struct in6_addr *lkl_alias_of(const struct in6_addr *native)
{
	unsigned int i;

	for (i = 0; i < lkl_n_neighbors; i++)
		if (ipv6_addr_equal(&lkl_neighbors[i].native, native))
			return &lkl_neighbors[i].alias;
	return NULL;
}

static const struct in6_addr *lkl_native_of(const struct in6_addr *alias)
{
	unsigned int i;

	for (i = 0; i < lkl_n_neighbors; i++)
		if (ipv6_addr_equal(&lkl_neighbors[i].alias, alias))
			return &lkl_neighbors[i].native;
	return NULL;
}

static bool lkl_parse4(const struct sk_buff *skb, int at, struct lkl_packet *p)
{
	struct iphdr buf, *ip = skb_header_pointer(skb, at, sizeof(buf), &buf);

	if (!ip || ip->version != 4 || ip->ihl < 5)
		return false;
	ipv6_addr_set_v4mapped(ip->saddr, &p->from);
	ipv6_addr_set_v4mapped(ip->daddr, &p->to);
	p->transport = at + ip->ihl * 4;
	p->protocol = ip->frag_off & htons(IP_OFFSET) ? 0 : ip->protocol;
	return true;
}

static bool lkl_parse6(const struct sk_buff *skb, int at, struct lkl_packet *p)
{
	struct ipv6hdr buf, *ip = skb_header_pointer(skb, at, sizeof(buf), &buf);
	__be16 fragment = 0;

	if (!ip || ip->version != 6)
		return false;
	p->from = ip->saddr;
	p->to = ip->daddr;
	p->protocol = ip->nexthdr;
	p->transport = ipv6_skip_exthdr(skb, at + sizeof(buf), &p->protocol, &fragment);
	if (fragment & htons(IP6_OFFSET))
		p->protocol = 0;
	return p->transport > 0;
}

/* Reads the headers at an offset. */
static bool lkl_parse(const struct sk_buff *skb, int at, bool six, struct lkl_packet *p)
{
	__be16 buf[2] = { 0 }, *ports = buf;

	p->six = six;
	p->header = at;
	if (!(six ? lkl_parse6(skb, at, p) : lkl_parse4(skb, at, p)))
		return false;
	if (p->protocol == IPPROTO_TCP || p->protocol == IPPROTO_UDP)
		ports = skb_header_pointer(skb, p->transport, sizeof(buf), buf);
	if (ports)
		memcpy(p->ports, ports, sizeof(buf));
	return ports;
}

/* Not echo requests, neighbor discovery and the like. */
static bool lkl_is_data(const struct lkl_packet *p)
{
	return p->protocol == IPPROTO_TCP || p->protocol == IPPROTO_UDP || p->protocol == 0;
}

/* Reads the headers inside an ICMP error. Returns false if the packet is not one. */
static bool lkl_parse_error(const struct sk_buff *skb, const struct lkl_packet *p,
			    struct lkl_packet *inner)
{
	u8 buf, *type;

	if (p->protocol != (p->six ? IPPROTO_ICMPV6 : IPPROTO_ICMP))
		return false;
	type = skb_header_pointer(skb, p->transport, sizeof(buf), &buf);
	if (!type)
		return false;
	if (p->six ? *type & ICMPV6_INFOMSG_MASK :
	    *type != ICMP_DEST_UNREACH && *type != ICMP_TIME_EXCEEDED && *type != ICMP_PARAMETERPROB)
		return false;
	return lkl_parse(skb, p->transport + sizeof(struct icmphdr), p->six, inner);
}

static bool lkl_has_udp_socket(const struct lkl_packet *p)
{
	if (p->six)
		return __udp6_lib_lookup(&init_net, &p->from, p->ports[0], &p->to, p->ports[1],
					 LOOPBACK_IFINDEX, 0, &udp_table, NULL);
	return __udp4_lib_lookup(&init_net, p->from.s6_addr32[3], p->ports[0],
				 p->to.s6_addr32[3], p->ports[1],
				 LOOPBACK_IFINDEX, 0, &udp_table, NULL);
}

static bool lkl_has_tcp_socket(const struct lkl_packet *p)
{
	bool refcounted;
	struct sock *sk;

	if (p->six)
		sk = __inet6_lookup(&init_net, &tcp_hashinfo, NULL, 0, &p->from, p->ports[0], &p->to,
				    ntohs(p->ports[1]), LOOPBACK_IFINDEX, 0, &refcounted);
	else
		sk = __inet_lookup(&init_net, &tcp_hashinfo, NULL, 0, p->from.s6_addr32[3],
				   p->ports[0], p->to.s6_addr32[3], p->ports[1],
				   LOOPBACK_IFINDEX, 0, &refcounted);
	if (sk && refcounted)
		sock_gen_put(sk);
	return sk;
}

/* Reports whether a socket of the guest receives the packet. */
static bool lkl_has_socket(const struct lkl_packet *p)
{
	switch (p->protocol) {
	case IPPROTO_TCP:
		return lkl_has_tcp_socket(p);
	case IPPROTO_UDP:
		return lkl_has_udp_socket(p);
	default:
		return true;
	}
}

/* Reports whether a socket of the guest has sent the packet. */
static bool lkl_is_own(const struct lkl_packet *p)
{
	struct lkl_packet answer = *p;

	swap(answer.from, answer.to);
	swap(answer.ports[0], answer.ports[1]);
	return lkl_has_socket(&answer);
}

/* Returns the checksum that covers the addresses, or NULL. */
static __sum16 *lkl_checksum(struct sk_buff *skb, const struct lkl_packet *p)
{
	void *transport = skb->data + p->transport;
	struct udphdr *udp = transport;

	switch (p->protocol) {
	case IPPROTO_TCP:
		return &((struct tcphdr *)transport)->check;
	case IPPROTO_UDP:
		return udp->check || skb->ip_summed == CHECKSUM_PARTIAL ? &udp->check : NULL;
	case IPPROTO_ICMPV6:
		return &((struct icmp6hdr *)transport)->icmp6_cksum;
	default:
		return NULL;
	}
}

/*
 * Replaces the source or the destination of a packet. @outer is the packet itself, or the
 * ICMP error around it. The checksum of @outer changes with the address. In an IPv4 packet
 * in an error it does not, because the header checksum of that packet makes up for it.
 */
static void lkl_replace(struct sk_buff *skb, const struct lkl_packet *p,
			const struct lkl_packet *outer, bool source, const struct in6_addr *to)
{
	__sum16 *sum = lkl_checksum(skb, outer);
	bool pseudo = p == outer;

	if (p->six) {
		struct ipv6hdr *ip = (void *)skb->data + p->header;
		struct in6_addr *a = source ? &ip->saddr : &ip->daddr;

		if (sum)
			inet_proto_csum_replace16(sum, skb, a->s6_addr32, to->s6_addr32, pseudo);
		*a = *to;
	} else {
		struct iphdr *ip = (void *)skb->data + p->header;
		__be32 *a = source ? &ip->saddr : &ip->daddr;

		if (sum && pseudo)
			inet_proto_csum_replace4(sum, skb, *a, to->s6_addr32[3], true);
		csum_replace4(&ip->check, *a, to->s6_addr32[3]);
		*a = to->s6_addr32[3];
	}
	if (sum && !*sum && outer->protocol == IPPROTO_UDP && skb->ip_summed != CHECKSUM_PARTIAL)
		*sum = CSUM_MANGLED_0;
}

/* Makes all headers that change contiguous and writable. */
static bool lkl_make_writable(struct sk_buff *skb, const struct lkl_packet *p,
			      const struct lkl_packet *inner)
{
	size_t size = p->protocol == IPPROTO_TCP ? sizeof(struct tcphdr) : sizeof(struct udphdr);

	if (inner)
		size = inner->transport - p->transport;
	return !skb_ensure_writable(skb, p->protocol ? p->transport + size : p->transport);
}

/* Sends a packet to an alias, at any length: the host delivers it by its own lo. */
static void lkl_send_to_alias(struct sk_buff *skb, bool six, const struct in6_addr *alias)
{
	const void *key = six ? (const void *)alias : &alias->s6_addr32[3];
	struct neighbour *n = __neigh_lookup(six ? &nd_tbl : &arp_tbl, key, lkl_uplink, 1);

	if (!n) {
		kfree_skb(skb);
		return;
	}
	skb->dev = lkl_uplink;
	/* A packet that waits for the alias to be resolved would take its next hop from the route. */
	skb_dst_drop(skb);
	neigh_output(n, skb, false);
	neigh_release(n);
}

/* Sends a packet of lo to the neighbors if it is for them. Returns false if it is not. */
static bool lkl_divert(struct sk_buff *skb)
{
	bool six = skb->protocol == htons(ETH_P_IPV6);
	const struct in6_addr *alias, *inner_alias = NULL;
	struct lkl_packet p, inner;

	if ((!six && skb->protocol != htons(ETH_P_IP)) || !lkl_parse(skb, 0, six, &p))
		return false;
	alias = lkl_alias_of(&p.to);
	if (!alias || !lkl_alias_of(&p.from))
		return false;
	if (lkl_parse_error(skb, &p, &inner)) {
		inner_alias = lkl_alias_of(&inner.from);
		if (!inner_alias || lkl_is_own(&inner))
			return false;
	} else if (lkl_has_socket(&p)) {
		return false;
	}
	if (!lkl_make_writable(skb, &p, inner_alias ? &inner : NULL)) {
		kfree_skb(skb);
		return true;
	}
	lkl_replace(skb, &p, &p, false, alias);
	if (inner_alias)
		lkl_replace(skb, &inner, &p, true, inner_alias);
	lkl_send_to_alias(skb, six, alias);
	return true;
}

static netdev_tx_t lkl_lo_xmit(struct sk_buff *skb, struct net_device *dev)
{
	if (skb_network_offset(skb) == ETH_HLEN) {
		__skb_pull(skb, ETH_HLEN);
		if (lkl_divert(skb))
			return NETDEV_TX_OK;
		__skb_push(skb, ETH_HLEN);
	}
	return lkl_lo_ops->ndo_start_xmit(skb, dev);
}

static void lkl_lo_get_stats64(struct net_device *dev, struct rtnl_link_stats64 *stats)
{
	lkl_lo_ops->ndo_get_stats64(dev, stats);
}

static const struct net_device_ops lkl_lo_ops_with_neighbors = {
	.ndo_start_xmit = lkl_lo_xmit,
	.ndo_get_stats64 = lkl_lo_get_stats64,
	.ndo_set_mac_address = eth_mac_addr,
};

/* Gives the packet the route that a packet on lo has. */
static bool lkl_route(struct sk_buff *skb, bool six)
{
	struct dst_entry *dst;

	if (six) {
		struct flowi6 flow = { .saddr = ipv6_hdr(skb)->saddr, .daddr = ipv6_hdr(skb)->daddr };

		dst = ip6_route_output(&init_net, NULL, &flow);
		if (dst->error) {
			dst_release(dst);
			return false;
		}
	} else {
		struct rtable *rt = ip_route_output(&init_net, ip_hdr(skb)->daddr,
						    ip_hdr(skb)->saddr, 0, 0);

		if (IS_ERR(rt))
			return false;
		dst = &rt->dst;
	}
	skb_dst_drop(skb);
	skb_dst_set(skb, dst);
	return true;
}

/* Receives the packets of the first interface. */
static rx_handler_result_t lkl_receive(struct sk_buff **pskb)
{
	struct sk_buff *skb = *pskb;
	bool six = skb->protocol == htons(ETH_P_IPV6);
	const struct in6_addr *native, *inner_native;
	struct lkl_packet p, inner;
	bool error;

	if ((!six && skb->protocol != htons(ETH_P_IP)) || !lkl_parse(skb, 0, six, &p))
		return RX_HANDLER_PASS;
	native = lkl_native_of(&p.from);
	if (!native || !lkl_alias_of(&p.to))
		return RX_HANDLER_PASS;
	error = lkl_parse_error(skb, &p, &inner);
	if (!error && !lkl_is_data(&p))
		return RX_HANDLER_PASS;
	skb = skb_share_check(skb, GFP_ATOMIC);
	*pskb = skb;
	if (!skb)
		return RX_HANDLER_CONSUMED;
	if (!lkl_make_writable(skb, &p, error ? &inner : NULL))
		goto drop;
	lkl_replace(skb, &p, &p, true, native);
	inner_native = error ? lkl_native_of(&inner.to) : NULL;
	if (inner_native)
		lkl_replace(skb, &inner, &p, false, inner_native);
	if (!lkl_route(skb, six))
		goto drop;
	skb->dev = init_net.loopback_dev;
	return RX_HANDLER_ANOTHER;
drop:
	kfree_skb(skb);
	return RX_HANDLER_CONSUMED;
}

static void lkl_add_neighbor(const struct in6_addr *native, const struct in6_addr *alias)
{
	if (ipv6_addr_any(alias) || ipv6_addr_any(native))
		return;
	lkl_neighbors[lkl_n_neighbors].native = *native;
	lkl_neighbors[lkl_n_neighbors++].alias = *alias;
}

/* LKL_NR_NEIGHBORS. */
int lkl_set_neighbors(const struct lkl_neighbor_addresses *n)
{
	struct net_device *lo = init_net.loopback_dev;
	struct in6_addr loopback4;
	struct in_device *in_dev;
	int err = -ENODEV;

	rtnl_lock();
	lkl_uplink = __dev_get_by_index(&init_net, n->interface);
	in_dev = lkl_uplink ? __in_dev_get_rtnl(lkl_uplink) : NULL;
	if (in_dev)
		err = netdev_rx_handler_register(lkl_uplink, lkl_receive, NULL);
	if (err)
		goto unlock;
	dev_hold(lkl_uplink);
	/* ARP requests for an alias come from the interface's address, not from 127.0.0.1. */
	IN_DEV_CONF_SET(in_dev, ARP_ANNOUNCE, 2);
	ipv6_addr_set_v4mapped(htonl(INADDR_LOOPBACK), &loopback4);
	lkl_add_neighbor(&loopback4, (const struct in6_addr *)n->loopback);
	lkl_add_neighbor(&in6addr_loopback, (const struct in6_addr *)n->loopback6);
	lkl_add_neighbor((const struct in6_addr *)n->own, (const struct in6_addr *)n->address);
	lkl_add_neighbor((const struct in6_addr *)n->own6, (const struct in6_addr *)n->address6);
	lkl_lo_ops = lo->netdev_ops;
	lo->netdev_ops = &lkl_lo_ops_with_neighbors;
unlock:
	rtnl_unlock();
	return err;
}
