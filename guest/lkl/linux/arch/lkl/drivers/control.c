// SPDX-License-Identifier: GPL-2.0-only
/*
 * The control device: a Solo5 network device named "control" whose frames are not
 * Ethernet frames but lines of text from the executor on the host. The start
 * program reads them from /dev/control, one per read().
 */
#include <linux/init.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/uaccess.h>
#include <linux/wait.h>
#include <asm/lkl.h>
#include <asm/solo5.h>

static unsigned int solo5_control_handle;
/* The frame that waits for a reader. */
static u8 solo5_control_frame[LKL_CONTROL_FRAME_MAX];
static size_t solo5_control_frame_len;	/* 0: no frame waits */
static DECLARE_WAIT_QUEUE_HEAD(solo5_control_wait);

/* Returns whether a frame waits. */
static bool solo5_control_receive(void)
{
	int result;

	if (solo5_control_frame_len)
		return true;
	result = solo5_net_read(solo5_control_handle, solo5_control_frame,
				sizeof(solo5_control_frame), &solo5_control_frame_len);
	if (result == SOLO5_R_OK)
		return true;
	solo5_control_frame_len = 0;
	if (result != SOLO5_R_AGAIN)
		lkl_device_gone("control");
	return false;
}

static void solo5_control_ready(void *arg)
{
	if (!solo5_control_frame_len && solo5_control_receive())
		wake_up_interruptible(&solo5_control_wait);
}

static ssize_t solo5_control_read(struct file *file, char __user *buf, size_t size, loff_t *pos)
{
	size_t n;
	int err;

	if (!solo5_control_receive()) {
		if (file->f_flags & O_NONBLOCK)
			return -EAGAIN;
		err = wait_event_interruptible(solo5_control_wait, solo5_control_frame_len);
		if (err)
			return err;
	}
	n = min(size, solo5_control_frame_len);
	solo5_control_frame_len = 0;
	return copy_to_user(buf, solo5_control_frame, n) ? -EFAULT : n;
}

static __poll_t solo5_control_poll(struct file *file, poll_table *wait)
{
	poll_wait(file, &solo5_control_wait, wait);
	return solo5_control_receive() ? EPOLLIN | EPOLLRDNORM : 0;
}

static const struct file_operations solo5_control_fops = {
	.owner = THIS_MODULE,
	.read = solo5_control_read,
	.poll = solo5_control_poll,
	.llseek = no_llseek,
};

static struct miscdevice solo5_control_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "control",
	.fops = &solo5_control_fops,
	.mode = 0400,
};

static int __init solo5_control_init(void)
{
	solo5_control_handle = lkl_find_net_device("control");
	if (!solo5_control_handle)
		return 0;
	lkl_device_ready(solo5_control_handle, solo5_control_ready, NULL);
	return misc_register(&solo5_control_misc);
}
device_initcall(solo5_control_init);
