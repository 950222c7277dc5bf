/* SPDX-License-Identifier: MPL-2.0 */
/* Threads that share a mutex, and threads that end on their own. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static sem_t ended;
static long counter;

static void *count(void *arg)
{
	for (int i = 0; i < 10000; i++) {
		pthread_mutex_lock(&mutex);
		counter++;
		pthread_mutex_unlock(&mutex);
	}
	return arg;
}

static void *end(void *arg)
{
	sem_post(&ended);
	return arg;
}

int main(void)
{
	pthread_t threads[8], detached;
	pthread_attr_t attr;
	cpu_set_t cpus;
	int n = 0;

	for (int i = 0; i < 8; i++)
		if (pthread_create(&threads[i], NULL, count, NULL))
			return 1;
	for (int i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
	sem_init(&ended, 0, 0);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	for (; n < 500; n++) {
		while (pthread_create(&detached, &attr, end, NULL) == EAGAIN)
			sched_yield();
		sem_wait(&ended);
	}
	sched_getaffinity(0, sizeof(cpus), &cpus);
	printf("%ld of 80000, %d ended, %d CPU\n", counter, n, CPU_COUNT(&cpus));
	return 0;
}
