/* SPDX-License-Identifier: MPL-2.0 */
#include <string.h>
#include <words.h>

/* The size of a command line that a tender passes, with its NUL. */
#define LINE_MAX 8192

static bool is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

char *words_next(char **line)
{
	char *from = *line, *to, *word, quote = 0;

	while (is_space(*from))
		from++;
	if (!*from)
		return NULL;
	word = to = from;
	for (; *from && (quote || !is_space(*from)); from++) {
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

const struct words *words_split(const char *line)
{
	static struct words words;
	static char text[LINE_MAX];
	size_t length = strlen(line);
	char *rest = text, *word;

	if (length >= sizeof(text))
		length = sizeof(text) - 1;
	memcpy(text, line, length);
	text[length] = 0;
	words.count = 0;
	while (words.count < WORDS_MAX && (word = words_next(&rest)))
		words.word[words.count++] = word;
	return &words;
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

bool parse_uint64(const char *text, uint64_t *value)
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
		      uint64_t fallback)
{
	const char *text = words_option(words, name);
	uint64_t value;

	return text && parse_uint64(text, &value) ? value : fallback;
}
