/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The start of the program, called by the start program with the stack as a kernel lays it out: argc, argv, environment,
 * auxiliary vector. _start is the unikernel's own entry.
 */
#include <features.h>
#include "libc.h"

#define START "lkl_program"
#include "crt_arch.h"

int main();
weak void _init();
weak void _fini();
int __libc_start_main(int (*)(), int, char **, void (*)(), void (*)(), void (*)());

/* C++ tells by it which object a destructor belongs to; there is one. */
hidden void *__dso_handle;

void lkl_program_c(long *p)
{
	__libc_start_main(main, p[0], (char **)(p + 1), _init, _fini, 0);
}
