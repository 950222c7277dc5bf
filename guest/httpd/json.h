/* SPDX-License-Identifier: MPL-2.0 */
#ifndef HTTPD_JSON_H
#define HTTPD_JSON_H

#include <stddef.h>

/* The longest name of a value, and value, that are told; longer is an error. */
#define JSON_NAME_MAX 128
#define JSON_VALUE_MAX 1024

/*
 * Reads one JSON value (RFC 8259, strictly) and tells each string, number and
 * literal in it, by the way to it: "interfaces.0.ip". Strings come decoded to
 * UTF-8, the others as they are written. Gives null, or where the mistake is.
 */
const char *json_read(const char *text,
		      void (*tell)(void *to, const char *name,
				   const char *value),
		      void *to);

#endif
