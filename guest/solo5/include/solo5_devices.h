/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Extensions of these bindings to the Solo5 API: access to all devices of the
 * manifest, larger transfers, flushes, longer frames and a second output.
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

/* Returns the number of devices. Their handles are 1 to this number. */
unsigned solo5_device_count(void);

/* Describes a device. EINVAL: no such device. */
solo5_result_t solo5_device(solo5_handle_t handle, struct solo5_device *device);

/*
 * Enables features of the tender beyond the ABI for a block device. The manifest
 * does not contain them; the guest gets them from its configuration. A wrong
 * configuration is fatal: the tender kills a guest that uses more than it offers.
 *
 * transfer is the maximum size of one transfer, in bytes; 0 stands for one block.
 * flush permits solo5_block_flush. EINVAL: no such device, transfer is not a
 * multiple of the block size, or the target has no such features (hvt).
 */
solo5_result_t solo5_block_offer(solo5_handle_t handle, size_t transfer,
				 bool flush);

/*
 * Waits until all written data is on the host's disk. EUNSPEC: the host failed to
 * write it. EINVAL: solo5_block_offer has not enabled flushes.
 */
solo5_result_t solo5_block_flush(solo5_handle_t handle);

/*
 * Lets solo5_net_write send frames of up to size bytes. The host must accept
 * them: a tap with virtio headers and segmentation offload accepts frames of
 * 64 KiB after their header. EINVAL: no such network device.
 */
solo5_result_t solo5_net_set_longest(solo5_handle_t handle, size_t size);

/*
 * Writes to the guest's standard error. The tender may offer this second output. The
 * guest gets to know that from its configuration; without the offer the tender kills it.
 * Under hvt the text goes to the console.
 */
void solo5_stderr_write(const char *buf, size_t size);

/*
 * Of solo5_net_read under spt: with SOLO5_R_AGAIN it sets read_size to 0 if it has read
 * an empty frame. On a socket that keeps a connection this is the end. Without a frame it
 * leaves read_size alone.
 */

/* "spt" or "hvt". */
const char *solo5_target(void);

#ifdef __cplusplus
}
#endif

#endif
