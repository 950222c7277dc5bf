/* SPDX-License-Identifier: MPL-2.0 */
/* Traffic control of a guest that shares the address of its allocation's interface with
 * its neighbors: processes in the namespace, and other guests. Each guest has its own copy
 * of the program, which all its filters run: the kernel takes milliseconds to verify it.
 *
 * Each packet is on its own; there is no table of connections. "own" is the guest's end of
 * a connection, and "peer" the other one.
 */

#include "packet.h"
#include "alias.h"

#define PORTS_BYTES (65536 / 8)
#define LOOPBACK_IFINDEX 1
#define TCP_LISTEN 10

/* Declared ports, a bit each. */
const volatile __u8 tcp_ports[PORTS_BYTES] = {};
const volatile __u8 udp_ports[PORTS_BYTES] = {};

/* Each guest has up to three filters on an interface. All guests' filters of a level are
 * asked before those of the next.
 */
enum level {
	DECLARED, /* ports that only this guest has */
	EPHEMERAL, /* ports of the connections that it opens */
	REST, /* all other ports */
};

static inline bool is_declared(__u8 protocol, __u16 port)
{
	__u32 index = port;
	__u8 bits;

	/* The kernel does not know that the port has 16 bits. The compiler must not know it
	 * either, or else it would remove the mask.
	 */
	asm volatile("" : "+r"(index));
	index = index >> 3 & (PORTS_BYTES - 1);
	bits = protocol == IPPROTO_TCP ? tcp_ports[index] : udp_ports[index];
	return bits & (1 << (port & 7));
}

static inline bool is_ephemeral(__u16 port)
{
	return config.first <= port && port <= config.last;
}

struct ends {
	struct address peer, own;
	__be16 peer_port, own_port;
	bool opens; /* the peer opens a TCP connection */
	__u32 segment; /* offset of the peer's TCP segment, or 0 */
};

/* Reports whether a segment answers a SYN cookie of a socket that listens. */
static inline bool answers_cookie(struct __sk_buff *skb, struct bpf_sock *sk, __u32 segment)
{
	struct ipv6hdr ip = {}; /* longer than a header of IPv4 */
	struct tcphdr tcp;

	if (bpf_skb_load_bytes(skb, segment, &tcp, sizeof(tcp)) || bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)))
		return false;
	return !bpf_tcp_check_syncookie(sk, &ip, sizeof(ip), &tcp, sizeof(tcp));
}

/* These functions are not inline, because the kernel does not accept an instruction that
 * uses both kinds of socket.
 */
static __attribute__((noinline)) bool has_tcp_socket(struct __sk_buff *skb, struct bpf_sock_tuple *tuple,
						     __u32 size, struct ends *e)
{
	struct bpf_sock *sk = bpf_skc_lookup_tcp(skb, tuple, size, BPF_F_CURRENT_NETNS, 0);
	bool found;

	if (!sk)
		return false;
	found = sk->state != TCP_LISTEN || e->opens || (e->segment && answers_cookie(skb, sk, e->segment));
	bpf_sk_release(sk);
	return found;
}

static __attribute__((noinline)) bool has_udp_socket(struct __sk_buff *skb, struct bpf_sock_tuple *tuple,
						     __u32 size)
{
	struct bpf_sock *sk = bpf_sk_lookup_udp(skb, tuple, size, BPF_F_CURRENT_NETNS, 0);

	if (!sk)
		return false;
	bpf_sk_release(sk);
	return true;
}

/* Reports whether the namespace has a socket at the guest's end. A socket that listens
 * counts only if a connection is opened, perhaps by a SYN cookie: it may have come later
 * than the guest's connection.
 */
verified_once int neighbor_has_socket(struct __sk_buff *skb, __u8 protocol, struct ends *e)
{
	struct bpf_sock_tuple tuple = {};
	__u32 size = sizeof(tuple.ipv6);

	if (!e)
		return true;
	if (is_ip4(&e->own)) {
		size = sizeof(tuple.ipv4);
		tuple.ipv4.saddr = e->peer.word[3];
		tuple.ipv4.daddr = e->own.word[3];
		tuple.ipv4.sport = e->peer_port;
		tuple.ipv4.dport = e->own_port;
	} else {
		__builtin_memcpy(tuple.ipv6.saddr, &e->peer, sizeof(e->peer));
		__builtin_memcpy(tuple.ipv6.daddr, &e->own, sizeof(e->own));
		tuple.ipv6.sport = e->peer_port;
		tuple.ipv6.dport = e->own_port;
	}
	if (protocol == IPPROTO_TCP)
		return has_tcp_socket(skb, &tuple, size, e);
	return has_udp_socket(skb, &tuple, size);
}

