// SPDX-License-Identifier: GPL-2.0-only
/*
 * The Solo5 console, for the kernel's messages and as a terminal, /dev/console,
 * for the program. It has no input. Output is not processed: a line ends in a
 * newline alone, because the console is usually a log file of the host.
 */
#include <linux/console.h>
#include <linux/init.h>
#include <linux/module.h>
#include <linux/tty.h>
#include <linux/tty_driver.h>
#include <linux/tty_flip.h>
#include <asm/solo5.h>

static struct tty_port solo5_tty_port;
static struct tty_driver *solo5_tty_driver;

static int solo5_tty_open(struct tty_struct *tty, struct file *file)
{
	return tty_port_open(&solo5_tty_port, tty, file);
}

static void solo5_tty_close(struct tty_struct *tty, struct file *file)
{
	tty_port_close(&solo5_tty_port, tty, file);
}

static int solo5_tty_write(struct tty_struct *tty, const unsigned char *buf, int count)
{
	solo5_console_write(buf, count);
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
	solo5_console_write(text, n);
}

static struct tty_driver *solo5_console_device(struct console *con, int *index)
{
	*index = 0;
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
	int err;

	driver = tty_alloc_driver(1, TTY_DRIVER_RESET_TERMIOS | TTY_DRIVER_REAL_RAW);
	if (IS_ERR(driver))
		return PTR_ERR(driver);
	solo5_tty_driver = driver;
	tty_port_init(&solo5_tty_port);
	solo5_tty_port.ops = &solo5_tty_port_ops;
	driver->driver_name = "solo5";
	driver->name = "ttyS";
	driver->major = TTY_MAJOR;
	driver->minor_start = 64;
	driver->type = TTY_DRIVER_TYPE_SERIAL;
	driver->init_termios = tty_std_termios;
	driver->init_termios.c_oflag = 0;
	driver->init_termios.c_cflag = B38400 | CS8 | CLOCAL | CREAD;
	tty_set_operations(driver, &solo5_tty_ops);
	tty_port_link_device(&solo5_tty_port, driver, 0);
	err = tty_register_driver(driver);
	if (err)
		tty_driver_kref_put(driver);
	return err;
}
device_initcall(solo5_tty_init);
