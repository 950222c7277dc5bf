/* SPDX-License-Identifier: GPL-2.0-only */
/* Shared by hostfs.c, hostfs_channel.c and hostfs_frame.c. */
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

/* hostfs_frame.c: copies the header and all arguments of a request to a frame. */
void hostfs_put_request(u8 *to, struct fuse_req *req);
/*
 * Copies the arguments of an answer, of len bytes after its header. Returns 0, or -EIO if the
 * request cannot have an answer of this length.
 */
int hostfs_get_answer(struct fuse_args *args, const u8 *from, unsigned int len);

#endif
