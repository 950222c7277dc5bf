/* SPDX-License-Identifier: MPL-2.0 */
/* The aliases under which a guest reaches its neighbors and sees them. */

#define MAX_ADDRESSES 16

/* package programs sets these fields before it loads the programs. The compiler takes them
 * for zero wherever the code reads them without volatile.
 */
struct config {
	struct address own[MAX_ADDRESSES]; /* of the allocation's interface */
	struct address main4, main6; /* the first of each family */
	__u32 count; /* of own */
	__u32 tap; /* the interface's index */
	__u16 first, last; /* the guest's ephemeral ports */
	__u8 mac[ETH_ALEN]; /* of the guest */
	__u8 loopback_target; /* the guest exchanges packets from and to loopback addresses */
	__u8 rest; /* the guest has all ports that no neighbor uses */
	__u8 any_source_port; /* toward the interface */
	__u8 unused[3];
};

const volatile struct config config = {};

/* 192.0.0.0 and fd6c:6b6c:6c6b:: */
#define ALIAS4 bpf_htonl(0xc0000000)
#define ALIAS6_HIGH bpf_htonl(0xfd6c6b6c)
#define ALIAS6_LOW bpf_htonl(0x6c6b0000)

#define ALIAS_MAC ((const __u8[ETH_ALEN]){ 0x02, 'l', 'k', 'l', 0, 1 })

/* The number of an alias describes the addresses that neighbors see. A guest with
 * loopback_target has its end's address in the packet, and uses the first two only.
 */
enum {
	LOOPBACK_ALIAS = 1, /* both ends have the loopback address */
	ADDRESS_ALIAS, /* both ends have the interface's address */
	NEIGHBOR_LOOPBACK_ALIAS, /* only the neighbor has the loopback address */
	GUEST_LOOPBACK_ALIAS, /* only the guest has it */
};

/* Reports whether an address is in the network of the aliases, and stores its number,
 * which may be that of no alias.
 */
static inline bool is_alias(const struct address *a, __u32 *number)
{
	if (is_ip4(a)) {
		*number = bpf_ntohl(a->word[3]) & 7;
		return (a->word[3] & bpf_htonl(0xfffffff8)) == ALIAS4;
	}
	*number = a->word[2] ? 0 : bpf_ntohl(a->word[3]);
	return a->word[0] == ALIAS6_HIGH && a->word[1] == ALIAS6_LOW;
}

static inline struct address alias(bool ip4, __u32 number)
{
	if (ip4)
		return mapped(ALIAS4 | bpf_htonl(number));
	return (struct address){ { ALIAS6_HIGH, ALIAS6_LOW, 0, bpf_htonl(number) } };
}

static inline bool is_unspecified(const struct address *a)
{
	return !(a->word[0] | a->word[1] | a->word[2] | a->word[3]);
}

/* The network 127.0.0.0/8, and ::1. */
static inline bool is_loopback(const struct address *a)
{
	if (is_ip4(a))
		return (a->word[3] & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
	return !(a->word[0] | a->word[1] | a->word[2] | (a->word[3] ^ bpf_htonl(1)));
}

verified_once int is_own(const struct address *a)
{
	bool found = false;

	if (!a)
		return false;
	for (__u32 i = 0; i < MAX_ADDRESSES && i < config.count; i++) {
		const volatile struct address *own = &config.own[i];

		found |= !((own->word[0] ^ a->word[0]) | (own->word[1] ^ a->word[1]) |
			   (own->word[2] ^ a->word[2]) | (own->word[3] ^ a->word[3]));
	}
	return found;
}

static inline struct address loopback(bool ip4)
{
	if (ip4)
		return mapped(bpf_htonl(0x7f000001));
	return (struct address){ { 0, 0, 0, bpf_htonl(1) } };
}

static inline struct address main_address(bool ip4)
{
	const volatile struct address *from = ip4 ? &config.main4 : &config.main6;

	return (struct address){ { from->word[0], from->word[1], from->word[2], from->word[3] } };
}

/* Translates the addresses of a packet between a neighbor (peer) and the guest (own), as
 * neighbors see them, to those that the guest sees. Both must be loopback addresses or
 * own addresses. A negative result means that the guest cannot see this pair.
 */
verified_once int to_guest(struct address *peer, struct address *own)
{
	bool ip4, peer_loopback, own_loopback;
	struct address lo;
	__u32 number;

	if (!peer || !own)
		return -1;
	ip4 = is_ip4(peer);
	lo = loopback(ip4);
	peer_loopback = is_loopback(peer);
	own_loopback = is_loopback(own);
	if (peer_loopback && !same(peer, &lo))
		return -1; /* the way back leads to 127.0.0.1 */
	number = peer_loopback ? LOOPBACK_ALIAS : ADDRESS_ALIAS;
	if (!config.loopback_target) {
		if (peer_loopback != own_loopback)
			number = peer_loopback ? NEIGHBOR_LOOPBACK_ALIAS : GUEST_LOOPBACK_ALIAS;
		if (own_loopback) {
			if (!same(own, &lo))
				return -1;
			*own = main_address(ip4);
		}
	}
	*peer = alias(ip4, number);
	return is_unspecified(own) ? -1 : 0;
}

/* The inverse of to_guest. A negative result means that the guest may not send from or to
 * such an address.
 */
verified_once int to_neighbor(struct address *peer, struct address *own)
{
	bool ip4, from_loopback;
	struct address lo;
	__u32 number;

	if (!peer || !own)
		return -1;
	ip4 = is_ip4(peer);
	lo = loopback(ip4);
	from_loopback = config.loopback_target && same(own, &lo);
	if (ip4 != is_ip4(own) || !is_alias(peer, &number) || (!from_loopback && !is_own(own)))
		return -1;
	switch (number) {
	case LOOPBACK_ALIAS:
		*peer = lo;
		if (!config.loopback_target)
			*own = lo;
		return 0;
	case ADDRESS_ALIAS:
		*peer = from_loopback ? main_address(ip4) : *own;
		return is_unspecified(peer) ? -1 : 0;
	case NEIGHBOR_LOOPBACK_ALIAS:
		*peer = lo;
		return config.loopback_target ? -1 : 0;
	case GUEST_LOOPBACK_ALIAS:
		*peer = *own;
		*own = lo;
		return config.loopback_target ? -1 : 0;
	}
	return -1;
}
