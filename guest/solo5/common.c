/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The part of the bindings that all targets share: the start, and the devices
 * by name and handle.
 */
#include "internal.h"

/* The maximum size of the stack, at the top of memory. */
#define STACK_SIZE (1UL << 20)

static struct solo5_start_info start_info;
static const struct mft *manifest;
/* Limits of solo5_net_set_longest. 0 stands for the device's MTU. */
static size_t longest_frame[MFT_ENTRIES];

static bool equal_strings(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

/*
 * Skips leading options for the bindings. --solo5:quiet, --solo5:debug and others
 * set the log level of Solo5's bindings; these bindings log only errors.
 */
static const char *skip_bindings_options(const char *cmdline)
{
	static const char prefix[] = "--solo5:";

	for (;;) {
		const char *p = cmdline;
		size_t i = 0;

		while (*p == ' ')
			p++;
		while (prefix[i] && p[i] == prefix[i])
			i++;
		if (prefix[i])
			return cmdline;
		while (*p && *p != ' ')
			p++;
		while (*p == ' ')
			p++;
		cmdline = p;
	}
}

void solo5__print(const char *text)
{
	size_t size = 0;

	while (text[size])
		size++;
	solo5_console_write(text, size);
}

void solo5__start(const char *cmdline, uint64_t mem_size, uint64_t kernel_end,
		  const struct mft *mft)
{
	uint64_t stack = (mem_size - kernel_end) / 4;

	if (stack > STACK_SIZE)
		stack = STACK_SIZE;
	manifest = mft;
	start_info.cmdline = skip_bindings_options(cmdline);
	start_info.heap_start = (kernel_end + 4095) & ~4095UL;
	if (mem_size - stack > start_info.heap_start)
		start_info.heap_size = mem_size - stack - start_info.heap_start;
	solo5_exit(solo5_app_main(&start_info));
}

const struct mft_entry *solo5__entry(solo5_handle_t handle, uint32_t type)
{
	const struct mft_entry *e;

	if (handle == 0 || handle >= manifest->entries)
		return NULL;
	e = &manifest->e[handle];
	return e->attached && e->type == type ? e : NULL;
}

unsigned solo5_device_count(void)
{
	return manifest->entries ? manifest->entries - 1 : 0;
}

bool solo5__net_fits(solo5_handle_t handle, const struct mft_entry *e,
		     size_t size)
{
	size_t longest = longest_frame[handle];

	if (longest == 0)
		longest = (size_t)e->net.mtu + ETHERNET_HEADER;
	return size <= longest;
}

solo5_result_t solo5_net_set_longest(solo5_handle_t handle, size_t size)
{
	if (!solo5__entry(handle, SOLO5_DEVICE_NET))
		return SOLO5_R_EINVAL;
	longest_frame[handle] = size;
	return SOLO5_R_OK;
}

static void get_net_info(const struct mft_entry *e, struct solo5_net_info *info)
{
	for (int i = 0; i < 6; i++)
		info->mac_address[i] = e->net.mac[i];
	info->mtu = e->net.mtu;
}

static void get_block_info(const struct mft_entry *e,
			   struct solo5_block_info *info)
{
	info->capacity = e->block.capacity;
	info->block_size = e->block.block_size;
}

solo5_result_t solo5_device(solo5_handle_t handle, struct solo5_device *device)
{
	const struct mft_entry *e;

	if ((e = solo5__entry(handle, SOLO5_DEVICE_NET)))
		get_net_info(e, &device->net);
	else if ((e = solo5__entry(handle, SOLO5_DEVICE_BLOCK)))
		get_block_info(e, &device->block);
	else
		return SOLO5_R_EINVAL;
	device->name = e->name;
	device->type = e->type;
	return SOLO5_R_OK;
}

/* Returns the handle of the device with this name and type, or 0. */
static solo5_handle_t find_device(const char *name, uint32_t type)
{
	for (solo5_handle_t h = 1; h < manifest->entries; h++)
		if (solo5__entry(h, type) &&
		    equal_strings(manifest->e[h].name, name))
			return h;
	return 0;
}

solo5_result_t solo5_net_acquire(const char *name, solo5_handle_t *handle,
				 struct solo5_net_info *info)
{
	solo5_handle_t h = find_device(name, SOLO5_DEVICE_NET);

	if (h == 0)
		return SOLO5_R_EINVAL;
	get_net_info(&manifest->e[h], info);
	*handle = h;
	return SOLO5_R_OK;
}

solo5_result_t solo5_block_acquire(const char *name, solo5_handle_t *handle,
				   struct solo5_block_info *info)
{
	solo5_handle_t h = find_device(name, SOLO5_DEVICE_BLOCK);

	if (h == 0)
		return SOLO5_R_EINVAL;
	get_block_info(&manifest->e[h], info);
	*handle = h;
	return SOLO5_R_OK;
}

bool solo5__block_range(const struct mft_entry *e, solo5_off_t offset,
			size_t size)
{
	uint64_t unit = e->block.block_size;

	return size > 0 && size % unit == 0 && offset % unit == 0 &&
	       size <= e->block.capacity && offset <= e->block.capacity - size;
}
