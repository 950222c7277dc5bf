/* SPDX-License-Identifier: MPL-2.0 */
/* Messages of rtnetlink, which can do more than ioctl. */
#include "start.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

long netlink_open(void)
{
	return CALL(SYS_socket, AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
}

struct netlink_message netlink_begin(int type, const void *fixed, size_t size)
{
	struct netlink_message m = { .header = {
		.nlmsg_len = NLMSG_LENGTH(size),
		.nlmsg_type = type,
		.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL,
	} };

	memcpy(NLMSG_DATA(&m.header), fixed, size);
	return m;
}

void netlink_add(struct netlink_message *m, int type, const void *value, size_t size)
{
	struct rtattr *a = (struct rtattr *)((char *)m + NLMSG_ALIGN(m->header.nlmsg_len));

	a->rta_type = type;
	a->rta_len = RTA_LENGTH(size);
	memcpy(RTA_DATA(a), value, size);
	m->header.nlmsg_len = NLMSG_ALIGN(m->header.nlmsg_len) + RTA_ALIGN(a->rta_len);
}

long netlink_send(long socket, const struct netlink_message *m)
{
	struct netlink_message answer;
	long n = CALL(SYS_sendto, socket, m, m->header.nlmsg_len);

	if (n >= 0)
		n = CALL(SYS_recvfrom, socket, &answer, sizeof(answer));
	if (n < 0)
		return n;
	if ((size_t)n < NLMSG_LENGTH(sizeof(int)) || answer.header.nlmsg_type != NLMSG_ERROR)
		return -EPROTO;
	return ((struct nlmsgerr *)NLMSG_DATA(&answer.header))->error;
}
