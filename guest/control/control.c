/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Prints each frame that arrives on its device "control", and stops gracefully:
 *
 *	control [delay=N] [ignore=1]
 *
 * The frame "stop N" ends the guest with status 0. delay=N postpones the end by
 * N milliseconds; with ignore=1 the guest ignores the frame.
 */
#include <solo5.h>
#include <stdio.h>
#include <string.h>
#include <words.h>

static void wait_until(solo5_time_t deadline)
{
	while (solo5_clock_monotonic() < deadline)
		solo5_yield(deadline, NULL);
}

int solo5_app_main(const struct solo5_start_info *info)
{
	const struct words *words = words_split(info->cmdline);
	uint64_t delay = words_number(words, "delay", 0);
	uint64_t ignore = words_number(words, "ignore", 0);
	struct solo5_net_info net;
	solo5_handle_t handle;
	uint8_t frame[1514];
	size_t size;

	if (solo5_net_acquire("control", &handle, &net) != SOLO5_R_OK)
		return SOLO5_EXIT_FAILURE;
	printf("control: waiting\n");
	for (;;) {
		if (solo5_net_read(handle, frame, sizeof(frame), &size) !=
		    SOLO5_R_OK) {
			solo5_yield(UINT64_MAX, NULL);
			continue;
		}
		printf("control: %.*s\n", (int)size, (const char *)frame);
		if (size >= 4 && memcmp(frame, "stop", 4) == 0 && !ignore) {
			wait_until(solo5_clock_monotonic() + delay * 1000000);
			printf("control: stopping\n");
			return SOLO5_EXIT_SUCCESS;
		}
	}
}
