/* SPDX-License-Identifier: MPL-2.0 */
#include <string.h>
#include <words.h>

/* The longest command line that a tender passes, and its end. */
#define LINE_MAX 8192

static bool is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Copies one word to *to, which it moves on, and gives what follows in line. */
static const char *one_word(const char *line, char **to, const char *end)
{
	char quote = 0;

	for (; *line && (quote || !is_space(*line)); line++) {
		if (*line == '\\' && line[1])
			line++;
		else if (quote && *line == quote) {
			quote = 0;
			continue;
		} else if (!quote && (*line == '\'' || *line == '"')) {
			quote = *line;
			continue;
		}
		if (*to < end)
			*(*to)++ = *line;
	}
	return line;
}

const struct words *words_split(const char *line)
{
	static struct words words;
	static char text[LINE_MAX];
	char *to = text;
	const char *end = text + sizeof(text) - 1;

	words.count = 0;
	for (;;) {
		while (is_space(*line))
			line++;
		if (*line == 0 || words.count == WORDS_MAX)
			return &words;
		words.word[words.count++] = to;
		line = one_word(line, &to, end);
		*to = 0;
		if (to < end)
			to++;
	}
}

const char *words_option(const struct words *words, const char *name)
{
	size_t length = strlen(name);

	for (int i = words->count - 1; i >= 0; i--) {
		const char *word = words->word[i];

		if (strncmp(word, name, length) == 0 && word[length] == '=')
			return word + length + 1;
	}
	return NULL;
}

bool number(const char *text, uint64_t *value)
{
	uint64_t v = 0;

	if (*text == 0)
		return false;
	for (; *text; text++) {
		unsigned digit = (unsigned)(*text - '0');

		if (digit > 9 || __builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, digit, &v))
			return false;
	}
	*value = v;
	return true;
}

uint64_t words_number(const struct words *words, const char *name,
		      uint64_t otherwise)
{
	const char *text = words_option(words, name);
	uint64_t value;

	return text && number(text, &value) ? value : otherwise;
}
