/* SPDX-License-Identifier: MPL-2.0 */
/* The packets that the programs of share.c dispatch. */

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define inline inline __attribute__((always_inline))

/* A function that the kernel verifies once for a program, and not for each state in which
 * the program calls it. It must check its pointers, and its result must be a number.
 */
#define verified_once __attribute__((noinline))

/* linux/icmp.h and linux/if_arp.h need headers of the C library for the machine. */
enum icmp4 {
	ICMP4_ECHO_REPLY = 0,
	ICMP4_UNREACHABLE = 3,
	ICMP4_ECHO_REQUEST = 8,
	ICMP4_TIME_EXCEEDED = 11,
	ICMP4_PARAMETER_PROBLEM = 12,
};

enum icmp6 {
	ICMP6_UNREACHABLE = 1,
	ICMP6_PACKET_TOO_BIG = 2,
	ICMP6_TIME_EXCEEDED = 3,
	ICMP6_PARAMETER_PROBLEM = 4,
	ICMP6_ECHO_REQUEST = 128,
	ICMP6_ECHO_REPLY = 129,
	ICMP6_ROUTER_ADVERTISEMENT = 134,
	ICMP6_NEIGHBOR_SOLICITATION = 135,
	ICMP6_NEIGHBOR_ADVERTISEMENT = 136,
};

#define ICMP_HEADER 8 /* the size of the header of an ICMP error */
#define ICMP_CHECKSUM 2 /* its offset */

struct arp {
	__be16 hardware, protocol;
	__u8 hardware_size, protocol_size;
	__be16 operation;
	__u8 sender_mac[ETH_ALEN];
	__be32 sender;
	__u8 target_mac[ETH_ALEN];
	__be32 target;
} __attribute__((packed));

#define ARP_REQUEST bpf_htons(1)
#define ARP_REPLY bpf_htons(2)

/* An IPv6 address, or an IPv4 address in the form ::ffff:a.b.c.d. */
struct address {
	__be32 word[4];
} __attribute__((aligned(8)));

enum kind {
	OTHER, /* the namespace's stack is responsible */
	PORTS, /* TCP or UDP; a first fragment has the ports, too */
	ERROR, /* of ICMP, about a packet of TCP or UDP */
	REPLY, /* for anyone: echo replies, later fragments */
	ADVERTISEMENT, /* of a neighbor or a router, by IPv6: for anyone */
	OTHER_ERROR, /* of ICMP, in fragments or not about a readable packet of TCP or UDP: for anyone */
	REQUEST, /* an echo request */
	SOLICITATION, /* of a neighbor, by IPv6 */
};

struct addresses {
	struct address src, dst;
};

struct packet {
	union {
		struct addresses outer;
		struct {
			struct address src, dst;
		};
	};
	union { /* of the packet that an ERROR is about */
		struct addresses embedded;
		struct {
			struct address inner_src, inner_dst;
		};
	};
	__u32 payload; /* offset of the header of TCP, UDP or ICMP */
	__u32 inner; /* offset of the IP header that an ERROR is about */
	__u32 checksum; /* offset of a checksum with a pseudo-header, or 0 */
	__be16 src_port, dst_port; /* for an ERROR: of the packet that it is about */
	__u8 version; /* of IP */
	__u8 protocol; /* of the ports */
	__u8 kind;
	bool opens; /* the first segment of a TCP connection */
};

static inline struct address mapped(__be32 ip4)
{
	return (struct address){ { 0, 0, bpf_htonl(0xffff), ip4 } };
}

static inline bool is_ip4(const struct address *a)
{
	return !(a->word[0] | a->word[1] | (a->word[2] ^ bpf_htonl(0xffff)));
}

/* Without branches, of which each would double the kernel's work to verify a program. */
static inline bool same(const struct address *a, const struct address *b)
{
	return !((a->word[0] ^ b->word[0]) | (a->word[1] ^ b->word[1]) |
		 (a->word[2] ^ b->word[2]) | (a->word[3] ^ b->word[3]));
}

static inline int parse_ports(struct __sk_buff *skb, struct packet *p, __u32 at)
{
	__be16 ports[2];

	if (p->protocol != IPPROTO_TCP && p->protocol != IPPROTO_UDP)
		return -1;
	if (bpf_skb_load_bytes(skb, at, ports, sizeof(ports)))
		return -1;
	p->src_port = ports[0];
	p->dst_port = ports[1];
	return 0;
}

/* Errors about other protocols than TCP and UDP may be about an echo request of anyone. The
 * kernel finds the ports of more packets than this program can read: it ignores the version,
 * and the offset of a fragment. Therefore, guests must not send such errors.
 */
static inline void parse_inner4(struct __sk_buff *skb, struct packet *p)
{
	__u32 at = p->payload + ICMP_HEADER;
	struct iphdr ip;

	p->kind = OTHER_ERROR;
	if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)) || ip.version != 4 || ip.ihl < 5)
		return;
	p->protocol = ip.protocol;
	if ((ip.frag_off & bpf_htons(0x1fff)) || parse_ports(skb, p, at + 4 * ip.ihl))
		return;
	p->inner_src = mapped(ip.saddr);
	p->inner_dst = mapped(ip.daddr);
	p->inner = at;
	p->kind = ERROR;
}

