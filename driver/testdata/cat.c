/* SPDX-License-Identifier: MPL-2.0 */
/* Prints the files that its arguments name. */
#include <stdio.h>

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		FILE *f = fopen(argv[i], "r");

		if (!f) {
			perror(argv[i]);
			return 1;
		}
		for (int c; (c = getc(f)) != EOF;)
			putchar(c);
		fclose(f);
	}
	return 0;
}
