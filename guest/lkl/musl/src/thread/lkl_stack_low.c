/* SPDX-License-Identifier: MPL-2.0 */
#define _GNU_SOURCE
#include "pthread_impl.h"

/*
 * Returns the lowest address of the stack of a thread that __clone() is about to create, if
 * guard pages lie below it, or 0. A program may call clone() with thread-local storage that
 * is not libc's.
 */
hidden unsigned long __lkl_stack_low(const struct pthread *thread, int flags)
{
	if (!(flags & CLONE_SETTLS) || thread->self != thread || !thread->map_base || !thread->guard_size)
		return 0;
	return (unsigned long)thread->map_base + thread->guard_size;
}
