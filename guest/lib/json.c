/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Recursive descent: each function leaves r->at after the text that it read.
 *
 * A decoded value is written to r->out, which never overtakes r->at: a string
 * loses at least its quotes, and a bare value follows a '[', ',' or ':', whose
 * place its terminating NUL takes.
 */
#include <json.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define DEPTH_MAX 32

struct reader {
	char *at;
	char *out;
	int depth;
	int quiet;	/* depth of the object or array that is not visited */
	json_visitor *visit;
	void *to;
	size_t path_length;
	size_t key;	/* offset of the last part of the path */
	char path[JSON_PATH_MAX];
};

static bool read_value(struct reader *r);

static void skip_space(struct reader *r)
{
	while (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' ||
	       *r->at == '\r')
		r->at++;
}

/* Skips white space and the character c, if that follows. */
static bool accept(struct reader *r, char c)
{
	skip_space(r);
	if (*r->at != c)
		return false;
	r->at++;
	return true;
}

static bool read_hex4(struct reader *r, uint32_t *code)
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

/*
 * Reads the digits after \u. A code point outside the basic plane takes two
 * such escapes, a surrogate pair. NUL would cut the string short: an error.
 */
static bool read_code_point(struct reader *r, uint32_t *code)
{
	uint32_t low;

	if (!read_hex4(r, code))
		return false;
	if (*code < 0xd800 || *code > 0xdfff)
		return *code != 0;
	if (*code > 0xdbff || r->at[0] != '\\' || r->at[1] != 'u')
		return false;
	r->at += 2;
	if (!read_hex4(r, &low) || low < 0xdc00 || low > 0xdfff)
		return false;
	*code = 0x10000 + ((*code - 0xd800) << 10) + (low - 0xdc00);
	return true;
}

static void put_utf8(struct reader *r, uint32_t code)
{
	static const unsigned char first[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
	size_t n = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;

	for (size_t i = n - 1; i > 0; i--, code >>= 6)
		r->out[i] = (char)(0x80 | (code & 0x3f));
	r->out[0] = (char)(first[n] | code);
	r->out += n;
}

/* Decodes the escape whose backslash has been read. */
static bool read_escape(struct reader *r)
{
	static const char names[] = "\"\\/bfnrt", bytes[] = "\"\\/\b\f\n\r\t";
	const char *name = *r->at ? strchr(names, *r->at) : NULL;
	uint32_t code;

	if (name) {
		r->at++;
		*r->out++ = bytes[name - names];
		return true;
	}
	if (*r->at != 'u')
		return false;
	r->at++;
	if (!read_code_point(r, &code))
		return false;
	put_utf8(r, code);
	return true;
}

static bool read_string(struct reader *r)
{
	if (!accept(r, '"'))
		return false;
	while (*r->at != '"') {
		if ((unsigned char)*r->at < ' ')
			return false;
		if (*r->at != '\\') {
			*r->out++ = *r->at++;
			continue;
		}
		r->at++;
		if (!read_escape(r))
			return false;
	}
	r->at++;
	*r->out++ = 0;
	return true;
}

static bool skip_digits(struct reader *r)
{
	const char *start = r->at;

	while (*r->at >= '0' && *r->at <= '9')
		r->at++;
	return r->at > start;
}

static bool skip_number(struct reader *r)
{
	r->at += *r->at == '-';
	if (*r->at == '0')
		r->at++;
	else if (!skip_digits(r))
		return false;
	if (*r->at == '.') {
		r->at++;
		if (!skip_digits(r))
			return false;
	}
	if (*r->at == 'e' || *r->at == 'E') {
		r->at++;
		r->at += *r->at == '+' || *r->at == '-';
		return skip_digits(r);
	}
	return true;
}

static bool read_bare(struct reader *r)
{
	static const char *const literals[] = { "true", "false", "null" };
	const char *start = r->at;

	for (int i = 0; i < 3 && r->at == start; i++)
		if (strncmp(start, literals[i], strlen(literals[i])) == 0)
			r->at += strlen(literals[i]);
	if (r->at == start && !skip_number(r))
		return false;
	memmove(r->out, start, (size_t)(r->at - start));
	r->out += r->at - start;
	*r->out++ = 0;
	return true;
}

static bool visit(struct reader *r, enum json_type type, const char *text)
{
	struct json_value value = {
		.type = type,
		.depth = r->depth,
		.path = r->path,
		.key = r->path + r->key,
		.text = text,
	};

	return !r->quiet && r->visit(r->to, &value);
}

static void append_to_path(struct reader *r, const char *text)
{
	for (; *text && r->path_length < sizeof(r->path) - 1; text++)
		r->path[r->path_length++] = *text;
	r->path[r->path_length] = 0;
}

static void append_index(struct reader *r, unsigned int index)
{
	char digits[11], *p = digits + sizeof(digits);

	*--p = 0;
	do
		*--p = (char)('0' + index % 10);
	while (index /= 10);
	append_to_path(r, p);
}

/* Reads "key": of an object. The key is needed in the path only. */
static bool read_key(struct reader *r)
{
	char *key = r->out;

	if (!read_string(r))
		return false;
	append_to_path(r, key);
	r->out = key;
	return accept(r, ':');
}

static bool read_member(struct reader *r, enum json_type type,
			unsigned int index)
{
	size_t length = r->path_length, key = r->key;
	bool ok = true;

	if (length)
		append_to_path(r, ".");
	r->key = r->path_length;
	if (type == JSON_OBJECT)
		ok = read_key(r);
	else
		append_index(r, index);
	ok = ok && read_value(r);
	r->path_length = length;
	r->path[length] = 0;
	r->key = key;
	return ok;
}

static bool read_members(struct reader *r, enum json_type type)
{
	char end = type == JSON_OBJECT ? '}' : ']';

	if (accept(r, end))
		return true;
	for (unsigned int i = 0;; i++) {
		if (!read_member(r, type, i))
			return false;
		if (accept(r, end))
			return true;
		if (!accept(r, ','))
			return false;
	}
}

static bool read_container(struct reader *r)
{
	enum json_type type = *r->at++ == '{' ? JSON_OBJECT : JSON_ARRAY;
	bool ok, skip = !visit(r, type, NULL);

	if (++r->depth > DEPTH_MAX)
		return false;
	if (skip && !r->quiet)
		r->quiet = r->depth;
	ok = read_members(r, type);
	if (r->quiet == r->depth)
		r->quiet = 0;
	r->depth--;
	return ok;
}

static bool read_value(struct reader *r)
{
	enum json_type type;
	char *value = r->out;

	skip_space(r);
	if (*r->at == '{' || *r->at == '[')
		return read_container(r);
	type = *r->at == '"' ? JSON_STRING : JSON_BARE;
	if (!(type == JSON_STRING ? read_string(r) : read_bare(r)))
		return false;
	visit(r, type, value);
	return true;
}

const char *json_read(char *text, json_visitor *visit, void *to)
{
	struct reader r = { .at = text, .out = text, .visit = visit, .to = to };

	skip_space(&r);
	if ((*r.at != '{' && *r.at != '[') || !read_value(&r))
		return r.at;
	skip_space(&r);
	return *r.at ? r.at : NULL;
}
