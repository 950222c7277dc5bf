/* SPDX-License-Identifier: MPL-2.0 */
/* The guest's command line: ENVIRONMENT… --config JSON -- ARGUMENTS… */
#include "start.h"

#include <string.h>
#include <words.h>

bool cmdline_split(struct cmdline *c, char *line)
{
	bool in_env = true;
	char *word;

	while ((word = words_next(&line))) {
		if (c->n_env >= MAX_WORDS - 1 || c->n_args >= MAX_WORDS - 1)
			return false;
		if (in_env && !strncmp(word, "--config", 8)) {
			c->config = word[8] == '=' ? word + 9 : words_next(&line);
			continue;
		}
		if (in_env && !strncmp(word, "--", 2)) {
			in_env = false;
			continue;
		}
		/* Variables for legacy LKL guests: the descriptor of a network device. */
		if (in_env && !strncmp(word, "__RUMP_", 7))
			continue;
		if (in_env)
			c->env[c->n_env++] = word;
		else
			c->args[c->n_args++] = word;
	}
	return true;
}
