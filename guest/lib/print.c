/* SPDX-License-Identifier: MPL-2.0 */
#include <solo5.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

struct output {
	char *to;
	size_t size;
	size_t length;		/* of the whole text, even if cut */
	va_list args;
};

/* The part of a conversion between % and its letter. */
struct conversion {
	bool left, zero;
	int width;
	int precision;		/* -1 if absent */
	int longs;		/* number of length modifiers */
};

static void put_char(struct output *o, char c)
{
	if (o->length + 1 < o->size)
		o->to[o->length] = c;
	o->length++;
}

static void put_padded(struct output *o, const struct conversion *c,
		       const char *text, int length)
{
	int padding = c->width - length;

	if (!c->left && c->zero && length > 0 && *text == '-')
		put_char(o, *text++), length--;
	for (; !c->left && padding > 0; padding--)
		put_char(o, c->zero ? '0' : ' ');
	for (int i = 0; i < length; i++)
		put_char(o, text[i]);
	for (; padding > 0; padding--)
		put_char(o, ' ');
}

static void put_integer(struct output *o, const struct conversion *c,
			uint64_t value, unsigned base, bool negative)
{
	char text[24];
	int start = sizeof(text);

	do {
		text[--start] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value);
	if (negative)
		text[--start] = '-';
	put_padded(o, c, text + start, (int)sizeof(text) - start);
}

static const char *read_decimal(const char *p, int *value)
{
	for (*value = 0; *p >= '0' && *p <= '9'; p++)
		*value = *value * 10 + (*p - '0');
	return p;
}

static const char *read_conversion(const char *p, struct conversion *c,
				   struct output *o)
{
	*c = (struct conversion){ .precision = -1 };
	for (;; p++) {
		if (*p == '-')
			c->left = true;
		else if (*p == '0')
			c->zero = true;
		else
			break;
	}
	p = read_decimal(p, &c->width);
	if (*p == '.' && p[1] == '*') {
		c->precision = va_arg(o->args, int);
		p += 2;
	} else if (*p == '.') {
		p = read_decimal(p + 1, &c->precision);
	}
	for (; *p == 'l' || *p == 'z'; p++)
		c->longs++;
	return p;
}

static int bounded_length(const char *s, int limit)
{
	int n = 0;

	while (n != limit && s[n])
		n++;
	return n;
}

static uint64_t unsigned_argument(struct output *o, int longs)
{
	return longs ? va_arg(o->args, uint64_t) : va_arg(o->args, unsigned);
}

static int64_t signed_argument(struct output *o, int longs)
{
	return longs ? va_arg(o->args, int64_t) : va_arg(o->args, int);
}

static void convert(struct output *o, const struct conversion *c, char letter)
{
	const char *s;
	int64_t i;
	char one;

	switch (letter) {
	case 'd':
	case 'i':
		i = signed_argument(o, c->longs);
		put_integer(o, c, i < 0 ? -(uint64_t)i : (uint64_t)i, 10, i < 0);
		break;
	case 'u':
		put_integer(o, c, unsigned_argument(o, c->longs), 10, false);
		break;
	case 'x':
		put_integer(o, c, unsigned_argument(o, c->longs), 16, false);
		break;
	case 'p':
		put_integer(o, c, unsigned_argument(o, 1), 16, false);
		break;
	case 's':
		s = va_arg(o->args, const char *);
		put_padded(o, c, s, bounded_length(s, c->precision));
		break;
	case 'c':
		one = (char)va_arg(o->args, int);
		put_padded(o, c, &one, 1);
		break;
	default:
		put_char(o, letter);
	}
}

int vsnprintf(char *to, size_t size, const char *format, va_list args)
{
	struct output o = { .to = to, .size = size };
	struct conversion c;

	va_copy(o.args, args);
	for (const char *p = format; *p; p++) {
		if (*p != '%') {
			put_char(&o, *p);
			continue;
		}
		p = read_conversion(p + 1, &c, &o);
		if (*p == 0)
			break;
		convert(&o, &c, *p);
	}
	va_end(o.args);
	if (size > 0)
		to[o.length < size ? o.length : size - 1] = 0;
	return (int)o.length;
}

int snprintf(char *to, size_t size, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(to, size, format, args);
	va_end(args);
	return n;
}

int printf(const char *format, ...)
{
	char text[PRINTF_MAX];
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	solo5_console_write(text, strlen(text));
	return n;
}
