/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The entry of the program. The start program jumps here with the stack that a
 * kernel builds on exec: argc, argv, environment, auxiliary vector. The symbol
 * _start is the entry of the unikernel.
 */
#include <features.h>
#include "libc.h"

#define START "lkl_program"
#include "crt_arch.h"

int main();
weak void _init();
weak void _fini();
int __libc_start_main(int (*)(), int, char **, void (*)(), void (*)(), void (*)());

/* In C++ it names the object that a destructor belongs to. There is only one. */
hidden void *__dso_handle;

void lkl_program_c(long *p)
{
	__libc_start_main(main, p[0], (char **)(p + 1), _init, _fini, 0);
}
