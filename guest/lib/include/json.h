/* SPDX-License-Identifier: MPL-2.0 */
/* A JSON reader that needs no memory but the text itself. */
#ifndef LIB_JSON_H
#define LIB_JSON_H

#include <stdbool.h>

/* A longer path is cut. It is longer than any path that a guest looks for. */
#define JSON_PATH_MAX 256

enum json_type {
	JSON_OBJECT,
	JSON_ARRAY,
	JSON_STRING,
	JSON_BARE	/* a number, true, false or null */
};

struct json_value {
	enum json_type type;
	int depth;		/* 0: the document itself */
	const char *path;	/* "interfaces.0.ip"; "" at depth 0 */
	const char *key;	/* the last part of the path */
	const char *text;	/* NULL for an object or an array */
};

/*
 * Receives one value of the document. The text of a string is decoded to UTF-8,
 * that of a bare value is as written. Returns whether to visit the members, if
 * the value is an object or an array.
 */
typedef bool json_visitor(void *to, const struct json_value *value);

/*
 * Reads a JSON document (RFC 8259) that is an object or an array, and calls
 * visit for each value in it, parents first. Decoded values overwrite the text
 * that has been read, so they stay valid as long as the text does.
 *
 * Returns NULL, or the position of the syntax error.
 */
const char *json_read(char *text, json_visitor *visit, void *to);

#endif
