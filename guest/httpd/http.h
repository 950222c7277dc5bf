/* SPDX-License-Identifier: MPL-2.0 */
#ifndef HTTPD_HTTP_H
#define HTTPD_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A piece of the bytes that a request came in. */
struct slice {
	const char *at;
	size_t length;
};

/* The head of a request, as far as it matters here. */
struct request {
	struct slice method;
	struct slice path;	/* without the query */
	struct slice query;	/* without the question mark */
	bool keep_alive;
	bool expects_continue;
	uint64_t body;		/* bytes that follow the head */
};

/*
 * Reads the head of a request from what has come so far. Gives its length, 0
 * while it is not whole, or what is wrong as a negative HTTP status: after that
 * nothing more can be understood of the connection.
 */
int http_read(const char *bytes, size_t length, struct request *request);

/* The words that go with a status. */
const char *http_reason(int status);

bool slice_is(struct slice s, const char *text);

/* The decimal number of the query's name=number, else the default. */
bool http_query_number(const struct request *request, const char *name,
		       uint64_t *value);

#endif
