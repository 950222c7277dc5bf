/* SPDX-License-Identifier: MPL-2.0 */
/* The ends of thread_local objects, which libstdc++ leaves to a libc that has this. exit() calls those of its thread. */
#include <pthread.h>
#include <stdlib.h>

struct ending {
	struct ending *next;
	void (*end)(void *);
	void *object;
};

static __thread struct ending *endings; /* the last first */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key; /* has a value in threads with endings, so that its destructor is called */

void __call_tls_dtors(void)
{
	struct ending *e;

	while ((e = endings)) {
		endings = e->next;
		e->end(e->object);
		free(e);
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

int __cxa_thread_atexit_impl(void (*end)(void *), void *object, void *dso)
{
	struct ending *e = malloc(sizeof(*e));

	if (!e)
		return -1;
	pthread_once(&once, make_key);
	if (!endings)
		pthread_setspecific(key, &key);
	*e = (struct ending){ endings, end, object };
	endings = e;
	return 0;
}
