/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The manifest at run time: an addition of these bindings to the Solo5 API, for
 * unikernels that want every device and not those of names known beforehand.
 */
#ifndef SOLO5_DEVICES_H
#define SOLO5_DEVICES_H

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

/* "spt" or "hvt". */
const char *solo5_target(void);

#ifdef __cplusplus
}
#endif

#endif
