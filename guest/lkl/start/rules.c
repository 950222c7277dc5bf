/* SPDX-License-Identifier: MPL-2.0 */
/* A default route for what an interface's own address sends, by rtnetlink: no ioctl has rules and tables. */
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

/* The fixed part of a message's body. */
static struct message begin(int type, const void *fixed, size_t size)
{
	struct message m = { .header = {
		.nlmsg_len = NLMSG_LENGTH(size),
		.nlmsg_type = type,
		.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL,
	} };

	memcpy(NLMSG_DATA(&m.header), fixed, size);
	return m;
}

static void attribute(struct message *m, int type, const void *value, size_t size)
{
	struct rtattr *a = (struct rtattr *)((char *)m + NLMSG_ALIGN(m->header.nlmsg_len));

	a->rta_type = type;
	a->rta_len = RTA_LENGTH(size);
	memcpy(RTA_DATA(a), value, size);
	m->header.nlmsg_len = NLMSG_ALIGN(m->header.nlmsg_len) + RTA_ALIGN(a->rta_len);
}

/* The kernel's answer: 0 or a negative error number. */
static long ask(long socket, const struct message *m)
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
 * What the address sends looks into a table: first that of all routes but for the default ones, so that the others hold,
 * then its own.
 */
static long add_rule(long socket, const struct source *s, int table, bool others)
{
	struct fib_rule_hdr rule = { .family = s->family, .src_len = 8 * s->size, .table = table, .action = FR_ACT_TO_TBL };
	struct message m = begin(RTM_NEWRULE, &rule, sizeof(rule));
	uint32_t priority = 1000 + 2 * s->table + !others, no_default = 0;

	attribute(&m, FRA_SRC, s->address, s->size);
	attribute(&m, FRA_PRIORITY, &priority, sizeof(priority));
	if (others)
		attribute(&m, FRA_SUPPRESS_PREFIXLEN, &no_default, sizeof(no_default));
	return ask(socket, &m);
}

static long add_default(long socket, const struct source *s)
{
	struct rtmsg route = {
		.rtm_family = s->family, .rtm_table = s->table, .rtm_protocol = RTPROT_BOOT, .rtm_scope = RT_SCOPE_UNIVERSE,
		.rtm_type = RTN_UNICAST, .rtm_flags = RTNH_F_ONLINK,
	};
	struct message m = begin(RTM_NEWROUTE, &route, sizeof(route));

	attribute(&m, RTA_GATEWAY, s->gateway, s->size);
	attribute(&m, RTA_OIF, &s->interface, sizeof(s->interface));
	return ask(socket, &m);
}

long source_route(const struct source *s)
{
	long socket = CALL(SYS_socket, AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), err;

	if (socket < 0)
		return socket;
	err = add_default(socket, s);
	if (err == 0)
		err = add_rule(socket, s, RT_TABLE_MAIN, true);
	if (err == 0)
		err = add_rule(socket, s, s->table, false);
	CALL(SYS_close, socket);
	return err;
}
