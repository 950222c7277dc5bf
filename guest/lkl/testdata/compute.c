/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Computes without end, without a system call, while another thread answers on TCP
 * port 80. At SIGUSR1 it prints "caught".
 */
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static void say(const char *text, size_t size)
{
	if (write(1, text, size) != (ssize_t)size)
		exit(1);
}

static void catch(int signal)
{
	(void)signal;
	say("caught\n", 7);
}

static void *serve(void *arg)
{
	int listener = *(int *)arg, c;

	while ((c = accept(listener, NULL, NULL)) >= 0) {
		if (write(c, "well\n", 5) != 5)
			exit(1);
		close(c);
	}
	return NULL;
}

int main(void)
{
	struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_port = htons(80) };
	int listener = socket(AF_INET6, SOCK_STREAM, 0);
	pthread_t thread;

	signal(SIGUSR1, catch);
	if (bind(listener, (struct sockaddr *)&any, sizeof(any)) || listen(listener, 8) ||
	    pthread_create(&thread, NULL, serve, &listener))
		return 1;
	say("computing\n", 10);
	for (volatile unsigned long n = 0;; n++)
		;
}
