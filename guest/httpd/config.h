/* SPDX-License-Identifier: MPL-2.0 */
#ifndef HTTPD_CONFIG_H
#define HTTPD_CONFIG_H

#include <lwip/ip4_addr.h>
#include <lwip/ip6_addr.h>
#include <stdbool.h>
#include <words.h>

/* The configuration of httpd. An address of zero is not set. */
struct config {
	const struct words *words;	/* the whole command line */
	int environment;		/* number of leading words NAME=VALUE */
	ip4_addr_t ip, mask, gateway;
	ip6_addr_t ip6, gateway6;
	uint64_t mtu;			/* 0 selects the device's MTU */
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
 * or the command line of an LKL guest, NAME=VALUE… --config JSON -- WORDS…. There
 * plain words override the JSON document. Prints each mistake, and returns false
 * after any.
 */
bool config_read(struct config *config, const char *command_line);

#endif
