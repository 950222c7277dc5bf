/* SPDX-License-Identifier: MPL-2.0 */
/* exit() for static C++ programs: destroys the thread's objects before the program's. */
#include <stdlib.h>
#include "libc.h"

typedef void function(void);

/* Stands for functions that are not linked. */
static void nothing(void)
{
}
weak_alias(nothing, __call_tls_dtors);
weak_alias(nothing, __funcs_on_exit);
weak_alias(nothing, __stdio_exit);
weak_alias(nothing, _fini);

function __call_tls_dtors, __funcs_on_exit, __stdio_exit, _fini;
extern weak hidden function *const __fini_array_start[], *const __fini_array_end[];

_Noreturn void exit(int status)
{
	__call_tls_dtors();
	__funcs_on_exit();
	for (function *const *f = __fini_array_end; f > __fini_array_start;)
		(*--f)();
	_fini();
	__stdio_exit();
	_Exit(status);
}
