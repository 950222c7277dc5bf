/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Writes numbered lines to the console, so that a test can count lost lines:
 *
 *	spew [lines=N] [width=N] [every=N]
 *
 * lines is the number of lines, by default unlimited; width is the number of
 * bytes of a line with its newline; every is the time between the starts of two
 * lines, in nanoseconds.
 */
#include <solo5.h>
#include <stdio.h>
#include <string.h>
#include <words.h>

#define WIDTH_MIN 16
#define WIDTH_MAX 65536

static char line[WIDTH_MAX + 1];

int solo5_app_main(const struct solo5_start_info *info)
{
	const struct words *words = words_split(info->cmdline);
	uint64_t lines = words_number(words, "lines", UINT64_MAX);
	uint64_t width = words_number(words, "width", 64);
	uint64_t every = words_number(words, "every", 0);
	solo5_time_t next = solo5_clock_monotonic();

	if (width < WIDTH_MIN || width > WIDTH_MAX) {
		printf("spew: width must be %d to %d\n", WIDTH_MIN, WIDTH_MAX);
		return SOLO5_EXIT_FAILURE;
	}
	memset(line, '.', width);
	line[width - 1] = '\n';
	for (uint64_t i = 1; i <= lines; i++) {
		char number[WIDTH_MIN];
		int n = snprintf(number, sizeof(number), "spew %010lu", i);

		memcpy(line, number, (size_t)n);
		solo5_console_write(line, width);
		for (next += every; every && solo5_clock_monotonic() < next;)
			solo5_yield(next, NULL);
	}
	return SOLO5_EXIT_SUCCESS;
}