static inline bool owns(struct __sk_buff *skb, __u8 protocol, struct ends *e, enum level level)
{
	__u16 port = bpf_ntohs(e->own_port);

	switch (level) {
	case DECLARED:
		return is_declared(protocol, port);
	case EPHEMERAL:
		return is_ephemeral(port) && !neighbor_has_socket(skb, protocol, e);
	case REST:
		return !neighbor_has_socket(skb, protocol, e);
	}
	return false;
}

/* ---- Changes of packets ---------------------------------------------------------- */

static inline int replace4(struct __sk_buff *skb, struct packet *p, __u32 header, const struct address *from,
			   const struct address *to, __u32 offset)
{
	__be32 old = from->word[3], new = to->word[3];
	__u64 flags = BPF_F_PSEUDO_HDR | sizeof(new);

	if (p->kind == PORTS && p->protocol == IPPROTO_UDP)
		flags |= BPF_F_MARK_MANGLED_0;
	if (bpf_l3_csum_replace(skb, header + __builtin_offsetof(struct iphdr, check), old, new, sizeof(new)))
		return -1;
	if (p->checksum && bpf_l4_csum_replace(skb, p->checksum, old, new, flags))
		return -1;
	return bpf_skb_store_bytes(skb, header + offset, &new, sizeof(new), 0);
}

/* Replaces the addresses in the IP header at an offset, and corrects the checksums. The
 * checksum of an ICMP error stays correct, because the changes of an embedded IPv4 header
 * and of its checksum cancel each other out.
 */
static __attribute__((noinline)) int replace(struct __sk_buff *skb, struct packet *p, __u32 header,
					     struct addresses *from, struct addresses *to)
{
	__u64 flags = BPF_F_PSEUDO_HDR;
	__s64 difference;

	if (p->version == 4) {
		if (!same(&from->src, &to->src) &&
		    replace4(skb, p, header, &from->src, &to->src, __builtin_offsetof(struct iphdr, saddr)))
			return -1;
		if (same(&from->dst, &to->dst))
			return 0;
		return replace4(skb, p, header, &from->dst, &to->dst, __builtin_offsetof(struct iphdr, daddr));
	}
	if (p->kind == PORTS && p->protocol == IPPROTO_UDP)
		flags |= BPF_F_MARK_MANGLED_0;
	difference = bpf_csum_diff((__be32 *)from, sizeof(*from), (__be32 *)to, sizeof(*to), 0);
	if (p->checksum && bpf_l4_csum_replace(skb, p->checksum, 0, difference, flags))
		return -1;
	return bpf_skb_store_bytes(skb, header + __builtin_offsetof(struct ipv6hdr, saddr), to, sizeof(*to), 0);
}

/* Changes the addresses in a packet from those of one description to those of another. */
verified_once int translate(struct __sk_buff *skb, struct packet *from, struct packet *to)
{
	if (!from || !to)
		return -1;
	if (replace(skb, from, ETH_HLEN, &from->outer, &to->outer))
		return -1;
	if (from->kind != ERROR)
		return 0;
	return replace(skb, from, from->inner, &from->embedded, &to->embedded);
}

static inline int set_macs(struct __sk_buff *skb, const __u8 *to, const __u8 *from)
{
	__u8 macs[2 * ETH_ALEN];

	__builtin_memcpy(macs, to, ETH_ALEN);
	__builtin_memcpy(macs + ETH_ALEN, from, ETH_ALEN);
	return bpf_skb_store_bytes(skb, 0, macs, sizeof(macs), 0);
}

static inline void copy_guest_mac(__u8 *to)
{
	for (int i = 0; i < ETH_ALEN; i++)
		to[i] = config.mac[i];
}

static inline int set_guest_macs(struct __sk_buff *skb)
{
	__u8 guest[ETH_ALEN];

	copy_guest_mac(guest);
	return set_macs(skb, guest, ALIAS_MAC);
}

