// SPDX-License-Identifier: GPL-2.0-only
/* The frames of hostfs_channel.c: copies arguments and pages of requests to and from them. */
#include "hostfs.h"

/* Copies the pages of a request to the frame. */
static void hostfs_put_pages(u8 *to, struct fuse_args *args, unsigned int len)
{
	struct fuse_args_pages *ap = container_of(args, struct fuse_args_pages, args);
	unsigned int i, n;

	for (i = 0; i < ap->num_pages && len; i++) {
		n = min(len, ap->descs[i].length);
		memcpy(to, page_address(ap->pages[i]) + ap->descs[i].offset, n);
		to += n;
		len -= n;
	}
}

/* Copies data of an answer to pages. What is missing of a short read is zero. */
static void hostfs_get_pages(struct fuse_args *args, const u8 *from, unsigned int len)
{
	struct fuse_args_pages *ap = container_of(args, struct fuse_args_pages, args);
	unsigned int i, n;

	for (i = 0; i < ap->num_pages && (len || args->page_zeroing); i++) {
		u8 *to = page_address(ap->pages[i]) + ap->descs[i].offset;

		n = min(len, ap->descs[i].length);
		memcpy(to, from, n);
		if (args->page_zeroing)
			memset(to + n, 0, ap->descs[i].length - n);
		from += n;
		len -= n;
	}
}

void hostfs_put_request(u8 *to, struct fuse_req *req)
{
	struct fuse_args *args = req->args;
	unsigned int i;

	memcpy(to, &req->in.h, sizeof(req->in.h));
	to += sizeof(req->in.h);
	for (i = 0; i < args->in_numargs; i++) {
		const struct fuse_in_arg *arg = &args->in_args[i];

		if (args->in_pages && i == args->in_numargs - 1)
			hostfs_put_pages(to, args, arg->size);
		else
			memcpy(to, arg->value, arg->size);
		to += arg->size;
	}
}

int hostfs_get_answer(struct fuse_args *args, const u8 *from, unsigned int len)
{
	unsigned int wanted = fuse_len_args(args->out_numargs, args->out_args), i;
	struct fuse_arg *last = &args->out_args[args->out_numargs - 1];

	if (len > wanted)
		return -EIO;
	if (len < wanted) {
		if (!args->out_argvar || wanted - len > last->size)
			return -EIO;
		last->size -= wanted - len;
	}
	for (i = 0; i < args->out_numargs; i++) {
		struct fuse_arg *arg = &args->out_args[i];

		if (args->out_pages && arg == last)
			hostfs_get_pages(args, from, arg->size);
		else
			memcpy(arg->value, from, arg->size);
		from += arg->size;
	}
	return 0;
}
