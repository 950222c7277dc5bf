/* SPDX-License-Identifier: MPL-2.0 */
#ifndef HTTPD_HTTP_H
#define HTTPD_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A part of the received bytes. */
struct slice {
	const char *at;
	size_t length;
};

/* The parts of a request's head that httpd uses. */
struct request {
	struct slice method;
	struct slice path;	/* without the query */
	struct slice query;	/* without the question mark */
	bool keep_alive;
	bool expects_continue;
	uint64_t body;		/* size of the body */
};

/*
 * Reads the head of a request from the bytes received so far. Returns the length
 * of the head, or 0 while it is incomplete. A negative HTTP status reports a bad
 * request; the rest of the connection is then unusable.
 */
int http_read(const char *bytes, size_t length, struct request *request);

/* Returns the reason phrase of a status. */
const char *http_reason(int status);

bool slice_is(struct slice s, const char *text);

/* Parses the number of name=number in the query. Returns false without one. */
bool http_query_number(const struct request *request, const char *name,
		       uint64_t *value);

#endif
