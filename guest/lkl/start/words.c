/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The host's command line: ENVIRONMENT… --config JSON -- ARGUMENTS…, one string that is taken apart as a shell would:
 * white space separates, quotes hold together, a backslash takes the next byte as it is.
 */
#include "start.h"

#include <string.h>

static bool space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Takes the next word off *line, decoded in place; null at the end. */
static char *next_word(char **line)
{
	char *from = *line, *to, *word, quote = 0;

	while (space(*from))
		from++;
	if (!*from)
		return NULL;
	word = to = from;
	for (; *from && (quote || !space(*from)); from++) {
		if (*from == '\\' && from[1])
			*to++ = *++from;
		else if (quote ? *from == quote : *from == '"' || *from == '\'')
			quote = quote ? 0 : *from;
		else
			*to++ = *from;
	}
	*line = *from ? from + 1 : from;
	*to = 0;
	return word;
}

bool words_split(struct words *w, char *line)
{
	bool in_env = true;
	char *word;

	while ((word = next_word(&line))) {
		if (w->n_env >= MAX_WORDS - 1 || w->n_args >= MAX_WORDS - 1)
			return false;
		if (in_env && !strncmp(word, "--config", 8)) {
			w->config = word[8] == '=' ? word + 9 : next_word(&line);
			continue;
		}
		if (in_env && !strncmp(word, "--", 2)) {
			in_env = false;
			continue;
		}
		/* The guests of 2020 need to be told which descriptor a network device is. */
		if (in_env && !strncmp(word, "__RUMP_", 7))
			continue;
		if (in_env)
			w->env[w->n_env++] = word;
		else
			w->args[w->n_args++] = word;
	}
	return true;
}
