/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Runs the unikernels' parsers as a program of the host, with the host's C
 * library, so that a test can compare their results with an oracle:
 *
 *	parsers words|json|http < records
 *
 * A record is a length in decimal, a newline, and that many bytes. The program
 * prints one line for each record, with strings in hexadecimal.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http.h"
#include "json.h"
#include "words.h"

static void put_hex(const char *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		printf("%02x", (unsigned char)bytes[i]);
}

static void words(char *text, size_t length)
{
	const struct words *w = words_split(text);

	(void)length;
	for (int i = 0; i < w->count; i++) {
		printf("%s\"", i ? " " : "");
		put_hex(w->word[i], strlen(w->word[i]));
	}
}

static bool print_value(void *to, const struct json_value *value)
{
	(void)to;
	if (!value->text)
		return true;
	put_hex(value->path, strlen(value->path));
	printf("=");
	put_hex(value->text, strlen(value->text));
	printf(" ");
	return true;
}

static void json(char *text, size_t length)
{
	(void)length;
	printf("%s", json_read(text, print_value, NULL) ? "bad" : "good");
}

static void http(char *text, size_t length)
{
	struct request r;
	int n = http_read(text, length, &r);

	printf("%d", n);
	if (n <= 0)
		return;
	printf(" ");
	put_hex(r.method.at, r.method.length);
	printf(" ");
	put_hex(r.path.at, r.path.length);
	printf("?");
	put_hex(r.query.at, r.query.length);
	printf(" %d %d %lu", r.keep_alive, r.expects_continue, (unsigned long)r.body);
}

int main(int argc, char **argv)
{
	size_t length;

	while (argc == 2 && scanf("%zu", &length) == 1 && getchar() == '\n') {
		/* An exact size lets the sanitizer detect an access beyond it. */
		char *text = malloc(length + 1);

		if (!text || fread(text, 1, length, stdin) != length)
			return 1;
		text[length] = 0;
		if (strcmp(argv[1], "words") == 0)
			words(text, length);
		else if (strcmp(argv[1], "json") == 0)
			json(text, length);
		else
			http(text = realloc(text, length ? length : 1), length);
		free(text);
		printf("\n");
	}
	return 0;
}
