/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Destructors of thread_local objects. libstdc++ uses this function if libc has it.
 * They run when the thread ends, or in exit() for the thread that calls it.
 */
#include <pthread.h>
#include <stdlib.h>

struct destructor {
	struct destructor *next;
	void (*destroy)(void *);
	void *object;
};

static __thread struct destructor *destructors; /* the last one first */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key; /* set in threads that have destructors, to call thread_ends() */

void __call_tls_dtors(void)
{
	struct destructor *d;

	while ((d = destructors)) {
		destructors = d->next;
		d->destroy(d->object);
		free(d);
	}
}

static void thread_ends(void *value)
{
	__call_tls_dtors();
}

static void make_key(void)
{
	if (pthread_key_create(&key, thread_ends))
		abort();
}

int __cxa_thread_atexit_impl(void (*destroy)(void *), void *object, void *dso)
{
	struct destructor *d = malloc(sizeof(*d));

	if (!d)
		return -1;
	pthread_once(&once, make_key);
	if (!destructors)
		pthread_setspecific(key, &key);
	*d = (struct destructor){ destructors, destroy, object };
	destructors = d;
	return 0;
}
