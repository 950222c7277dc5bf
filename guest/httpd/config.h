/* SPDX-License-Identifier: MPL-2.0 */
#ifndef HTTPD_CONFIG_H
#define HTTPD_CONFIG_H

#include <lwip/ip4_addr.h>
#include <lwip/ip6_addr.h>
#include <stdbool.h>
#include <words.h>

/* What httpd is told on its command line. */
struct config {
	const struct words *words;	/* all of them */
	int environment;		/* how many of them are environment */
	ip4_addr_t ip, mask, gateway;
	ip6_addr_t ip6, gateway6;	/* any: none */
	uint64_t mtu;			/* 0: as the device has it */
	bool has_mac;
	uint8_t mac[6];
	uint16_t port;
	bool log;
};

/*
 * Reads a command line, either plain words
 *
 *	ip=ADDRESS/LENGTH [gw=ADDRESS] [ip6=ADDRESS/LENGTH] [gw6=ADDRESS]
 *	[mac=MAC] [mtu=N] [port=N] [log=0]
 *
 * or that of the lkl flavour, NAME=VALUE… --config JSON -- WORDS…, in which the
 * words may say the same, and have the last word. Mistakes are printed.
 */
bool config_read(struct config *config, const char *command_line);

#endif
