// SPDX-License-Identifier: GPL-2.0-only
/*
 * The Solo5 console: the kernel's messages, and a terminal (so /dev/console) that the program writes to. There is no
 * input. What is written goes out as it is: lines end in a newline, not in a carriage return and a newline.
 */
#include <linux/console.h>
#include <linux/init.h>
#include <linux/module.h>
#include <linux/tty.h>
#include <linux/tty_driver.h>
#include <linux/tty_flip.h>
#include <asm/solo5.h>

static struct tty_port port;
static struct tty_driver *driver;

static int tty_open_console(struct tty_struct *tty, struct file *file)
{
	return tty_port_open(&port, tty, file);
}

static void tty_close_console(struct tty_struct *tty, struct file *file)
{
	tty_port_close(&port, tty, file);
}

static int tty_write_console(struct tty_struct *tty, const unsigned char *buf, int count)
{
	solo5_console_write(buf, count);
	return count;
}

static unsigned int tty_room(struct tty_struct *tty)
{
	return 65536;
}

static const struct tty_operations tty_ops = {
	.open = tty_open_console,
	.close = tty_close_console,
	.write = tty_write_console,
	.write_room = tty_room,
};

static const struct tty_port_operations port_ops = {};

static void console_write(struct console *con, const char *text, unsigned int n)
{
	solo5_console_write(text, n);
}

static struct tty_driver *device_of_console(struct console *con, int *index)
{
	*index = 0;
	return driver;
}

static struct console console = {
	.name = "ttyS",
	.write = console_write,
	.device = device_of_console,
	.flags = CON_PRINTBUFFER | CON_ENABLED,
	.index = 0,
};

static int __init register_it(void)
{
	register_console(&console);
	return 0;
}
console_initcall(register_it);

static int __init tty_start(void)
{
	int err;

	driver = tty_alloc_driver(1, TTY_DRIVER_RESET_TERMIOS | TTY_DRIVER_REAL_RAW);
	if (IS_ERR(driver))
		return PTR_ERR(driver);
	tty_port_init(&port);
	port.ops = &port_ops;
	driver->driver_name = "solo5";
	driver->name = "ttyS";
	driver->major = TTY_MAJOR;
	driver->minor_start = 64;
	driver->type = TTY_DRIVER_TYPE_SERIAL;
	driver->init_termios = tty_std_termios;
	driver->init_termios.c_oflag = 0;
	driver->init_termios.c_cflag = B38400 | CS8 | CLOCAL | CREAD;
	tty_set_operations(driver, &tty_ops);
	tty_port_link_device(&port, driver, 0);
	err = tty_register_driver(driver);
	if (err)
		tty_driver_kref_put(driver);
	return err;
}
device_initcall(tty_start);
