/* SPDX-License-Identifier: MPL-2.0 */
/* Recursive descent; each function leaves r->at behind what it has read. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "json.h"

#define DEPTH_MAX 16

struct reader {
	const char *at;
	int depth;
	void (*tell)(void *to, const char *name, const char *value);
	void *to;
	char name[JSON_NAME_MAX];
	char value[JSON_VALUE_MAX];
};

static bool value(struct reader *r);

static void space(struct reader *r)
{
	while (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' ||
	       *r->at == '\r')
		r->at++;
}

/* Takes one given character, with the space before it. */
static bool take(struct reader *r, char c)
{
	space(r);
	if (*r->at != c)
		return false;
	r->at++;
	return true;
}

static bool hex4(struct reader *r, uint32_t *code)
{
	*code = 0;
	for (int i = 0; i < 4; i++, r->at++) {
		char c = *r->at;

		if (c >= '0' && c <= '9')
			*code = *code * 16 + (uint32_t)(c - '0');
		else if ((c | 32) >= 'a' && (c | 32) <= 'f')
			*code = *code * 16 + (uint32_t)((c | 32) - 'a' + 10);
		else
			return false;
	}
	return true;
}

/* The code point of \u, two of them for one outside of the basic plane. */
static bool code_point(struct reader *r, uint32_t *code)
{
	uint32_t low;

	if (!hex4(r, code))
		return false;
	if (*code < 0xd800 || *code > 0xdfff)
		return *code != 0;
	if (*code > 0xdbff || r->at[0] != '\\' || r->at[1] != 'u')
		return false;
	r->at += 2;
	if (!hex4(r, &low) || low < 0xdc00 || low > 0xdfff)
		return false;
	*code = 0x10000 + ((*code - 0xd800) << 10) + (low - 0xdc00);
	return true;
}

static size_t utf8(uint32_t code, char *to)
{
	static const unsigned char first[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
	size_t n = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;

	for (size_t i = n - 1; i > 0; i--, code >>= 6)
		to[i] = (char)(0x80 | (code & 0x3f));
	to[0] = (char)(first[n] | code);
	return n;
}

/* What stands after a backslash, as UTF-8 in to; 0 is a mistake. */
static size_t escape(struct reader *r, char *to)
{
	static const char from[] = "\"\\/bfnrt", as[] = "\"\\/\b\f\n\r\t";
	const char *p = *r->at ? strchr(from, *r->at) : NULL;
	uint32_t code;

	if (p) {
		r->at++;
		*to = as[p - from];
		return 1;
	}
	if (*r->at++ != 'u' || !code_point(r, &code))
		return 0;
	return utf8(code, to);
}

static bool string(struct reader *r, char *to, size_t size)
{
	size_t length = 0;

	if (!take(r, '"'))
		return false;
	while (*r->at != '"') {
		char bytes[4];
		size_t n = 1;

		if ((unsigned char)*r->at < ' ')
			return false;
		bytes[0] = *r->at++;
		if (bytes[0] == '\\')
			n = escape(r, bytes);
		if (n == 0 || length + n >= size)
			return false;
		memcpy(to + length, bytes, n);
		length += n;
	}
	r->at++;
	to[length] = 0;
	return true;
}

static bool digits(const char **p)
{
	const char *start = *p;

	while (**p >= '0' && **p <= '9')
		(*p)++;
	return *p > start;
}

/* A number or a literal, told as it is written. */
static bool bare(struct reader *r)
{
	static const char *const literals[] = { "true", "false", "null" };
	const char *p = r->at;

	for (int i = 0; i < 3 && p == r->at; i++)
		if (strncmp(p, literals[i], strlen(literals[i])) == 0)
			p += strlen(literals[i]);
	if (p == r->at) {
		p += *p == '-';
		if (*p == '0')
			p++;
		else if (!digits(&p))
			return false;
		if (*p == '.' && (p++, !digits(&p)))
			return false;
		if (*p == 'e' || *p == 'E') {
			p++;
			p += *p == '+' || *p == '-';
			if (!digits(&p))
				return false;
		}
	}
	if ((size_t)(p - r->at) >= sizeof(r->value))
		return false;
	memcpy(r->value, r->at, (size_t)(p - r->at));
	r->value[p - r->at] = 0;
	r->at = p;
	return true;
}

/* One member of an object or array, whose name is added to the way to it. */
static bool member(struct reader *r, bool object, int index)
{
	size_t length = strlen(r->name);
	size_t dot = length > 0;
	char *name = r->name + length + dot;
	size_t room = sizeof(r->name) - length - dot;
	bool ok = length + dot < sizeof(r->name);

	if (ok && dot)
		r->name[length] = '.';
	if (ok && object)
		ok = string(r, name, room) && take(r, ':');
	else if (ok)
		ok = (size_t)snprintf(name, room, "%d", index) < room;
	ok = ok && value(r);
	if (ok)
		r->name[length] = 0;
	return ok;
}

static bool members(struct reader *r, char close)
{
	if (take(r, close))
		return true;
	for (int i = 0;; i++) {
		if (!member(r, close == '}', i))
			return false;
		if (take(r, close))
			return true;
		if (!take(r, ','))
			return false;
	}
}

static bool value(struct reader *r)
{
	bool ok;

	space(r);
	if (*r->at == '{' || *r->at == '[') {
		if (++r->depth > DEPTH_MAX)
			return false;
		ok = members(r, *r->at++ == '{' ? '}' : ']');
		r->depth--;
		return ok;
	}
	ok = *r->at == '"' ? string(r, r->value, sizeof(r->value)) : bare(r);
	if (ok)
		r->tell(r->to, r->name, r->value);
	return ok;
}

const char *json_read(const char *text,
		      void (*tell)(void *to, const char *name,
				   const char *value),
		      void *to)
{
	struct reader r = { .at = text, .tell = tell, .to = to };

	if (!value(&r))
		return r.at;
	space(&r);
	return *r.at ? r.at : NULL;
}
