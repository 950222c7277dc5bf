/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Writes a pattern to its block device, reads it back and compares:
 *
 *	disk [seed=N] [bytes=N] [mode=write|check]
 *
 * seed selects the pattern. bytes limits the work to the start of the device.
 * mode selects one half of the work, so that a second run can check the pattern
 * of the first. The exit status is 1 if any block differs.
 */
#include <solo5_devices.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <words.h>

struct disk {
	solo5_handle_t handle;
	struct solo5_block_info info;
	uint64_t seed;
	uint64_t bytes;
	uint64_t *block;	/* memory for one block */
};

/* The word at an offset of the device (splitmix64). */
static uint64_t pattern(uint64_t seed, uint64_t offset)
{
	uint64_t z = seed + (offset + 1) * 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static void print_rate(const char *verb, uint64_t bytes, solo5_time_t since)
{
	uint64_t us = (solo5_clock_monotonic() - since) / 1000 + 1;

	printf("disk: %s %lu bytes in %lu us, %lu MB/s\n", verb, bytes, us,
	       bytes / us);
}

static bool write_all(const struct disk *d)
{
	solo5_time_t start = solo5_clock_monotonic();

	for (uint64_t at = 0; at < d->bytes; at += d->info.block_size) {
		for (uint64_t i = 0; i < d->info.block_size / 8; i++)
			d->block[i] = pattern(d->seed, at + i * 8);
		if (solo5_block_write(d->handle, at, (uint8_t *)d->block,
				      d->info.block_size) != SOLO5_R_OK) {
			printf("disk: write at %lu failed\n", at);
			return false;
		}
	}
	print_rate("wrote", d->bytes, start);
	return true;
}

static bool block_is_right(const struct disk *d, uint64_t at)
{
	for (uint64_t i = 0; i < d->info.block_size / 8; i++)
		if (d->block[i] != pattern(d->seed, at + i * 8))
			return false;
	return true;
}

static bool check_all(const struct disk *d)
{
	solo5_time_t start = solo5_clock_monotonic();
	uint64_t wrong = 0;

	for (uint64_t at = 0; at < d->bytes; at += d->info.block_size) {
		if (solo5_block_read(d->handle, at, (uint8_t *)d->block,
				     d->info.block_size) != SOLO5_R_OK) {
			printf("disk: read at %lu failed\n", at);
			return false;
		}
		if (!block_is_right(d, at) && wrong++ == 0)
			printf("disk: first wrong block at %lu\n", at);
	}
	print_rate("read", d->bytes, start);
	printf("disk: %lu blocks, %lu wrong\n", d->bytes / d->info.block_size,
	       wrong);
	return wrong == 0;
}

/* The bindings must reject transfers beyond the device or of partial blocks. */
static bool check_edges(const struct disk *d)
{
	uint8_t *to = (uint8_t *)d->block;
	uint64_t unit = d->info.block_size;

	if (solo5_block_read(d->handle, d->info.capacity, to, unit) ==
		    SOLO5_R_EINVAL &&
	    solo5_block_read(d->handle, -unit, to, unit) == SOLO5_R_EINVAL &&
	    solo5_block_read(d->handle, 1, to, unit) == SOLO5_R_EINVAL &&
	    solo5_block_read(d->handle, 0, to, unit - 1) == SOLO5_R_EINVAL)
		return true;
	printf("disk: a transfer outside of the device did not fail\n");
	return false;
}

static bool prepare(struct disk *d, const struct words *words,
		    const struct solo5_start_info *info)
{
	if ((solo5_block_acquire("disk", &d->handle, &d->info) != SOLO5_R_OK &&
	     solo5_block_acquire("rootfs", &d->handle, &d->info) != SOLO5_R_OK) ||
	    d->info.block_size > info->heap_size) {
		printf("disk: no usable block device \"disk\" or \"rootfs\"\n");
		return false;
	}
	printf("disk: %lu bytes in blocks of %lu\n", d->info.capacity,
	       d->info.block_size);
	d->block = (uint64_t *)info->heap_start;
	d->seed = words_number(words, "seed", 1);
	d->bytes = words_number(words, "bytes", d->info.capacity);
	if (d->bytes > d->info.capacity)
		d->bytes = d->info.capacity;
	d->bytes -= d->bytes % d->info.block_size;
	return true;
}

int solo5_app_main(const struct solo5_start_info *info)
{
	const struct words *words = words_split(info->cmdline);
	const char *mode = words_option(words, "mode");
	struct disk d;
	bool ok;

	if (!prepare(&d, words, info))
		return SOLO5_EXIT_FAILURE;
	ok = check_edges(&d);
	if (!mode || strcmp(mode, "write") == 0)
		ok = write_all(&d) && ok;
	if (!mode || strcmp(mode, "check") == 0)
		ok = check_all(&d) && ok;
	return ok ? SOLO5_EXIT_SUCCESS : SOLO5_EXIT_FAILURE;
}
