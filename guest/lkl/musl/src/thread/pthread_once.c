/* SPDX-License-Identifier: MPL-2.0 */
/*
 * pthread_once() whose function may throw an exception, as C++'s call_once() needs
 * it: the next caller then runs the function again. The control is 0 before, 1 while
 * the function runs, 3 while it runs and a thread waits, and 2 after it has run.
 */
#include "pthread_impl.h"

struct attempt {
	struct __ptcb cleanup;
	pthread_once_t *control;
	int state;
};

static void end_attempt(pthread_once_t *control, int state)
{
	if (a_swap(control, state) == 3)
		__wake(control, -1, 1);
}

/* Called if the thread is cancelled. */
static void undo(void *control)
{
	end_attempt(control, 0);
}

/* Called when the function has returned or thrown. */
static void end_scope(struct attempt *a)
{
	_pthread_cleanup_pop(&a->cleanup, 0);
	end_attempt(a->control, a->state);
}

static void attempt(pthread_once_t *control, void (*init)(void))
{
	__attribute__((cleanup(end_scope))) struct attempt a = { .control = control };

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
			/* If the control has changed, the wait returns at once. */
			a_cas(control, 1, 3);
			/* fall through */
		case 3:
			__wait(control, 0, 3, 1);
		}
	}
}

weak_alias(__pthread_once, pthread_once);
