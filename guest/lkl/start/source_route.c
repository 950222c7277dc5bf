/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Adds a default route for packets that are sent from one address. This takes a
 * rule and a table, which only rtnetlink can create.
 */
#include "start.h"

#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

struct message {
	struct nlmsghdr header;
	char body[128];
};

/* Begins a message whose body starts with a fixed structure. */
static struct message begin_message(int type, const void *fixed, size_t size)
{
	struct message m = { .header = {
		.nlmsg_len = NLMSG_LENGTH(size),
		.nlmsg_type = type,
		.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL,
	} };

	memcpy(NLMSG_DATA(&m.header), fixed, size);
	return m;
}

static void add_attribute(struct message *m, int type, const void *value, size_t size)
{
	struct rtattr *a = (struct rtattr *)((char *)m + NLMSG_ALIGN(m->header.nlmsg_len));

	a->rta_type = type;
	a->rta_len = RTA_LENGTH(size);
	memcpy(RTA_DATA(a), value, size);
	m->header.nlmsg_len = NLMSG_ALIGN(m->header.nlmsg_len) + RTA_ALIGN(a->rta_len);
}

/* Sends the message. Returns the kernel's answer: 0 or a negative error number. */
static long send_message(long socket, const struct message *m)
{
	struct message answer;
	long n = CALL(SYS_sendto, socket, m, m->header.nlmsg_len);

	if (n >= 0)
		n = CALL(SYS_recvfrom, socket, &answer, sizeof(answer));
	if (n < 0)
		return n;
	if ((size_t)n < NLMSG_LENGTH(sizeof(int)) || answer.header.nlmsg_type != NLMSG_ERROR)
		return -EPROTO;
	return ((struct nlmsgerr *)NLMSG_DATA(&answer.header))->error;
}

/*
 * Packets from the address are routed by a table. Two rules name one each: first
 * the main table without its default routes, so that all other routes still hold,
 * then the table with the new default route.
 */
static long add_rule(long socket, const struct source_route *r, bool main_table)
{
	struct fib_rule_hdr rule = {
		.family = r->family,
		.src_len = 8 * r->size,
		.table = main_table ? RT_TABLE_MAIN : r->table,
		.action = FR_ACT_TO_TBL,
	};
	struct message m = begin_message(RTM_NEWRULE, &rule, sizeof(rule));
	uint32_t priority = 1000 + 2 * r->table + !main_table, default_prefix = 0;

	add_attribute(&m, FRA_SRC, r->address, r->size);
	add_attribute(&m, FRA_PRIORITY, &priority, sizeof(priority));
	if (main_table)
		add_attribute(&m, FRA_SUPPRESS_PREFIXLEN, &default_prefix, sizeof(default_prefix));
	return send_message(socket, &m);
}

static long add_default_route(long socket, const struct source_route *r)
{
	struct rtmsg route = {
		.rtm_family = r->family,
		.rtm_table = r->table,
		.rtm_protocol = RTPROT_BOOT,
		.rtm_scope = RT_SCOPE_UNIVERSE,
		.rtm_type = RTN_UNICAST,
		.rtm_flags = RTNH_F_ONLINK,
	};
	struct message m = begin_message(RTM_NEWROUTE, &route, sizeof(route));

	add_attribute(&m, RTA_GATEWAY, r->gateway, r->size);
	add_attribute(&m, RTA_OIF, &r->interface, sizeof(r->interface));
	return send_message(socket, &m);
}

long source_route_add(const struct source_route *r)
{
	long socket = CALL(SYS_socket, AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), err;

	if (socket < 0)
		return socket;
	err = add_default_route(socket, r);
	if (err == 0)
		err = add_rule(socket, r, true);
	if (err == 0)
		err = add_rule(socket, r, false);
	CALL(SYS_close, socket);
	return err;
}