/* The loopback interface has the MAC 00:00:00:00:00:00. */
static inline int set_loopback_macs(struct __sk_buff *skb)
{
	const __u8 zero[ETH_ALEN] = {};

	return set_macs(skb, zero, zero);
}

/* ---- Packets of the allocation's interface --------------------------------------- */

static inline bool is_local(const struct address *a)
{
	return is_loopback(a) || is_own(a);
}

/* Guests copy ARP replies and announcements. The stack alone answers requests. */
static inline bool arp_concerns_all(struct __sk_buff *skb)
{
	struct arp arp;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &arp, sizeof(arp)))
		return false;
	return arp.operation != ARP_REQUEST || arp.sender == arp.target;
}

static inline int copy(struct __sk_buff *skb, enum level level)
{
	if (level == EPHEMERAL) /* each guest has this filter once */
		bpf_clone_redirect(skb, config.tap, 0);
	return TC_ACT_UNSPEC;
}

/* The ends of a packet to the guest. */
static inline struct ends received_ends(struct packet *p)
{
	if (p->kind == ERROR)
		return (struct ends){ p->inner_dst, p->inner_src, p->dst_port, p->src_port, false, 0 };
	return (struct ends){ p->src, p->dst, p->src_port, p->dst_port, p->opens, p->payload };
}

static __attribute__((noinline)) int from_interface(struct __sk_buff *skb, enum level level)
{
	struct packet p = {};
	struct ends ends;
	__u32 number;

	if (skb->vlan_present)
		return TC_ACT_UNSPEC;
	if (skb->protocol == bpf_htons(ETH_P_ARP))
		return arp_concerns_all(skb) ? copy(skb, level) : TC_ACT_UNSPEC;
	if (parse(skb, &p) || is_loopback(&p.src) || is_alias(&p.src, &number))
		return TC_ACT_UNSPEC;
	if (skb->pkt_type == PACKET_BROADCAST || skb->pkt_type == PACKET_MULTICAST)
		return p.kind == REQUEST || p.kind == SOLICITATION ? TC_ACT_UNSPEC : copy(skb, level);
	if (skb->pkt_type != PACKET_HOST || !is_own(&p.dst))
		return TC_ACT_UNSPEC;
	if (p.kind == REPLY || p.kind == ADVERTISEMENT || p.kind == OTHER_ERROR)
		return copy(skb, level);
	if (p.kind != PORTS && p.kind != ERROR)
		return TC_ACT_UNSPEC;
	ends = received_ends(&p);
	if (p.kind == ERROR && (is_local(&ends.peer) || is_alias(&ends.peer, &number)))
		return TC_ACT_UNSPEC; /* a connection with a neighbor never leaves the namespace */
	if (!is_own(&ends.own) || !owns(skb, p.protocol, &ends, level))
		return TC_ACT_UNSPEC;
	return bpf_redirect(config.tap, 0);
}

/* ---- Packets of the loopback interface -------------------------------------------- */

/* Copies a packet for anyone with its addresses as the guest sees them. */
static inline int copy_translated(struct __sk_buff *skb, struct packet *p, struct packet *seen)
{
	if (translate(skb, p, seen) || set_guest_macs(skb))
		return TC_ACT_SHOT;
	bpf_clone_redirect(skb, config.tap, 0);
	if (translate(skb, seen, p) || set_loopback_macs(skb))
		return TC_ACT_SHOT;
	return TC_ACT_UNSPEC;
}

static __attribute__((noinline)) int from_loopback(struct __sk_buff *skb, enum level level)
{
	struct packet p = {}, seen;
	struct ends ends;

	if (parse(skb, &p) || !is_local(&p.src) || !is_local(&p.dst))
		return TC_ACT_UNSPEC;
	if (p.kind == REPLY) {
		if (level != EPHEMERAL)
			return TC_ACT_UNSPEC;
	} else if (p.kind == PORTS || p.kind == ERROR) {
		ends = received_ends(&p);
		if (!is_local(&ends.own) || !is_local(&ends.peer) || !owns(skb, p.protocol, &ends, level))
			return TC_ACT_UNSPEC;
	} else {
		return TC_ACT_UNSPEC;
	}
	seen = p;
	if (to_guest(&seen.src, &seen.dst) ||
	    (p.kind == ERROR && to_guest(&seen.inner_dst, &seen.inner_src)))
		return TC_ACT_UNSPEC;
	if (p.kind == REPLY)
		return copy_translated(skb, &p, &seen);
	if (translate(skb, &p, &seen) || set_guest_macs(skb))
		return TC_ACT_SHOT;
	return bpf_redirect(config.tap, 0);
}

