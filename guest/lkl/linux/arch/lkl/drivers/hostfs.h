/* SPDX-License-Identifier: GPL-2.0-only */
/* Shared by hostfs.c and hostfs_channel.c. */
#ifndef _LKL_HOSTFS_H
#define _LKL_HOSTFS_H

#include "fuse_i.h"

/* The longest data of a read or a write, in pages. The file server has the same limit. */
#define HOSTFS_MAX_PAGES 16

extern const struct fuse_iqueue_ops hostfs_queue_ops;

/* Returns whether the guest has the device "files". */
bool hostfs_channel_exists(void);
/* Carries the requests of a connection from now on. Fails with -EBUSY the second time. */
int hostfs_channel_open(struct fuse_conn *conn);
/* Called when all requests of the connection have ended. */
void hostfs_channel_close(void);

#endif
