/* SPDX-License-Identifier: MPL-2.0 */
/* Prints its command line, its memory and its devices. */
#include <solo5_devices.h>
#include <stdio.h>
#include <string.h>

static void print_device(solo5_handle_t handle)
{
	struct solo5_device d;

	if (solo5_device(handle, &d) != SOLO5_R_OK)
		return;
	if (d.type == SOLO5_DEVICE_BLOCK) {
		printf("block %s: %lu bytes in blocks of %lu\n", d.name,
		       d.block.capacity, d.block.block_size);
		return;
	}
	const uint8_t *mac = d.net.mac_address;

	printf("net %s: %02x:%02x:%02x:%02x:%02x:%02x, mtu %lu\n", d.name,
	       mac[0], mac[1], mac[2], mac[3], mac[4], mac[5], d.net.mtu);
}

int solo5_app_main(const struct solo5_start_info *info)
{
	printf("hello from Solo5 %s with %lu KiB of heap\n", solo5_target(),
	       info->heap_size / 1024);
	printf("command line: ");
	solo5_console_write(info->cmdline, strlen(info->cmdline));
	printf("\n");
	for (solo5_handle_t h = 1; h <= solo5_device_count(); h++)
		print_device(h);
	return SOLO5_EXIT_SUCCESS;
}