/* ---- Packets of the guest ---------------------------------------------------------- */

/* Answers a request for the MAC of an alias. */
static inline int answer_arp(struct __sk_buff *skb)
{
	struct arp arp;
	struct address target;
	__u32 number;
	__be32 guest;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &arp, sizeof(arp)))
		return TC_ACT_UNSPEC;
	target = mapped(arp.target);
	if (!is_alias(&target, &number))
		return TC_ACT_UNSPEC;
	if (arp.operation != ARP_REQUEST || number == 0 || number > GUEST_LOOPBACK_ALIAS)
		return TC_ACT_SHOT;
	guest = arp.sender;
	arp.operation = ARP_REPLY;
	copy_guest_mac(arp.target_mac);
	__builtin_memcpy(arp.sender_mac, ALIAS_MAC, ETH_ALEN);
	arp.sender = arp.target;
	arp.target = guest;
	if (bpf_skb_store_bytes(skb, ETH_HLEN, &arp, sizeof(arp), 0) || set_guest_macs(skb))
		return TC_ACT_SHOT;
	return bpf_redirect(config.tap, 0);
}

/* A solicitation or an advertisement with the sender's MAC, after the IPv6 header. */
struct neighbor_message {
	__u8 type, code;
	__sum16 checksum;
	__be32 flags;
	struct address target;
	__u8 option, option_size;
	__u8 mac[ETH_ALEN];
};

static inline __sum16 icmp6_checksum(struct ipv6hdr *ip, struct neighbor_message *m)
{
	__be32 pseudo[2] = { bpf_htonl(sizeof(*m)), bpf_htonl(IPPROTO_ICMPV6) };
	__s64 sum;

	m->checksum = 0;
	sum = bpf_csum_diff(0, 0, (__be32 *)&ip->saddr, 2 * sizeof(struct address), 0);
	sum = bpf_csum_diff(0, 0, pseudo, sizeof(pseudo), sum);
	sum = bpf_csum_diff(0, 0, (__be32 *)m, sizeof(*m), sum);
	sum = (sum & 0xffff) + (sum >> 16 & 0xffff);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* Answers a solicitation of an alias. */
static inline int answer_solicitation(struct __sk_buff *skb, struct packet *p)
{
	struct {
		struct ipv6hdr ip;
		struct neighbor_message m;
	} __attribute__((packed, aligned(4))) packet;
	struct ipv6hdr ip;
	struct neighbor_message m;
	__u32 number;

	if (p->payload != ETH_HLEN + sizeof(ip) ||
	    bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)) ||
	    bpf_skb_load_bytes(skb, p->payload, &m, __builtin_offsetof(struct neighbor_message, option)))
		return TC_ACT_UNSPEC;
	if (!is_alias(&m.target, &number))
		return is_alias(&p->dst, &number) ? TC_ACT_SHOT : TC_ACT_UNSPEC;
	if (number == 0 || number > GUEST_LOOPBACK_ALIAS || ip.payload_len != bpf_htons(sizeof(m)) || is_unspecified(&p->src))
		return TC_ACT_SHOT;
	__builtin_memcpy(&ip.daddr, &p->src, sizeof(p->src));
	__builtin_memcpy(&ip.saddr, &m.target, sizeof(m.target));
	m.type = ICMP6_NEIGHBOR_ADVERTISEMENT;
	m.code = 0;
	m.flags = bpf_htonl(0x60000000); /* solicited, override */
	m.option = 2; /* the target's MAC */
	m.option_size = 1;
	__builtin_memcpy(m.mac, ALIAS_MAC, ETH_ALEN);
	m.checksum = icmp6_checksum(&ip, &m);
	__builtin_memcpy(&packet.ip, &ip, sizeof(ip));
	__builtin_memcpy(&packet.m, &m, sizeof(m));
	if (bpf_skb_store_bytes(skb, ETH_HLEN, &packet, sizeof(packet), 0) || set_guest_macs(skb))
		return TC_ACT_SHOT;
	return bpf_redirect(config.tap, 0);
}

