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

/*
 * Receives one value of the document and the path to it, such as
 * "interfaces.0.ip"; the path of the document itself is "". A string comes
 * decoded to UTF-8, a bare value as written, an object or array as NULL.
 * Returns whether to visit the members of the object or array as well.
 */
typedef bool json_visitor(void *to, enum json_type type, const char *path,
			  const char *value);

/*
 * Reads a JSON document (RFC 8259) that is an object or an array, and calls
 * visit for each value in it, parents first. Decoded values overwrite the text
 * that has been read, so they stay valid as long as the text does.
 *
 * Returns NULL, or the position of the syntax error.
 */
const char *json_read(char *text, json_visitor *visit, void *to);

#endif
