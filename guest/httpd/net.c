/* SPDX-License-Identifier: MPL-2.0 */
/* lwIP on Solo5: one interface, the clock, and the event loop. */
#include <lwip/etharp.h>
#include <lwip/ethip6.h>
#include <lwip/init.h>
#include <lwip/netif.h>
#include <lwip/sys.h>
#include <lwip/timeouts.h>
#include <netif/ethernet.h>
#include <solo5.h>
#include <string.h>

#include "net.h"

#define FRAME_MAX 1514
#define NSEC_PER_MSEC 1000000UL
/* The maximum number of frames received between two checks of the timers. */
#define BURST_MAX 64

static struct netif netif;
static ip6_addr_t gateway6;
static solo5_handle_t tap;
static struct solo5_net_info tap_info;

u32_t sys_now(void)
{
	return (u32_t)(solo5_clock_monotonic() / NSEC_PER_MSEC);
}

/* Not cryptographically secure. lwIP uses it for initial sequence numbers. */
uint32_t net_random(void)
{
	static uint64_t state;
	uint64_t z;

	if (state == 0)
		state = solo5_clock_wall() ^ solo5_clock_monotonic() << 20;
	z = state += 0x9e3779b97f4a7c15;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return (uint32_t)(z >> 32);
}

const struct ip6_addr *net_gateway6(struct netif *on, const struct ip6_addr *to)
{
	(void)on;
	(void)to;
	return ip6_addr_isany(&gateway6) ? NULL : &gateway6;
}

/* Drops the frame if the host's queue is full, as any network may. */
static err_t transmit_frame(struct netif *on, struct pbuf *p)
{
	static uint8_t frame[FRAME_MAX];
	const uint8_t *data = p->payload;

	(void)on;
	if (p->tot_len > sizeof(frame))
		return ERR_IF;
	if (p->next) {
		pbuf_copy_partial(p, frame, p->tot_len, 0);
		data = frame;
	}
	return solo5_net_write(tap, data, p->tot_len) == SOLO5_R_OK ? ERR_OK :
								      ERR_IF;
}

/* Receives one frame, and drops it if lwIP has no memory for it. */
static bool receive_frame(void)
{
	static uint8_t dropped[FRAME_MAX];
	struct pbuf *p = pbuf_alloc(PBUF_RAW, FRAME_MAX, PBUF_POOL);
	size_t size;

	if (solo5_net_read(tap, p ? p->payload : dropped, FRAME_MAX, &size) !=
	    SOLO5_R_OK) {
		if (p)
			pbuf_free(p);
		return false;
	}
	if (p) {
		pbuf_realloc(p, (u16_t)size);
		if (netif.input(p, &netif) != ERR_OK)
			pbuf_free(p);
	}
	return true;
}

static err_t netif_set_up_device(struct netif *n)
{
	n->name[0] = 't';
	n->name[1] = 'p';
	n->hwaddr_len = 6;
	memcpy(n->hwaddr, tap_info.mac_address, 6);
	n->mtu = (u16_t)tap_info.mtu;
	n->output = etharp_output;
	n->output_ip6 = ethip6_output;
	n->linkoutput = transmit_frame;
	n->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP |
		   NETIF_FLAG_ETHERNET | NETIF_FLAG_LINK_UP | NETIF_FLAG_MLD6;
	return ERR_OK;
}

static void set_up_ip6(const struct config *config)
{
	netif_create_ip6_linklocal_address(&netif, 1);
	netif_ip6_addr_set_state(&netif, 0, IP6_ADDR_PREFERRED);
	if (ip6_addr_isany_val(config->ip6))
		return;
	netif_ip6_addr_set(&netif, 1, &config->ip6);
	netif_ip6_addr_set_state(&netif, 1, IP6_ADDR_PREFERRED);
	gateway6 = config->gateway6;
}

bool net_start(const struct config *config)
{
	if (solo5_net_acquire("tap", &tap, &tap_info) != SOLO5_R_OK) {
		printf("httpd: no network device \"tap\"\n");
		return false;
	}
	if (config->has_mac)
		memcpy(tap_info.mac_address, config->mac, 6);
	if (config->mtu && config->mtu < tap_info.mtu)
		tap_info.mtu = config->mtu;
	if (tap_info.mtu > FRAME_MAX - 14)
		tap_info.mtu = FRAME_MAX - 14;

	lwip_init();
	if (!netif_add(&netif, &config->ip, &config->mask, &config->gateway,
		       NULL, netif_set_up_device, ethernet_input))
		return false;
	netif_set_default(&netif);
	netif_set_up(&netif);
	set_up_ip6(config);
	return true;
}

void net_run(void)
{
	for (;;) {
		u32_t sleep;
		solo5_time_t deadline;

		sys_check_timeouts();
		sleep = sys_timeouts_sleeptime();
		deadline = UINT64_MAX;
		if (sleep != SYS_TIMEOUTS_SLEEPTIME_INFINITE)
			deadline = solo5_clock_monotonic() +
				   sleep * NSEC_PER_MSEC;
		solo5_yield(deadline, NULL);
		for (int i = 0; i < BURST_MAX && receive_frame(); i++)
			;
	}
}
