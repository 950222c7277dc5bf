/* SPDX-License-Identifier: MPL-2.0 */
/* Prints its name to its standard output and to its standard error, or takes all memory. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	printf("out %s terminal %d\n", argv[0], isatty(1));
	fprintf(stderr, "err %s terminal %d\n", argv[0], isatty(2));
	if (argc > 1) {
		fflush(stdout);
		raise(atoi(argv[1]));
	}
	return 0;
}
