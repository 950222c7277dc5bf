/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Prints its kernel, arguments and environment, one a line. If the first argument
 * is "wait", it then waits for a signal.
 */
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

extern char **environ;

int main(int argc, char **argv)
{
	struct utsname u;

	uname(&u);
	printf("Hello from %s %s on %s\n", u.sysname, u.release, u.nodename);
	for (int i = 1; i < argc; i++)
		printf("argument: %s\n", argv[i]);
	for (char **e = environ; *e; e++)
		printf("environment: %s\n", *e);
	fflush(stdout);
	if (argc > 1 && !strcmp(argv[1], "wait"))
		pause();
	return 0;
}
