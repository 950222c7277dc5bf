// SPDX-License-Identifier: GPL-2.0-only
/*
 * The outputs of Solo5: the console, and standard error if the tender offers it.
 * Until then both are the console. The kernel's messages go to standard error.
 *
 * Each output is a terminal for the program, ttyS0 or ttyS1, for a host that shows it
 * on a terminal. ttyS0 is also /dev/console. It is a plain character device, too,
 * /dev/out or /dev/err, for a host that writes it to a file. Neither has any input.
 * Output is not processed: a line ends in a newline alone.
 */
#include <linux/console.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/tty.h>
#include <linux/tty_driver.h>
#include <linux/tty_flip.h>
#include <linux/uio.h>
#include <asm/lkl.h>
#include <asm/solo5.h>

enum { SOLO5_STDOUT, SOLO5_STDERR, SOLO5_OUTPUTS };

static struct tty_port solo5_tty_ports[SOLO5_OUTPUTS];
static struct tty_driver *solo5_tty_driver;
static bool solo5_stderr_offered;

static void solo5_output_write(unsigned int output, const char *buf, size_t n)
{
	if (output == SOLO5_STDERR && solo5_stderr_offered)
		solo5_stderr_write(buf, n);
	else
		solo5_console_write(buf, n);
}

void lkl_stderr_offer(void)
{
	solo5_stderr_offered = true;
}

static int solo5_tty_open(struct tty_struct *tty, struct file *file)
{
	return tty_port_open(&solo5_tty_ports[tty->index], tty, file);
}

static void solo5_tty_close(struct tty_struct *tty, struct file *file)
{
	tty_port_close(&solo5_tty_ports[tty->index], tty, file);
}

static int solo5_tty_write(struct tty_struct *tty, const unsigned char *buf, int count)
{
	solo5_output_write(tty->index, buf, count);
	return count;
}

/* Writing never blocks, so any amount of room will do. */
static unsigned int solo5_tty_write_room(struct tty_struct *tty)
{
	return 65536;
}

static const struct tty_operations solo5_tty_ops = {
	.open = solo5_tty_open,
	.close = solo5_tty_close,
	.write = solo5_tty_write,
	.write_room = solo5_tty_write_room,
};

static const struct tty_port_operations solo5_tty_port_ops = {};

static void solo5_console_print(struct console *con, const char *text, unsigned int n)
{
	solo5_output_write(SOLO5_STDERR, text, n);
}

static struct tty_driver *solo5_console_device(struct console *con, int *index)
{
	*index = SOLO5_STDOUT;
	return solo5_tty_driver;
}

static struct console solo5_console = {
	.name = "ttyS",
	.write = solo5_console_print,
	.device = solo5_console_device,
	.flags = CON_PRINTBUFFER | CON_ENABLED,
	.index = 0,
};

static int __init solo5_console_init(void)
{
	register_console(&solo5_console);
	return 0;
}
console_initcall(solo5_console_init);

static int __init solo5_tty_init(void)
{
	struct tty_driver *driver;
	int err, i;

	driver = tty_alloc_driver(SOLO5_OUTPUTS, TTY_DRIVER_RESET_TERMIOS | TTY_DRIVER_REAL_RAW);
	if (IS_ERR(driver))
		return PTR_ERR(driver);
	solo5_tty_driver = driver;
	driver->driver_name = "solo5";
	driver->name = "ttyS";
	driver->major = TTY_MAJOR;
	driver->minor_start = 64;
	driver->type = TTY_DRIVER_TYPE_SERIAL;
	driver->init_termios = tty_std_termios;
	driver->init_termios.c_oflag = 0;
	driver->init_termios.c_cflag = B38400 | CS8 | CLOCAL | CREAD;
	tty_set_operations(driver, &solo5_tty_ops);
	for (i = 0; i < SOLO5_OUTPUTS; i++) {
		tty_port_init(&solo5_tty_ports[i]);
		solo5_tty_ports[i].ops = &solo5_tty_port_ops;
		tty_port_link_device(&solo5_tty_ports[i], driver, i);
	}
	err = tty_register_driver(driver);
	if (err)
		tty_driver_kref_put(driver);
	return err;
}
device_initcall(solo5_tty_init);

/* Nothing preempts the kernel, and the host is called at once: one buffer is enough. */
static ssize_t solo5_file_write(unsigned int output, struct iov_iter *from)
{
	static char buf[PAGE_SIZE];
	ssize_t done = 0;
	size_t n;

	while ((n = copy_from_iter(buf, sizeof(buf), from))) {
		solo5_output_write(output, buf, n);
		done += n;
	}
	return done || !iov_iter_count(from) ? done : -EFAULT;
}

static ssize_t solo5_out_write(struct kiocb *iocb, struct iov_iter *from)
{
	return solo5_file_write(SOLO5_STDOUT, from);
}

static ssize_t solo5_err_write(struct kiocb *iocb, struct iov_iter *from)
{
	return solo5_file_write(SOLO5_STDERR, from);
}

/* As a pipe, it can be waited for by epoll. */
static __poll_t solo5_file_poll(struct file *file, poll_table *wait)
{
	return EPOLLOUT | EPOLLWRNORM;
}

static const struct file_operations solo5_out_fops = {
	.owner = THIS_MODULE,
	.open = stream_open,
	.write_iter = solo5_out_write,
	.splice_write = iter_file_splice_write,
	.poll = solo5_file_poll,
	.llseek = no_llseek,
};

static const struct file_operations solo5_err_fops = {
	.owner = THIS_MODULE,
	.open = stream_open,
	.write_iter = solo5_err_write,
	.splice_write = iter_file_splice_write,
	.poll = solo5_file_poll,
	.llseek = no_llseek,
};

/* Any user may open them again by /dev/stdout and /dev/stderr. */
static struct miscdevice solo5_files[SOLO5_OUTPUTS] = {
	{ .minor = MISC_DYNAMIC_MINOR, .name = "out", .mode = 0666, .fops = &solo5_out_fops },
	{ .minor = MISC_DYNAMIC_MINOR, .name = "err", .mode = 0666, .fops = &solo5_err_fops },
};

static int __init solo5_files_init(void)
{
	int err = misc_register(&solo5_files[SOLO5_STDOUT]);

	return err ?: misc_register(&solo5_files[SOLO5_STDERR]);
}
device_initcall(solo5_files_init);
