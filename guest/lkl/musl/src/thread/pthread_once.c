/* SPDX-License-Identifier: MPL-2.0 */
/*
 * pthread_once() that an exception may leave, as C++'s call_once() wants it: the next caller then tries again. The control
 * is 0 before, 1 while the function runs, 3 if somebody waits for it, 2 when it has run.
 */
#include "pthread_impl.h"

struct attempt {
	struct __ptcb cleanup;
	pthread_once_t *control;
	int state;
};

static void leave(pthread_once_t *control, int state)
{
	if (a_swap(control, state) == 3)
		__wake(control, -1, 1);
}

/* The thread was cancelled. */
static void undo(void *control)
{
	leave(control, 0);
}

/* The function has returned, or it has thrown. */
static void settle(struct attempt *a)
{
	_pthread_cleanup_pop(&a->cleanup, 0);
	leave(a->control, a->state);
}

static void attempt(pthread_once_t *control, void (*init)(void))
{
	__attribute__((cleanup(settle))) struct attempt a = { .control = control };

	_pthread_cleanup_push(&a.cleanup, undo, control);
	init();
	a.state = 2;
}

int __pthread_once(pthread_once_t *control, void (*init)(void))
{
	for (;;) {
		switch (a_cas(control, 0, 1)) {
		case 0:
			attempt(control, init);
			return 0;
		case 2:
			return 0;
		case 1:
			/* If this fails, so will the wait. */
			a_cas(control, 1, 3);
			/* fall through */
		case 3:
			__wait(control, 0, 3, 1);
		}
	}
}

weak_alias(__pthread_once, pthread_once);