static inline void parse_inner6(struct __sk_buff *skb, struct packet *p)
{
	__u32 at = p->payload + ICMP_HEADER;
	struct ipv6hdr ip;

	p->kind = OTHER_ERROR;
	if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)) || ip.version != 6)
		return;
	p->protocol = ip.nexthdr;
	if (parse_ports(skb, p, at + sizeof(ip)))
		return;
	__builtin_memcpy(&p->inner_src, &ip.saddr, sizeof(p->inner_src));
	__builtin_memcpy(&p->inner_dst, &ip.daddr, sizeof(p->inner_dst));
	p->inner = at;
	p->kind = ERROR;
}

static inline int parse_icmp4(struct __sk_buff *skb, struct packet *p)
{
	__u8 type;

	if (bpf_skb_load_bytes(skb, p->payload, &type, 1))
		return -1;
	switch (type) {
	case ICMP4_ECHO_REPLY:
		p->kind = REPLY;
		break;
	case ICMP4_ECHO_REQUEST:
		p->kind = REQUEST;
		break;
	case ICMP4_UNREACHABLE:
	case ICMP4_TIME_EXCEEDED:
	case ICMP4_PARAMETER_PROBLEM:
		parse_inner4(skb, p);
		break;
	}
	return 0;
}

static inline int parse_icmp6(struct __sk_buff *skb, struct packet *p)
{
	__u8 type;

	if (bpf_skb_load_bytes(skb, p->payload, &type, 1))
		return -1;
	p->checksum = p->payload + ICMP_CHECKSUM;
	switch (type) {
	case ICMP6_ECHO_REPLY:
		p->kind = REPLY;
		break;
	case ICMP6_NEIGHBOR_ADVERTISEMENT:
	case ICMP6_ROUTER_ADVERTISEMENT:
		p->kind = ADVERTISEMENT;
		break;
	case ICMP6_ECHO_REQUEST:
		p->kind = REQUEST;
		break;
	case ICMP6_NEIGHBOR_SOLICITATION:
		p->kind = SOLICITATION;
		break;
	case ICMP6_UNREACHABLE:
	case ICMP6_PACKET_TOO_BIG:
	case ICMP6_TIME_EXCEEDED:
	case ICMP6_PARAMETER_PROBLEM:
		parse_inner6(skb, p);
		break;
	}
	return 0;
}

static inline int parse_payload(struct __sk_buff *skb, struct packet *p)
{
	__u8 flags;

	switch (p->protocol) {
	case IPPROTO_TCP:
		p->checksum = p->payload + __builtin_offsetof(struct tcphdr, check);
		/* The flags may be in a later fragment. */
		if (!bpf_skb_load_bytes(skb, p->payload + 13, &flags, 1))
			p->opens = (flags & 0x12) == 0x02; /* SYN without ACK */
		break;
	case IPPROTO_UDP:
		p->checksum = p->payload + __builtin_offsetof(struct udphdr, check);
		break;
	case IPPROTO_ICMP:
		return p->version == 4 ? parse_icmp4(skb, p) : 0;
	case IPPROTO_ICMPV6:
		return p->version == 6 ? parse_icmp6(skb, p) : 0;
	default:
		return 0;
	}
	p->kind = PORTS;
	return parse_ports(skb, p, p->payload);
}

/* Parses the payload of a packet or of a first fragment. The packet that an error is about may
 * be incomplete in a fragment.
 */
static inline int parse_first(struct __sk_buff *skb, struct packet *p, bool fragment)
{
	int bad = parse_payload(skb, p);

	if (p->kind == ERROR && fragment)
		p->kind = OTHER_ERROR;
	return bad;
}

static inline int parse4(struct __sk_buff *skb, struct packet *p)
{
	struct iphdr ip;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)) || ip.version != 4 || ip.ihl < 5)
		return -1;
	p->version = 4;
	p->protocol = ip.protocol;
	p->src = mapped(ip.saddr);
	p->dst = mapped(ip.daddr);
	p->payload = ETH_HLEN + 4 * ip.ihl;
	if (ip.frag_off & bpf_htons(0x1fff)) {
		p->kind = REPLY;
		return 0;
	}
	return parse_first(skb, p, ip.frag_off & bpf_htons(0x2000));
}

static inline int parse6(struct __sk_buff *skb, struct packet *p)
{
	struct {
		__u8 next, reserved;
		__be16 offset;
		__be32 id;
	} fragment;
	struct ipv6hdr ip;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)) || ip.version != 6)
		return -1;
	p->version = 6;
	p->protocol = ip.nexthdr;
	__builtin_memcpy(&p->src, &ip.saddr, sizeof(p->src));
	__builtin_memcpy(&p->dst, &ip.daddr, sizeof(p->dst));
	p->payload = ETH_HLEN + sizeof(ip);
	if (is_ip4(&p->src) || is_ip4(&p->dst))
		return -1; /* the programs would take it for a packet of IPv4 */
	if (ip.nexthdr == IPPROTO_FRAGMENT) {
		if (bpf_skb_load_bytes(skb, p->payload, &fragment, sizeof(fragment)))
			return -1;
		p->protocol = fragment.next;
		p->payload += sizeof(fragment);
		if (fragment.offset & bpf_htons(0xfff8)) {
			p->kind = REPLY;
			return 0;
		}
	}
	return parse_first(skb, p, ip.nexthdr == IPPROTO_FRAGMENT);
}

/* Returns a negative number for a truncated or invalid packet. The addresses are valid
 * if the version is.
 */
verified_once int parse(struct __sk_buff *skb, struct packet *p)
{
	if (!p)
		return -1;
	switch (skb->protocol) {
	case bpf_htons(ETH_P_IP):
		return parse4(skb, p);
	case bpf_htons(ETH_P_IPV6):
		return parse6(skb, p);
	}
	return -1;
}
