// SPDX-License-Identifier: GPL-2.0-only
/*
 * Solo5 block devices, each under its name in the manifest. A request is carried out while it is queued: the interface has
 * neither completion nor flush, and what it has written is with the host (see docs/guests.md on what survives what).
 */
#include <linux/blk-mq.h>
#include <linux/init.h>
#include <linux/module.h>
#include <asm/solo5.h>

/* Requests that may be collected before one is carried out. */
#define DEPTH 64

struct disk {
	struct blk_mq_tag_set tags;
	u64 handle;
};

static blk_status_t queue_rq(struct blk_mq_hw_ctx *hctx, const struct blk_mq_queue_data *bd)
{
	struct request *rq = bd->rq;
	struct disk *disk = hctx->queue->queuedata;
	u64 at = blk_rq_pos(rq) << SECTOR_SHIFT;
	struct req_iterator iter;
	struct bio_vec bv;
	blk_status_t status = BLK_STS_OK;

	blk_mq_start_request(rq);
	switch (req_op(rq)) {
	case REQ_OP_READ:
	case REQ_OP_WRITE:
		break;
	case REQ_OP_FLUSH:
		goto out;
	default:
		status = BLK_STS_NOTSUPP;
		goto out;
	}
	rq_for_each_bvec(bv, rq, iter) {
		u8 *buf = page_address(bv.bv_page) + bv.bv_offset;
		int r = req_op(rq) == REQ_OP_WRITE ? solo5_block_write(disk->handle, at, buf, bv.bv_len) :
						     solo5_block_read(disk->handle, at, buf, bv.bv_len);

		if (r != SOLO5_R_OK) {
			status = BLK_STS_IOERR;
			break;
		}
		at += bv.bv_len;
	}
out:
	blk_mq_end_request(rq, status);
	return BLK_STS_OK;
}

static const struct blk_mq_ops ops = {
	.queue_rq = queue_rq,
};

static const struct block_device_operations disk_ops = {
	.owner = THIS_MODULE,
};

static int __init add(u64 handle, const struct solo5_device *dev)
{
	struct gendisk *gd;
	struct disk *disk;
	int err = -ENOMEM;

	if (dev->block.block_size > PAGE_SIZE || dev->block.block_size < SECTOR_SIZE) {
		pr_err("block device %s: sectors of %llu bytes are not supported\n", dev->name, dev->block.block_size);
		return -EINVAL;
	}
	disk = kzalloc(sizeof(*disk), GFP_KERNEL);
	if (!disk)
		return -ENOMEM;
	disk->handle = handle;
	err = blk_mq_alloc_sq_tag_set(&disk->tags, &ops, DEPTH, BLK_MQ_F_SHOULD_MERGE);
	if (err)
		goto free;
	gd = blk_mq_alloc_disk(&disk->tags, disk);
	if (IS_ERR(gd)) {
		err = PTR_ERR(gd);
		goto tags;
	}
	strscpy(gd->disk_name, dev->name, sizeof(gd->disk_name));
	gd->fops = &disk_ops;
	gd->flags |= GENHD_FL_NO_PART;
	blk_queue_logical_block_size(gd->queue, dev->block.block_size);
	blk_queue_physical_block_size(gd->queue, dev->block.block_size);
	blk_queue_max_hw_sectors(gd->queue, 2048);
	blk_queue_max_segments(gd->queue, 256);
	blk_queue_flag_set(QUEUE_FLAG_NONROT, gd->queue);
	set_capacity(gd, dev->block.capacity >> SECTOR_SHIFT);
	err = add_disk(gd);
	if (!err)
		return 0;
	put_disk(gd);
tags:
	blk_mq_free_tag_set(&disk->tags);
free:
	kfree(disk);
	return err;
}

static int __init start(void)
{
	struct solo5_device dev;
	unsigned int i;

	for (i = 1; i <= solo5_device_count(); i++)
		if (solo5_device(i, &dev) == SOLO5_R_OK && dev.type == SOLO5_DEVICE_BLOCK)
			add(i, &dev);
	return 0;
}
device_initcall(start);
