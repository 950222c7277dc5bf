/* SPDX-License-Identifier: MPL-2.0 */
/*
 * A web server:
 *
 *	/		its name, uptime and number of requests
 *	/env		its environment, one variable a line
 *	/health		200
 *	/big?n=BYTES	a body of that size
 *
 * config.h describes its command line.
 */
#include <solo5_devices.h>
#include <stdio.h>
#include <string.h>

#include "config.h"
#include "net.h"
#include "server.h"

/* The body of /big, repeated: lines of 64 bytes. */
#define BIG_LINE 64
#define BIG_SIZE 16384

static char environment[8192];
static size_t environment_length;
static char big[BIG_SIZE];
static solo5_time_t started;
static uint64_t requests;

static void page_root(const struct request *request, struct answer *answer)
{
	uint64_t ms = (solo5_clock_monotonic() - started) / 1000000;

	(void)request;
	answer->length = (uint64_t)snprintf(
		answer->text, sizeof(answer->text),
		"httpd on Solo5 %s, up %lu.%03lu s, %lu requests\n",
		solo5_target(), ms / 1000, ms % 1000, requests);
}

static void page_env(const struct request *request, struct answer *answer)
{
	(void)request;
	answer->body = environment;
	answer->period = sizeof(environment);
	answer->length = environment_length;
}

static void page_health(const struct request *request, struct answer *answer)
{
	(void)request;
	answer->length = (uint64_t)snprintf(answer->text, sizeof(answer->text),
					    "ok\n");
}

static void page_big(const struct request *request, struct answer *answer)
{
	if (!http_query_number(request, "n", &answer->length)) {
		answer->status = 400;
		answer->length = (uint64_t)snprintf(answer->text,
						    sizeof(answer->text),
						    "/big?n=BYTES\n");
		return;
	}
	answer->body = big;
	answer->period = sizeof(big);
}

static const struct {
	const char *path;
	server_page *page;
} pages[] = {
	{ "/", page_root },
	{ "/env", page_env },
	{ "/health", page_health },
	{ "/big", page_big },
};

static void page(const struct request *request, struct answer *answer)
{
	requests++;
	answer->status = 200;
	for (unsigned i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
		if (slice_is(request->path, pages[i].path)) {
			pages[i].page(request, answer);
			return;
		}
	}
	answer->status = 404;
	answer->length = (uint64_t)snprintf(answer->text, sizeof(answer->text),
					    "not found\n");
}

static void fill_environment(const struct config *config)
{
	char *to = environment;

	for (int i = 0; i < config->environment; i++) {
		const char *word = config->words->word[i];
		size_t length = strlen(word);

		/* Variables for the system below the program. */
		if (strncmp(word, "__RUMP_", 7) == 0)
			continue;
		memcpy(to, word, length);
		to[length] = '\n';
		to += length + 1;
	}
	environment_length = (size_t)(to - environment);
}

static void fill_big(void)
{
	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = i % BIG_LINE == BIG_LINE - 1 ?
				 '\n' :
				 (char)('0' + i % BIG_LINE);
}

int solo5_app_main(const struct solo5_start_info *info)
{
	static struct config config;

	started = solo5_clock_monotonic();
	if (!config_read(&config, info->cmdline))
		return SOLO5_EXIT_FAILURE;
	fill_environment(&config);
	fill_big();
	if (!net_start(&config))
		return SOLO5_EXIT_FAILURE;
	if (!server_start(config.port, config.log, page)) {
		printf("httpd: cannot listen on port %d\n", config.port);
		return SOLO5_EXIT_FAILURE;
	}
	printf("httpd: listening on %s port %d\n",
	       ip4_addr_isany_val(config.ip) ? ip6addr_ntoa(&config.ip6) :
					       ip4addr_ntoa(&config.ip),
	       config.port);
	net_run();
}
