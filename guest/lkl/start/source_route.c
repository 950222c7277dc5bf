/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Adds a default route for packets that are sent from one address. This takes a
 * rule and a table, which only rtnetlink can create.
 */
#include "start.h"

#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>

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
	struct netlink_message m = netlink_begin(RTM_NEWRULE, &rule, sizeof(rule));
	uint32_t priority = 1000 + 2 * r->table + !main_table, default_prefix = 0;

	netlink_add(&m, FRA_SRC, r->address, r->size);
	netlink_add(&m, FRA_PRIORITY, &priority, sizeof(priority));
	if (main_table)
		netlink_add(&m, FRA_SUPPRESS_PREFIXLEN, &default_prefix, sizeof(default_prefix));
	return netlink_send(socket, &m);
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
	struct netlink_message m = netlink_begin(RTM_NEWROUTE, &route, sizeof(route));

	netlink_add(&m, RTA_GATEWAY, r->gateway, r->size);
	netlink_add(&m, RTA_OIF, &r->interface, sizeof(r->interface));
	return netlink_send(socket, &m);
}

long source_route_add(const struct source_route *r)
{
	long socket = netlink_open(), err;

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
