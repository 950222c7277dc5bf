// SPDX-License-Identifier: GPL-2.0-only
/*
 * Solo5 block devices. Each is named after its entry in the manifest.
 *
 * Solo5 has no completion of requests: a request is carried out when it is queued.
 * Data written is then in the host's page cache. It reaches the host's disk after
 * a flush, if the tender offers one (LKL_NR_DISK); see docs/guest-reference.md.
 */
#include <linux/blk-mq.h>
#include <linux/init.h>
#include <linux/module.h>
#include <asm/lkl.h>
#include <asm/solo5.h>

/* The number of requests that can be collected and merged before one is carried out. */
#define SOLO5_BLK_DEPTH 64
/* The largest request, and the number of its segments if no two pages are adjacent. */
#define SOLO5_BLK_MAX_BYTES SZ_1M
#define SOLO5_BLK_MAX_SEGMENTS (SOLO5_BLK_MAX_BYTES / PAGE_SIZE)

struct solo5_blk {
	struct blk_mq_tag_set tags;
	struct gendisk *gd;
	const char *name;	/* the full name: gd->disk_name may be cut */
	u64 handle;
	struct solo5_blk *next;
};

static struct solo5_blk *solo5_blk_disks;

static int solo5_blk_move(struct solo5_blk *disk, struct request *rq, u64 offset, u8 *buf,
			  size_t len)
{
	if (req_op(rq) == REQ_OP_WRITE)
		return solo5_block_write(disk->handle, offset, buf, len);
	return solo5_block_read(disk->handle, offset, buf, len);
}

/* Each host call moves as many segments as are adjacent in memory. */
static blk_status_t solo5_blk_transfer(struct solo5_blk *disk, struct request *rq)
{
	u64 offset = blk_rq_pos(rq) << SECTOR_SHIFT;
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
		if (len && solo5_blk_move(disk, rq, offset, buf, len) != SOLO5_R_OK)
			return BLK_STS_IOERR;
		offset += len;
		buf = next;
		len = bv.bv_len;
	}
	if (solo5_blk_move(disk, rq, offset, buf, len) != SOLO5_R_OK)
		return BLK_STS_IOERR;
	return BLK_STS_OK;
}

static blk_status_t solo5_blk_queue_rq(struct blk_mq_hw_ctx *hctx,
				       const struct blk_mq_queue_data *bd)
{
	struct request *rq = bd->rq;
	struct solo5_blk *disk = hctx->queue->queuedata;
	blk_status_t status = BLK_STS_NOTSUPP;

	blk_mq_start_request(rq);
	switch (req_op(rq)) {
	case REQ_OP_READ:
	case REQ_OP_WRITE:
		status = solo5_blk_transfer(disk, rq);
		break;
	case REQ_OP_FLUSH:
		status = BLK_STS_IOERR;
		if (solo5_block_flush(disk->handle) == SOLO5_R_OK)
			status = BLK_STS_OK;
		break;
	default:
		break;
	}
	blk_mq_end_request(rq, status);
	return BLK_STS_OK;
}

int lkl_disk_offer(const struct lkl_disk_offer *offer)
{
	struct solo5_blk *disk;

	for (disk = solo5_blk_disks; disk; disk = disk->next) {
		if (strcmp(disk->name, offer->name))
			continue;
		if (solo5_block_offer(disk->handle, offer->transfer, offer->flush) != SOLO5_R_OK)
			return -EINVAL;
		blk_queue_write_cache(disk->gd->queue, offer->flush, false);
		return 0;
	}
	return -ENODEV;
}

static const struct blk_mq_ops solo5_blk_mq_ops = {
	.queue_rq = solo5_blk_queue_rq,
};

static const struct block_device_operations solo5_blk_ops = {
	.owner = THIS_MODULE,
};

static void __init solo5_blk_set_limits(struct request_queue *q, unsigned int sector)
{
	blk_queue_logical_block_size(q, sector);
	blk_queue_physical_block_size(q, sector);
	blk_queue_dma_alignment(q, sector - 1);
	blk_queue_max_hw_sectors(q, SOLO5_BLK_MAX_BYTES >> SECTOR_SHIFT);
	blk_queue_max_segments(q, SOLO5_BLK_MAX_SEGMENTS);
	blk_queue_flag_set(QUEUE_FLAG_NONROT, q);
}

static int __init solo5_blk_add(u64 handle, const struct solo5_device *dev)
{
	u64 sector = dev->block.block_size;
	struct gendisk *gd;
	struct solo5_blk *disk;
	int err;

	BUILD_BUG_ON(sizeof(gd->disk_name) != LKL_DISK_NAME_MAX + 1);
	if (sector > PAGE_SIZE || sector < SECTOR_SIZE) {
		pr_err("block device %s: sectors of %llu bytes are not supported\n",
		       dev->name, sector);
		return -EINVAL;
	}
	disk = kzalloc(sizeof(*disk), GFP_KERNEL);
	if (!disk)
		return -ENOMEM;
	disk->name = dev->name;
	disk->handle = handle;
	err = blk_mq_alloc_sq_tag_set(&disk->tags, &solo5_blk_mq_ops, SOLO5_BLK_DEPTH,
				      BLK_MQ_F_SHOULD_MERGE);
	if (err)
		goto free_disk;
	gd = blk_mq_alloc_disk(&disk->tags, disk);
	if (IS_ERR(gd)) {
		err = PTR_ERR(gd);
		goto free_tags;
	}
	strscpy(gd->disk_name, dev->name, sizeof(gd->disk_name));
	gd->fops = &solo5_blk_ops;
	gd->flags |= GENHD_FL_NO_PART;
	solo5_blk_set_limits(gd->queue, sector);
	set_capacity(gd, dev->block.capacity >> SECTOR_SHIFT);
	err = add_disk(gd);
	if (err)
		goto put_gd;
	disk->gd = gd;
	disk->next = solo5_blk_disks;
	solo5_blk_disks = disk;
	return 0;
put_gd:
	put_disk(gd);
free_tags:
	blk_mq_free_tag_set(&disk->tags);
free_disk:
	kfree(disk);
	return err;
}

static int __init solo5_blk_init(void)
{
	struct solo5_device dev;
	unsigned int i;

	for (i = 1; i <= solo5_device_count(); i++)
		if (solo5_device(i, &dev) == SOLO5_R_OK && dev.type == SOLO5_DEVICE_BLOCK)
			solo5_blk_add(i, &dev);
	return 0;
}
device_initcall(solo5_blk_init);
