/* SPDX-License-Identifier: MPL-2.0 */
/* pid 1: prepares the guest, starts the program, and waits for its end. */
#include "start.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>

static struct cmdline cmdline;
static struct config config;
static long program;		/* process ID */
static long stop_signal;	/* the signal by which the host wants to stop the program, or 0 */

static void prepare(void)
{
	if (!cmdline_read(&cmdline)) {
		say("lkl: no memory for the command line: give the guest more", NULL);
		finish(LKL_EXIT_CONFIG);
	}
	if (cmdline.config && !config_read(&config, cmdline.config))
		finish(LKL_EXIT_CONFIG);
	if (config_is_set(config.fsgsbase))
		CALL(LKL_NR_FSGSBASE);
	mount_own();
	output_enable(&config);
	output_open(&config, "/dev");
	disks_offer(&config);
	mount_all(&config);
	output_open(&config, ROOT "/dev");
	add_entropy(config.entropy);
	set_hostname(config.hostname);
	network_up(&config);
	set_limits();
	set_sysctls(config.sysctl);
}

static void delay_main(void)
{
	long us = config_number("delay_main", config.delay, 0, 1L << 50);
	struct timespec delay = { us / 1000000, us % 1000000 * 1000 };

	if (us)
		CALL(SYS_nanosleep, &delay, 0);
}

/*
 * Handles a frame of the control device: "signal N" or "stop N". Both send a signal
 * to the program. After "stop" the host expects the program to end.
 *
 * Other frames that are text are reported. Binary ones are ignored: the device may
 * be a tap, on which the host's network stack sends Ethernet frames.
 */
static void handle_frame(char *frame, long n)
{
	char *text = NULL;
	long signal;

	if (n < 1 || frame[0] < 'a' || frame[0] > 'z')
		return;
	if (n > 7 && !memcmp(frame, "signal ", 7))
		text = frame + 7;
	else if (n > 5 && !memcmp(frame, "stop ", 5))
		text = frame + 5;
	while (n > 0 && (frame[n - 1] == '\n' || !frame[n - 1]))
		n--;
	frame[n] = 0;
	signal = decimal(text, 0);
	if (signal < 1 || signal > 64) {
		say("lkl: unknown frame on the control device: ", frame, NULL);
		return;
	}
	if (text == frame + 5 || signal == SIGKILL)
		stop_signal = signal;
	CALL(SYS_kill, program, signal);
}

/* Reports why the program was killed, unless the host has sent that signal. */
static void report_killed(int signal)
{
	char text[4] = { '0' + signal / 10, '0' + signal % 10 };

	if (signal == stop_signal)
		return;
	if (signal == SIGKILL && lkl_out_of_memory)
		say("lkl: the program was killed because the guest ran out of memory: give it more", NULL);
	else
		say("lkl: the program was killed by signal ", signal < 10 ? text + 1 : text, " (",
		    signal_name(signal), ")", NULL);
}

/* The kernel has reported that a network device is gone (lkl_device_gone()). */
static void read_signals(long fd)
{
	struct signalfd_siginfo info;

	while (CALL(SYS_read, fd, &info, sizeof(info)) > 0)
		if (info.ssi_signo == LKL_SIG_DEVICE_GONE) {
			say("lkl: the guest ends because a network device is gone", NULL);
			finish(LKL_EXIT_NETWORK);
		}
}

/* Waits for processes that have ended. The guest ends with the program. */
static void reap(void)
{
	int status;
	long pid;

	while ((pid = CALL(SYS_wait4, -1, &status, WNOHANG, 0)) > 0) {
		if (pid != program)
			continue;
		if (WIFSIGNALED(status)) {
			report_killed(WTERMSIG(status));
			finish(128 + WTERMSIG(status));
		}
		finish(WEXITSTATUS(status));
	}
}

void lkl_start_program(void)
{
	static char frame[LKL_CONTROL_FRAME_MAX + 1];
	uint64_t mask = 1UL << (SIGCHLD - 1) | 1UL << (LKL_SIG_DEVICE_GONE - 1);
	long signals, control, n;

	prepare();
	CALL(SYS_rt_sigprocmask, SIG_BLOCK, &mask, 0, sizeof(mask));
	signals = CALL(SYS_signalfd4, -1, &mask, sizeof(mask), SFD_CLOEXEC | SFD_NONBLOCK);
	control = CALL(SYS_open, "/dev/control", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	delay_main();
	program = program_start(&config, &cmdline);
	for (;;) {
		struct pollfd fds[] = { { signals, POLLIN, 0 }, { control, POLLIN, 0 } };

		CALL(SYS_poll, fds, ARRAY_SIZE(fds), -1);
		read_signals(signals);
		reap();
		while (control >= 0 && (n = CALL(SYS_read, control, frame, sizeof(frame) - 1)) > 0)
			handle_frame(frame, n);
	}
}
