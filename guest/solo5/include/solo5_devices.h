/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The manifest at run time: an addition of these bindings to the Solo5 API, for
 * unikernels that want every device and not those of names known beforehand.
 */
#ifndef SOLO5_DEVICES_H
#define SOLO5_DEVICES_H

#include <stdbool.h>

#include <solo5.h>

#ifdef __cplusplus
extern "C" {
#endif

enum solo5_device_type {
	SOLO5_DEVICE_BLOCK = 1,
	SOLO5_DEVICE_NET = 2
};

struct solo5_device {
	const char *name;
	enum solo5_device_type type;
	union {
		struct solo5_block_info block;
		struct solo5_net_info net;
	};
};

/* How many devices there are; their handles are 1 to this number. */
unsigned solo5_device_count(void);

/* Describes a device. EINVAL: no such handle. */
solo5_result_t solo5_device(solo5_handle_t handle, struct solo5_device *device);

/*
 * What a tender offers for a block device beyond the ABI. No tender tells it in
 * the manifest: a guest learns it from its configuration, which has to be true,
 * since a tender ends a guest that asks for more than it offers.
 *
 * transfer is how many bytes, whole blocks, the host moves in one call; 0 leaves
 * it at one block. flush is whether solo5_block_flush may be called. EINVAL: no
 * such device, no whole blocks, or the target knows no offers (hvt).
 */
solo5_result_t solo5_block_offer(solo5_handle_t handle, size_t transfer,
				 bool flush);

/*
 * Returns when all that was written is on the host's disk. EUNSPEC: it may not
 * be. EINVAL: flushing was not offered.
 */
solo5_result_t solo5_block_flush(solo5_handle_t handle);

/*
 * Lets solo5_net_write send frames of up to size bytes, where the host has said
 * that it takes such: a tap with a virtio header and segmentation offload takes
 * a frame of 64 KiB behind its header. EINVAL: no such network device.
 */
solo5_result_t solo5_net_set_longest(solo5_handle_t handle, size_t size);

/* "spt" or "hvt". */
const char *solo5_target(void);

#ifdef __cplusplus
}
#endif

#endif
