/* SPDX-License-Identifier: MPL-2.0 */
/* The words of a unikernel's command line. */
#ifndef LIB_WORDS_H
#define LIB_WORDS_H

#include <stdbool.h>
#include <stdint.h>

#define WORDS_MAX 512

struct words {
	int count;
	char *word[WORDS_MAX];
};

/*
 * Removes the next word from *line and decodes it in place. White space
 * separates words, ' and " quote, and a backslash takes the next byte as it is,
 * also inside quotes; '' and "" are empty words. Returns NULL at the end.
 */
char *words_next(char **line);

/*
 * Splits a command line into at most WORDS_MAX words. The words are stored in
 * static memory: a second call overwrites them.
 */
const struct words *words_split(const char *line);

/* Returns the value of the last word of the form name=value, or NULL. */
const char *words_option(const struct words *words, const char *name);

/* Parses a text that is a decimal number and nothing else. */
bool parse_uint64(const char *text, uint64_t *value);

/* Returns the number of a word name=number, or fallback without a valid one. */
uint64_t words_number(const struct words *words, const char *name,
		      uint64_t fallback);

#endif