/* Reports whether the guest may send from a port to a neighbor. */
static inline bool may_send(struct __sk_buff *skb, __u8 protocol, struct ends *e)
{
	return owns(skb, protocol, e, DECLARED) ||
	       ((config.rest || is_ephemeral(bpf_ntohs(e->own_port))) && !neighbor_has_socket(skb, protocol, e));
}

static inline struct ends sent_ends(struct packet *p)
{
	if (p->kind == ERROR)
		return (struct ends){ p->inner_src, p->inner_dst, p->src_port, p->dst_port, false, 0 };
	return (struct ends){ p->dst, p->src, p->dst_port, p->src_port, false, 0 };
}

/* Passes a packet to an alias to the neighbors: other guests' programs receive it on the
 * loopback interface before the stack.
 */
static inline int send_to_neighbor(struct __sk_buff *skb, struct packet *p)
{
	struct packet seen = *p;
	struct ends ends;

	if (to_neighbor(&seen.dst, &seen.src) ||
	    (p->kind == ERROR && to_neighbor(&seen.inner_src, &seen.inner_dst)))
		return TC_ACT_SHOT;
	switch (p->kind) {
	case PORTS:
	case ERROR:
		ends = sent_ends(&seen);
		if (!may_send(skb, p->protocol, &ends))
			return TC_ACT_SHOT;
		break;
	case REPLY:
	case REQUEST:
		break;
	default:
		return TC_ACT_SHOT;
	}
	if (translate(skb, p, &seen) || set_loopback_macs(skb))
		return TC_ACT_SHOT;
	return bpf_redirect(LOOPBACK_IFINDEX, BPF_F_INGRESS);
}

/* Drops packets to the interface from a port of a neighbor, and errors about
 * connections of neighbors.
 */
static inline int check_port(struct __sk_buff *skb, struct packet *p)
{
	struct ends ends;

	if (config.any_source_port)
		return TC_ACT_UNSPEC;
	if (p->kind == OTHER_ERROR)
		return TC_ACT_SHOT;
	if (p->kind != PORTS && p->kind != ERROR)
		return TC_ACT_UNSPEC;
	ends = sent_ends(p);
	if (p->kind == ERROR && !is_own(&ends.own))
		return TC_ACT_SHOT;
	if (is_ephemeral(bpf_ntohs(ends.own_port)))
		return TC_ACT_UNSPEC;
	return may_send(skb, p->protocol, &ends) ? TC_ACT_UNSPEC : TC_ACT_SHOT;
}

/* Frames that this program does not decide about go to the interface if the filters after
 * it pass them. Those filters do not know the addresses of neighbors.
 */
static __attribute__((noinline)) int from_guest(struct __sk_buff *skb)
{
	struct packet p = {};
	__u32 number;
	int bad;

	if (skb->vlan_present)
		return TC_ACT_UNSPEC;
	if (skb->protocol == bpf_htons(ETH_P_ARP))
		return answer_arp(skb);
	bad = parse(skb, &p);
	if (!p.version)
		return TC_ACT_UNSPEC;
	if (bad)
		return config.any_source_port && !is_alias(&p.dst, &number) ? TC_ACT_UNSPEC : TC_ACT_SHOT;
	if (p.kind == SOLICITATION)
		return answer_solicitation(skb, &p);
	if (is_alias(&p.dst, &number))
		return send_to_neighbor(skb, &p);
	return check_port(skb, &p);
}

/* The class IDs of the filters, to which those of an interface add their level. */
enum filter {
	FROM_GUEST = 0x10,
	FROM_INTERFACE = 0x20,
	FROM_LOOPBACK = 0x30,
};

SEC("tc")
int share(struct __sk_buff *skb)
{
	__u32 id = skb->tc_classid;

	switch (id & 0xf0) {
	case FROM_GUEST:
		return from_guest(skb);
	case FROM_INTERFACE:
		return from_interface(skb, id & 0xf);
	case FROM_LOOPBACK:
		return from_loopback(skb, id & 0xf);
	}
	return TC_ACT_UNSPEC;
}

char program_license[] SEC("license") = "Dual MPL/GPL";
