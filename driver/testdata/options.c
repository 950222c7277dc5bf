/* SPDX-License-Identifier: MPL-2.0 */
/* Prints the mounts, and uses 24 MiB of stack. */
#include <stdio.h>
#include <string.h>

static void print_mounts(void)
{
	FILE *f = fopen("/proc/mounts", "r");
	char line[512];

	while (f && fgets(line, sizeof(line), f))
		fputs(line, stdout);
}

int main(void)
{
	static const size_t size = 24 << 20;
	volatile char frame[size];

	memset((char *)frame, 7, size);
	print_mounts();
	printf("stack %d\n", frame[0] + frame[size - 1]);
	puts("ready");
	return 0;
}
