/* SPDX-License-Identifier: MPL-2.0 */
/* The part of C's <stdlib.h> that lwIP uses. */
#ifndef LIB_STDLIB_H
#define LIB_STDLIB_H

#include <stddef.h>

int atoi(const char *s);

#endif
