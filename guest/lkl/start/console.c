/* SPDX-License-Identifier: MPL-2.0 */
/* Messages for the operator, on the console. */
#include "start.h"

#include <stdarg.h>

void say(const char *first, ...)
{
	char line[512];
	size_t n = 0;
	va_list more;

	va_start(more, first);
	for (const char *s = first; s; s = va_arg(more, const char *))
		for (; *s && n < sizeof(line) - 1; s++)
			line[n++] = *s;
	va_end(more);
	line[n++] = '\n';
	CALL(SYS_write, 2, line, n);
}
