/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Parser of HTTP/1.1 requests (RFC 9112). It rejects ambiguous requests, which
 * two implementations may understand differently.
 */
#include "http.h"

#include <string.h>

/* A summary of the header fields. */
struct fields {
	bool has_length, has_coding, has_host;
	bool close, keep_alive;
};

static char to_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c | 32) : c;
}

bool slice_is(struct slice s, const char *text)
{
	return s.length == strlen(text) && memcmp(s.at, text, s.length) == 0;
}

static bool equals_ignoring_case(struct slice s, const char *text)
{
	if (s.length != strlen(text))
		return false;
	for (size_t i = 0; i < s.length; i++)
		if (to_lower(s.at[i]) != text[i])
			return false;
	return true;
}

static bool slice_number(struct slice s, uint64_t *value)
{
	*value = 0;
	for (size_t i = 0; i < s.length; i++) {
		unsigned digit = (unsigned)(s.at[i] - '0');

		if (digit > 9 || __builtin_mul_overflow(*value, 10, value) ||
		    __builtin_add_overflow(*value, digit, value))
			return false;
	}
	return s.length > 0;
}

static bool is_token(struct slice s)
{
	static const char punctuation[] = "!#$%&'*+-.^_`|~";

	for (size_t i = 0; i < s.length; i++) {
		char c = to_lower(s.at[i]);

		if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') &&
		    (c == 0 || !strchr(punctuation, c)))
			return false;
	}
	return s.length > 0;
}

/* Removes the text before the first c, and c itself, from the front of s. */
static bool cut_at(struct slice *s, char c, struct slice *front)
{
	const char *p = memchr(s->at, c, s->length);

	if (!p)
		return false;
	*front = (struct slice){ s->at, (size_t)(p - s->at) };
	s->length -= front->length + 1;
	s->at = p + 1;
	return true;
}

static struct slice trim(struct slice s)
{
	while (s.length > 0 && (*s.at == ' ' || *s.at == '\t'))
		s.at++, s.length--;
	while (s.length > 0 && (s.at[s.length - 1] == ' ' ||
				s.at[s.length - 1] == '\t'))
		s.length--;
	return s;
}

/* Removes one line, which ends in CR LF or LF, from the front of s. */
static bool cut_line(struct slice *s, struct slice *l)
{
	if (!cut_at(s, '\n', l))
		return false;
	if (l->length > 0 && l->at[l->length - 1] == '\r')
		l->length--;
	return true;
}

/* Tabs are the only control characters that a head may contain. */
static bool has_no_control_characters(struct slice s)
{
	for (size_t i = 0; i < s.length; i++)
		if (((unsigned char)s.at[i] < ' ' && s.at[i] != '\t') ||
		    s.at[i] == 127)
			return false;
	return true;
}

/* Accepts a path or an absolute http URL. */
static int read_target(struct slice target, struct request *r)
{
	struct slice host;

	if (target.length > 7 && memcmp(target.at, "http://", 7) == 0) {
		target.at += 7;
		target.length -= 7;
		host = target;
		if (!cut_at(&target, '/', &host))
			return -400;
		target.at--;
		target.length++;
	}
	if (target.length == 0 || *target.at != '/')
		return slice_is(target, "*") ? -405 : -400;
	r->query = target;
	if (!cut_at(&r->query, '?', &r->path)) {
		r->path = target;
		r->query.length = 0;
	}
	return 0;
}

static int read_request_line(struct slice l, struct request *r)
{
	struct slice target;

	if (!has_no_control_characters(l) || !cut_at(&l, ' ', &r->method) ||
	    !is_token(r->method) || !cut_at(&l, ' ', &target))
		return -400;
	if (l.length != 8 || memcmp(l.at, "HTTP/", 5) != 0 || l.at[6] != '.')
		return -400;
	if (l.at[5] != '1' || l.at[7] < '0' || l.at[7] > '9')
		return -505;
	r->keep_alive = l.at[7] != '0';
	return read_target(target, r);
}

static void read_connection(struct slice value, struct fields *f)
{
	struct slice option;

	for (bool more = true; more;) {
		more = cut_at(&value, ',', &option);
		option = trim(more ? option : value);
		if (equals_ignoring_case(option, "close"))
			f->close = true;
		if (equals_ignoring_case(option, "keep-alive"))
			f->keep_alive = true;
	}
}

static int read_field(struct slice l, struct request *r, struct fields *f)
{
	struct slice name;
	uint64_t length;

	if (!has_no_control_characters(l) || !cut_at(&l, ':', &name) ||
	    !is_token(name))
		return -400;
	l = trim(l);
	if (equals_ignoring_case(name, "host")) {
		if (f->has_host)
			return -400;
		f->has_host = true;
	} else if (equals_ignoring_case(name, "content-length")) {
		if (!slice_number(l, &length) ||
		    (f->has_length && length != r->body))
			return -400;
		f->has_length = true;
		r->body = length;
	} else if (equals_ignoring_case(name, "transfer-encoding")) {
		f->has_coding = true;
	} else if (equals_ignoring_case(name, "connection")) {
		read_connection(l, f);
	} else if (equals_ignoring_case(name, "expect")) {
		r->expects_continue = equals_ignoring_case(l, "100-continue");
	}
	return 0;
}

/* Checks the combination of all fields, which decides about keep-alive. */
static int finish_head(struct request *r, const struct fields *f)
{
	if ((r->keep_alive && !f->has_host) || (f->has_length && f->has_coding))
		return -400;
	if (f->has_coding)
		return -501;
	r->keep_alive = (r->keep_alive || f->keep_alive) && !f->close;
	return 0;
}

int http_read(const char *bytes, size_t length, struct request *r)
{
	struct slice rest = { bytes, length }, l;
	struct fields f = { 0 };
	int error;

	memset(r, 0, sizeof(*r));
	do {
		if (!cut_line(&rest, &l))
			return 0;
	} while (l.length == 0);
	error = read_request_line(l, r);
	while (error == 0) {
		if (!cut_line(&rest, &l))
			return 0;
		if (l.length == 0) {
			error = finish_head(r, &f);
			return error ? error : (int)(rest.at - bytes);
		}
		error = read_field(l, r, &f);
	}
	return error;
}

const char *http_reason(int status)
{
	switch (status) {
	case 200:
		return "OK";
	case 400:
		return "Bad Request";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 408:
		return "Request Timeout";
	case 413:
		return "Content Too Large";
	case 431:
		return "Request Header Fields Too Large";
	case 501:
		return "Not Implemented";
	case 505:
		return "HTTP Version Not Supported";
	default:
		return "Unknown";
	}
}

bool http_query_number(const struct request *request, const char *name,
		       uint64_t *value)
{
	struct slice rest = request->query, pair, key;

	for (bool more = true; more;) {
		more = cut_at(&rest, '&', &pair);
		if (!more)
			pair = rest;
		if (cut_at(&pair, '=', &key) && slice_is(key, name))
			return slice_number(pair, value);
	}
	return false;
}
