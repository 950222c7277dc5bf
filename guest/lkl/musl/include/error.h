/* SPDX-License-Identifier: MPL-2.0 */
/* Messages about errors, as in glibc. */
#ifndef _ERROR_H
#define _ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

extern unsigned int error_message_count;
extern int error_one_per_line;
extern void (*error_print_progname)(void);

void error(int status, int errnum, const char *format, ...) __attribute__((__format__(__printf__, 3, 4)));
void error_at_line(int status, int errnum, const char *file, unsigned int line, const char *format, ...)
	__attribute__((__format__(__printf__, 5, 6)));

#ifdef __cplusplus
}
#endif

#endif
