/* SPDX-License-Identifier: MPL-2.0 */
/* The guest's command line: ENVIRONMENT… --config JSON -- ARGUMENTS… */
#include "start.h"

#include <string.h>
#include <words.h>

/* The size of a list at first: a page. */
#define FIRST_WORDS (4096 / sizeof(char *))

/* A copy of a short command line, or of the configuration of a long one. */
static char buffer[LKL_CMDLINE_SHORT + 1];

/* The memory of a configuration that the buffer is too small for. */
static struct lkl_memory long_config;

static bool add(struct strings *s, char *word)
{
	if (s->n == s->max) {
		size_t max = s->max ? 2 * s->max : FIRST_WORDS;
		char **list = memory_map(max * sizeof(*list));

		if (!list)
			return false;
		if (s->max) {
			memcpy(list, s->list, s->n * sizeof(*list));
			memory_unmap(s->list, s->max * sizeof(*list));
		}
		s->list = list;
		s->max = max;
	}
	s->list[s->n++] = word;
	return true;
}

static bool split(struct cmdline *c, char *line)
{
	bool in_env = true;
	char *word;

	while ((word = words_next(&line))) {
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
		if (!add(in_env ? &c->env : &c->args, word))
			return false;
	}
	return true;
}

/* The words stay where they are, but the configuration is used until the guest ends. */
static bool read_long(struct cmdline *c)
{
	char *config = buffer;
	size_t size;

	if (!split(c, lkl_cmdline))
		return false;
	if (!c->config)
		return true;
	size = strlen(c->config) + 1;
	if (size > sizeof(buffer)) {
		config = memory_map(size);
		long_config = (struct lkl_memory){ (unsigned long)config, size };
	}
	if (config)
		c->config = memcpy(config, c->config, size);
	return config;
}

bool cmdline_read(struct cmdline *c)
{
	size_t n = strlen(lkl_cmdline);

	if (n >= sizeof(buffer))
		return read_long(c);
	return split(c, memcpy(buffer, lkl_cmdline, n + 1));
}

const struct lkl_memory *cmdline_kept(void)
{
	return &long_config;
}

void cmdline_free(struct cmdline *c)
{
	memory_unmap(c->env.list, c->env.max * sizeof(*c->env.list));
	memory_unmap(c->args.list, c->args.max * sizeof(*c->args.list));
	c->env = c->args = (struct strings){ 0 };
	CALL(LKL_NR_CMDLINE);
}
