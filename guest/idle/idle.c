/* SPDX-License-Identifier: MPL-2.0 */
/* Prints a line and then sleeps forever. */
#include <solo5.h>
#include <stdio.h>

int solo5_app_main(const struct solo5_start_info *info)
{
	(void)info;
	printf("idle: waiting\n");
	for (;;)
		solo5_yield(UINT64_MAX, NULL);
}
