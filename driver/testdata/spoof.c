/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Sends a datagram with a forged source address in a frame that it makes, and then
 * one in the usual way. The arguments are the forged address and the receiver's.
 */
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define PORT 9

struct frame {
	struct ether_header ether;
	struct iphdr ip;
	struct udphdr udp;
	char text[6];
} __attribute__((packed));

static unsigned short checksum(const void *header)
{
	unsigned short words[sizeof(struct iphdr) / 2];
	unsigned int sum = 0;

	memcpy(words, header, sizeof(words));
	for (unsigned int i = 0; i < sizeof(words) / 2; i++)
		sum += words[i];
	sum = (sum & 0xffff) + (sum >> 16);
	return ~(sum + (sum >> 16));
}

static int send_forged(const char *from, const char *to)
{
	int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_IP));
	struct sockaddr_ll link = { .sll_family = AF_PACKET, .sll_ifindex = if_nametoindex("eth0") };
	struct frame f = { .text = "forged" };
	struct ifreq request = { .ifr_name = "eth0" };

	if (fd < 0 || ioctl(fd, SIOCGIFHWADDR, &request) < 0)
		return -1;
	memset(f.ether.ether_dhost, 0xff, ETH_ALEN);
	memcpy(f.ether.ether_shost, request.ifr_hwaddr.sa_data, ETH_ALEN);
	f.ether.ether_type = htons(ETH_P_IP);
	f.ip = (struct iphdr){ .version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_UDP };
	f.ip.tot_len = htons(sizeof(f) - sizeof(f.ether));
	f.ip.saddr = inet_addr(from);
	f.ip.daddr = inet_addr(to);
	f.ip.check = checksum(&f.ip);
	f.udp.uh_dport = f.udp.uh_sport = htons(PORT);
	f.udp.uh_ulen = htons(sizeof(f.udp) + sizeof(f.text));
	return sendto(fd, &f, sizeof(f), 0, (struct sockaddr *)&link, sizeof(link));
}

static int send_honest(const char *to)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(PORT) };

	address.sin_addr.s_addr = inet_addr(to);
	return sendto(socket(AF_INET, SOCK_DGRAM, 0), "honest", 6, 0, (struct sockaddr *)&address,
		      sizeof(address));
}

int main(int argc, char **argv)
{
	if (argc != 3 || send_forged(argv[1], argv[2]) < 0 || send_honest(argv[2]) < 0)
		return perror("spoof"), 1;
	printf("ready\n");
	fflush(stdout);
	pause();
	return 0;
}
