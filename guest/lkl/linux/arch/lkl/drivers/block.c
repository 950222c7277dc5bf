// SPDX-License-Identifier: GPL-2.0-only
/*
 * Solo5 block devices, each under its name in the manifest. A request is carried out while it is queued: the interface has
 * no completion. What it has written is with the host, or on the host's disk after a flush, where the tender offers one
 * (see docs/guests.md on what survives what).
 */
#include <linux/blk-mq.h>
#include <linux/init.h>
#include <linux/module.h>
#include <asm/lkl.h>
#include <asm/solo5.h>

/* Requests that may be collected before one is carried out. */
#define DEPTH 64
/* The largest request, in bytes, and its pages if none lies beside another one. */
#define REQUEST SZ_1M
#define SEGMENTS (REQUEST / PAGE_SIZE)

struct disk {
	struct blk_mq_tag_set tags;
	struct gendisk *gd;
	const char *name;	/* whole; Linux's own is cut at 31 characters */
	u64 handle;
	struct disk *next;
};

static struct disk *disks;

static int move(struct disk *disk, struct request *rq, u64 at, u8 *buf, size_t len)
{
	return req_op(rq) == REQ_OP_WRITE ? solo5_block_write(disk->handle, at, buf, len) :
					    solo5_block_read(disk->handle, at, buf, len);
}

/* What lies side by side in memory goes in one. */
static blk_status_t transfer(struct disk *disk, struct request *rq)
{
	u64 at = blk_rq_pos(rq) << SECTOR_SHIFT;
	struct req_iterator iter;
	struct bio_vec bv;
	u8 *buf = NULL;
	size_t len = 0;

	rq_for_each_bvec(bv, rq, iter) {
		u8 *next = page_address(bv.bv_page) + bv.bv_offset;

		if (next == buf + len) {
			len += bv.bv_len;
			continue;
		}
		if (len && move(disk, rq, at, buf, len) != SOLO5_R_OK)
			return BLK_STS_IOERR;
		at += len;
		buf = next;
		len = bv.bv_len;
	}
	return move(disk, rq, at, buf, len) == SOLO5_R_OK ? BLK_STS_OK : BLK_STS_IOERR;
}

static blk_status_t queue_rq(struct blk_mq_hw_ctx *hctx, const struct blk_mq_queue_data *bd)
{
	struct request *rq = bd->rq;
	struct disk *disk = hctx->queue->queuedata;
	blk_status_t status = BLK_STS_NOTSUPP;

	blk_mq_start_request(rq);
	switch (req_op(rq)) {
	case REQ_OP_READ:
	case REQ_OP_WRITE:
		status = transfer(disk, rq);
		break;
	case REQ_OP_FLUSH:
		status = solo5_block_flush(disk->handle) == SOLO5_R_OK ? BLK_STS_OK : BLK_STS_IOERR;
		break;
	default:
		break;
	}
	blk_mq_end_request(rq, status);
	return BLK_STS_OK;
}

int lkl_disk_offer(const struct lkl_disk_offer *offer)
{
	struct disk *d;

	for (d = disks; d; d = d->next) {
		if (strcmp(d->name, offer->name))
			continue;
		if (solo5_block_offer(d->handle, offer->transfer, offer->flush) != SOLO5_R_OK)
			return -EINVAL;
		blk_queue_write_cache(d->gd->queue, offer->flush, false);
		return 0;
	}
	return -ENODEV;
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
	disk->name = dev->name;
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
	blk_queue_dma_alignment(gd->queue, dev->block.block_size - 1);
	blk_queue_max_hw_sectors(gd->queue, REQUEST >> SECTOR_SHIFT);
	blk_queue_max_segments(gd->queue, SEGMENTS);
	blk_queue_flag_set(QUEUE_FLAG_NONROT, gd->queue);
	set_capacity(gd, dev->block.capacity >> SECTOR_SHIFT);
	err = add_disk(gd);
	if (!err) {
		disk->gd = gd;
		disk->next = disks;
		disks = disk;
		return 0;
	}
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
