/* SPDX-License-Identifier: MPL-2.0 */
#ifndef HTTPD_SERVER_H
#define HTTPD_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "http.h"

/* Room in an answer for a text that is made for it. */
#define ANSWER_TEXT 256

/*
 * What is answered: the first bytes of an endless repetition of some static
 * memory, or of text.
 */
struct answer {
	int status;
	const char *body;	/* null: text */
	size_t period;		/* bytes after which body repeats */
	uint64_t length;
	char text[ANSWER_TEXT];
};

/* Fills in the answer to a request whose method is GET or HEAD. */
typedef void server_page(const struct request *request, struct answer *answer);

/* Listens on a port and answers by page; log: a line for each request. */
bool server_start(uint16_t port, bool log, server_page *page);

#endif
