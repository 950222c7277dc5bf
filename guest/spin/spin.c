/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Keeps the processor busy:
 *
 *	spin [seconds=N]	for N seconds, or forever
 */
#include <solo5.h>
#include <stdio.h>
#include <words.h>

int solo5_app_main(const struct solo5_start_info *info)
{
	uint64_t seconds = words_number(words_split(info->cmdline), "seconds", 0);
	solo5_time_t end = solo5_clock_monotonic() + seconds * 1000000000;

	printf("spin: spinning\n");
	for (;;) {
		for (volatile int i = 0; i < 10000; i++)
			;
		if (seconds && solo5_clock_monotonic() >= end)
			return SOLO5_EXIT_SUCCESS;
	}
}
