/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Replaces CPython's file of this name, which is its hook for systems where signals cannot interrupt the interpreter.
 * In a unikernel threads switch, and signals arrive, only at system calls. The interpreter therefore makes a cheap one
 * regularly, so that a Python loop does not block other threads and a signal can end it.
 */
#ifndef Py_EMSCRIPTEN_SIGNAL_H
#define Py_EMSCRIPTEN_SIGNAL_H

#include <unistd.h>

/* Called at each backward jump and each function call. Makes a system call every few microseconds. */
static inline void lkl_yield(void)
{
	static unsigned int checks;

	if (!(++checks % 256))
		getppid();
}

#define _Py_CHECK_EMSCRIPTEN_SIGNALS() ((void)getppid())
#define _Py_CHECK_EMSCRIPTEN_SIGNALS_PERIODICALLY() lkl_yield()

#endif
