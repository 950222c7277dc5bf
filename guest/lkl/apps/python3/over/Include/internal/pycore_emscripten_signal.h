/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Laid over CPython's file of this name, which is its hook for machines where no signal can interrupt the interpreter. In
 * a unikernel threads change, and signals arrive, in system calls alone. So the interpreter makes the cheapest one now
 * and then: with it a loop of Python holds up no other thread, and ends by a signal.
 */
#ifndef Py_EMSCRIPTEN_SIGNAL_H
#define Py_EMSCRIPTEN_SIGNAL_H

#include <unistd.h>

/* Called at each jump back and each call of a function: some microseconds lie between two system calls. */
static inline void lkl_turn(void)
{
	static unsigned int checks;

	if (!(++checks % 256))
		getppid();
}

#define _Py_CHECK_EMSCRIPTEN_SIGNALS() ((void)getppid())
#define _Py_CHECK_EMSCRIPTEN_SIGNALS_PERIODICALLY() lkl_turn()

#endif
