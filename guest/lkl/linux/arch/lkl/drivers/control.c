// SPDX-License-Identifier: GPL-2.0-only
/*
 * The device "control" of the manifest: a network device whose frames are not Ethernet's but lines of text from whoever
 * runs the guest. The start program reads them from /dev/control, one a read; see guest/lkl/start.
 */
#include <linux/init.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/uaccess.h>
#include <linux/wait.h>
#include <asm/lkl.h>
#include <asm/solo5.h>

static unsigned int handle;
static u8 frame[1514];
static size_t frame_len;	/* bytes of the frame that waits for its reader; 0: none */
static DECLARE_WAIT_QUEUE_HEAD(waiting);

static bool receive(void)
{
	int result;

	if (frame_len)
		return true;
	result = solo5_net_read(handle, frame, sizeof(frame), &frame_len);
	if (result == SOLO5_R_OK)
		return true;
	frame_len = 0;
	if (result != SOLO5_R_AGAIN)
		lkl_device_gone("control");
	return false;
}

static void ready(void *arg)
{
	if (!frame_len && receive())
		wake_up_interruptible(&waiting);
}

static ssize_t read(struct file *file, char __user *buf, size_t size, loff_t *pos)
{
	size_t n;
	int err;

	if (!receive()) {
		if (file->f_flags & O_NONBLOCK)
			return -EAGAIN;
		err = wait_event_interruptible(waiting, frame_len);
		if (err)
			return err;
	}
	n = min(size, frame_len);
	frame_len = 0;
	return copy_to_user(buf, frame, n) ? -EFAULT : n;
}

static __poll_t poll(struct file *file, poll_table *wait)
{
	poll_wait(file, &waiting, wait);
	return receive() ? EPOLLIN | EPOLLRDNORM : 0;
}

static const struct file_operations fops = {
	.owner = THIS_MODULE,
	.read = read,
	.poll = poll,
	.llseek = no_llseek,
};

static struct miscdevice misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "control",
	.fops = &fops,
	.mode = 0400,
};

static int __init start(void)
{
	struct solo5_device dev;
	unsigned int i;

	for (i = 1; i <= solo5_device_count(); i++)
		if (solo5_device(i, &dev) == SOLO5_R_OK && dev.type == SOLO5_DEVICE_NET && !strcmp(dev.name, "control"))
			handle = i;
	if (!handle)
		return 0;
	lkl_device_ready(handle, ready, NULL);
	return misc_register(&misc);
}
device_initcall(start);
