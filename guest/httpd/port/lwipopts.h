/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The configuration of lwIP: no threads, the raw interface, TCP over IPv4 and
 * IPv6. All pools are static, so the guest never allocates memory.
 */
#ifndef LWIP_LWIPOPTS_H
#define LWIP_LWIPOPTS_H

#define NO_SYS 1
#define SYS_LIGHTWEIGHT_PROT 0
#define LWIP_NETCONN 0
#define LWIP_SOCKET 0
#define LWIP_STATS 0
#define LWIP_UDP 0
#define LWIP_RAW 0
#define LWIP_DHCP 0
#define LWIP_CHKSUM_ALGORITHM 3

/* Memory. httpd copies received packets at once and holds none. */
#define MEM_ALIGNMENT 8
#define MEM_SIZE (1024 * 1024)
#define MEMP_NUM_TCP_PCB 320	/* connections, and some in TIME_WAIT */
#define MEMP_NUM_TCP_PCB_LISTEN 2
#define MEMP_NUM_TCP_SEG 4096
#define MEMP_NUM_PBUF 4096
#define PBUF_POOL_SIZE 256
#define PBUF_POOL_BUFSIZE 1536

/* TCP */
#define TCP_MSS 1460
#define TCP_WND 8192		/* SERVER_INPUT of server.c */
#define LWIP_WND_SCALE 1
#define TCP_RCV_SCALE 0
#define TCP_SND_BUF (64 * 1024)
#define TCP_SND_QUEUELEN 256
#define TCP_OVERSIZE TCP_MSS
#define TCP_OOSEQ_MAX_PBUFS 8
#define TCP_LISTEN_BACKLOG 1
#define LWIP_TCP_TIMESTAMPS 0
/* Clients may reuse a port soon, so TIME_WAIT lasts 1 s instead of 120 s. */
#define TCP_MSL 500UL
#define LWIP_HOOK_TCP_ISN(local, lport, remote, rport) net_random()

/* IPv4 */
#define IP_REASSEMBLY 1
#define IP_FRAG 1
#define ARP_TABLE_SIZE 32
#define ETHARP_TRUST_IP_MAC 0
#define LWIP_IPV4_LINKLOCAL 0

/* IPv6 with configured addresses */
#define LWIP_IPV6 1
#define IPV6_FRAG_COPYHEADER 1
#define LWIP_IPV6_AUTOCONFIG 0
#define LWIP_IPV6_SEND_ROUTER_SOLICIT 0
#define LWIP_ND6_NUM_NEIGHBORS 32
struct netif;
struct ip6_addr;
const struct ip6_addr *net_gateway6(struct netif *netif,
				    const struct ip6_addr *to);
#define LWIP_HOOK_ND6_GET_GW(netif, to) net_gateway6(netif, to)

#endif
