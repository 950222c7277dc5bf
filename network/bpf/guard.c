/* SPDX-License-Identifier: MPL-2.0 */
/* Traffic control programs over the frames that a guest sends, in every mode. Those that
 * pass go to the next filter.
 */

#include "packet.h"

/* Offsets in bits of the fields of the kernel's struct sk_buff that describe a checksum. */
struct checksum_fields {
	__u32 state; /* ip_summed, 2 bits */
	__u32 start; /* csum_start: begin of the sum, from the buffer's head on */
	__u32 place; /* csum_offset: of the checksum, from start on */
	__u32 header; /* mac_header: begin of the frame, from the buffer's head on */
};

const volatile struct checksum_fields checksum_fields = {};

#define CHECKSUM_PARTIAL 3 /* the kernel has yet to compute the checksum */

static inline int read_field(struct __sk_buff *skb, __u32 bit, __u16 *to)
{
	return bpf_probe_read_kernel(to, sizeof(*to), (void *)skb + bit / 8);
}

/* Returns the offset of the checksum that the kernel is to compute, or -1 for an invalid
 * place. Only TCP and UDP may have one.
 */
static inline int checksum_place(struct packet *p)
{
	if (p->protocol == IPPROTO_TCP)
		return p->payload + __builtin_offsetof(struct tcphdr, check);
	if (p->protocol == IPPROTO_UDP)
		return p->payload + __builtin_offsetof(struct udphdr, check);
	return -1;
}

static inline int parse_start(struct __sk_buff *skb, struct packet *p)
{
	struct ipv6hdr ip6;
	struct iphdr ip4;

	switch (skb->protocol) {
	case bpf_htons(ETH_P_IP):
		if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip4, sizeof(ip4)))
			return -1;
		p->protocol = ip4.protocol;
		p->payload = ETH_HLEN + 4 * ip4.ihl;
		return 0;
	case bpf_htons(ETH_P_IPV6):
		if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip6, sizeof(ip6)))
			return -1;
		p->protocol = ip6.nexthdr;
		p->payload = ETH_HLEN + sizeof(ip6);
		return 0;
	}
	return -1;
}

SEC("tc")
int check_checksum(struct __sk_buff *skb)
{
	__u16 state = 0, start = 0, place = 0, header = 0;
	struct packet p = {};

	if (bpf_probe_read_kernel(&state, 1, (void *)skb + checksum_fields.state / 8))
		return TC_ACT_SHOT;
	if ((state >> checksum_fields.state % 8 & 3) != CHECKSUM_PARTIAL)
		return TC_ACT_UNSPEC;
	if (read_field(skb, checksum_fields.start, &start) || read_field(skb, checksum_fields.place, &place) ||
	    read_field(skb, checksum_fields.header, &header) || parse_start(skb, &p))
		return TC_ACT_SHOT;
	/* The differences are modulo 65536, like the kernel's offsets. */
	if ((__u16)(start - header) != p.payload || start - header + place != checksum_place(&p))
		return TC_ACT_SHOT;
	return TC_ACT_UNSPEC;
}

#define COST_SHIFT 20 /* binary places of byte_cost */

const volatile __u64 byte_cost = 0; /* ns for a byte at the rate */
const volatile __u64 longest_wait = 0; /* ns */
__u64 sent_until = 0; /* when all frames so far have been sent at the rate, in ns */

/* A frame passes if sent_until is not too far ahead. The frame's length does not matter, so
 * large frames have the same chance as small ones.
 */
SEC("tc")
int limit_rate(struct __sk_buff *skb)
{
	__u64 now = bpf_ktime_get_ns(), until = sent_until;

	if (until < now)
		until = now;
	if (until - now > longest_wait)
		return TC_ACT_SHOT;
	sent_until = until + (skb->len * byte_cost >> COST_SHIFT);
	return TC_ACT_UNSPEC;
}

char program_license[] SEC("license") = "Dual MPL/GPL";
