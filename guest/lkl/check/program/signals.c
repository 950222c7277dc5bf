/* SPDX-License-Identifier: MPL-2.0 */
/* Signals to the process and their handlers. */
#define _GNU_SOURCE
#include "check.h"

#include <fenv.h>
#include <poll.h>
#include <setjmp.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <ucontext.h>

static volatile int count, last, depth, deepest;
static siginfo_t info;

static void count_signal(int sig)
{
	count++;
	last = sig;
}

static void note_info(int sig, siginfo_t *i, void *context)
{
	(void)context;
	count_signal(sig);
	info = *i;
}

static void handled(void)
{
	count = 0;
	set_handler(SIGUSR1, count_signal, 0);
	set_handler(SIGRTMAX, count_signal, 0);
	IS(raise(SIGUSR1), 0);
	IS(count, 1);
	OK(kill(getpid(), SIGRTMAX));
	IS(count, 2);
	IS(last, SIGRTMAX);
	FAILS(kill(getpid(), 99), EINVAL);
	OK(kill(getpid(), 0));
}

static void information(void)
{
	struct sigaction action = { .sa_sigaction = note_info, .sa_flags = SA_SIGINFO };
	union sigval v = { .sival_int = 99 };

	count = 0;
	OK(sigaction(SIGUSR1, &action, NULL));
	OK(kill(getpid(), SIGUSR1));
	IS(info.si_signo, SIGUSR1);
	IS(info.si_code, SI_USER);
	TRUE(info.si_pid == getpid());
	TRUE(info.si_uid == getuid());
	raise(SIGUSR1);
	IS(info.si_code, SI_TKILL);
	OK(sigqueue(getpid(), SIGUSR1, v));
	IS(info.si_code, SI_QUEUE);
	IS(info.si_value.sival_int, 99);
	IS(count, 3);
}

static void raise_nested(int sig)
{
	if (++depth > deepest)
		deepest = depth;
	if (count++ < 3)
		raise(sig);
	depth--;
}

static void blocked_in_handler(void)
{
	count = depth = deepest = 0;
	set_handler(SIGUSR1, raise_nested, 0);
	raise(SIGUSR1);
	IS(deepest, 1);
	IS(count, 4);
	count = depth = deepest = 0;
	set_handler(SIGUSR1, raise_nested, SA_NODEFER);
	raise(SIGUSR1);
	IS(deepest, 4);
}

static char order[32];

static void raise_inner(int sig)
{
	(void)sig;
	raise(SIGUSR2);
	strcat(order, "outer ");
}

static void note_inner(int sig)
{
	(void)sig;
	strcat(order, "in ");
}

static void mask_of_handler(void)
{
	struct sigaction action = { .sa_handler = raise_inner };

	order[0] = 0;
	set_handler(SIGUSR2, note_inner, 0);
	sigemptyset(&action.sa_mask);
	sigaddset(&action.sa_mask, SIGUSR2);
	OK(sigaction(SIGUSR1, &action, NULL));
	order[0] = 0;
	raise(SIGUSR1);
	TRUE(strncmp(order, "outer ", 6) == 0);
}

static void reset_after_one(void)
{
	struct sigaction action;

	count = 0;
	set_handler(SIGUSR1, count_signal, SA_RESETHAND);
	raise(SIGUSR1);
	OK(sigaction(SIGUSR1, NULL, &action));
	TRUE(action.sa_handler == SIG_DFL);
	IS(count, 1);
}

static void pending(void)
{
	sigset_t set = signal_set(SIGUSR1), waiting;

	count = 0;
	set_handler(SIGUSR1, count_signal, 0);
	OK(sigprocmask(SIG_BLOCK, &set, NULL));
	raise(SIGUSR1);
	raise(SIGUSR1);
	IS(count, 0);
	OK(sigpending(&waiting));
	IS(sigismember(&waiting, SIGUSR1), 1);
	IS(sigismember(&waiting, SIGUSR2), 0);
	OK(sigprocmask(SIG_UNBLOCK, &set, NULL));
	IS(count, 1);
}

static void ignored(void)
{
	sigset_t set = signal_set(SIGTERM), waiting;

	signal(SIGTERM, SIG_IGN);
	raise(SIGTERM);
	/* Ignoring a signal discards a pending one. */
	set_handler(SIGTERM, count_signal, 0);
	OK(sigprocmask(SIG_BLOCK, &set, NULL));
	raise(SIGTERM);
	signal(SIGTERM, SIG_IGN);
	OK(sigpending(&waiting));
	IS(sigismember(&waiting, SIGTERM), 0);
	/* The default action of these signals is to ignore them. */
	raise(SIGCHLD);
	raise(SIGURG);
	raise(SIGWINCH);
}

static void refused(void)
{
	struct sigaction action = { .sa_handler = count_signal };

	FAILS(sigaction(SIGKILL, &action, NULL), EINVAL);
	FAILS(sigaction(SIGSTOP, &action, NULL), EINVAL);
	FAILS(sigaction(99, &action, NULL), EINVAL);
}

static int numbers[10], n_numbers;

static void note_number(int sig, siginfo_t *i, void *context)
{
	(void)sig, (void)context;
	if (n_numbers < 10)
		numbers[n_numbers++] = i->si_value.sival_int;
}

/* Real-time signals queue. Lower numbers come first, equal ones in order. */
static void real_time_order(void)
{
	struct sigaction action = { .sa_sigaction = note_number, .sa_flags = SA_SIGINFO };
	static const int want[] = { 10, 11, 20, 21, 22 };
	sigset_t set = signal_set(SIGRTMIN + 2), before;
	union sigval v;

	sigaddset(&set, SIGRTMIN + 3);
	sigfillset(&action.sa_mask);
	n_numbers = 0;
	OK(sigaction(SIGRTMIN + 2, &action, NULL));
	OK(sigaction(SIGRTMIN + 3, &action, NULL));
	OK(sigprocmask(SIG_BLOCK, &set, &before));
	for (int i = 20; i < 23; i++) {
		v.sival_int = i;
		OK(sigqueue(getpid(), SIGRTMIN + 3, v));
	}
	for (int i = 10; i < 12; i++) {
		v.sival_int = i;
		OK(sigqueue(getpid(), SIGRTMIN + 2, v));
	}
	OK(sigprocmask(SIG_SETMASK, &before, NULL));
	IS(n_numbers, 5);
	for (int i = 0; i < 5; i++)
		IS(numbers[i], want[i]);
}

static char stack[65536];
static volatile bool on_stack;
static volatile int stack_error;

static void check_stack(int sig)
{
	char here;
	stack_t none = { .ss_flags = SS_DISABLE }, was;

	count_signal(sig);
	on_stack = &here >= stack && &here < stack + sizeof(stack);
	stack_error = sigaltstack(&none, NULL) == -1 ? errno : 0;
	if (sigaltstack(NULL, &was) == 0 && !(was.ss_flags & SS_ONSTACK))
		on_stack = false;
}

static void other_stack(void)
{
	stack_t own = { .ss_sp = stack, .ss_size = sizeof(stack) }, was;
	stack_t tiny = { .ss_sp = stack, .ss_size = 100 };

	FAILS(sigaltstack(&tiny, NULL), ENOMEM);
	OK(sigaltstack(&own, NULL));
	set_handler(SIGUSR1, check_stack, SA_ONSTACK);
	set_handler(SIGUSR2, check_stack, 0);
	raise(SIGUSR1);
	TRUE(on_stack);
	IS(stack_error, EPERM);
	raise(SIGUSR2);
	TRUE(!on_stack);
	own.ss_flags = SS_DISABLE;
	own.ss_size = sizeof(stack);
	OK(sigaltstack(&own, NULL));
	OK(sigaltstack(NULL, &was));
	IS(was.ss_flags, SS_DISABLE);
}

static sigjmp_buf back;

static void jump_back(int sig)
{
	siglongjmp(back, sig);
}

static void jump_out(void)
{
	sigset_t set;

	set_handler(SIGUSR1, jump_back, 0);
	for (volatile int i = 0; i < 3; i++) {
		int sig = sigsetjmp(back, 1);

		if (sig == 0) {
			raise(SIGUSR1);
			TRUE(!"reached");
		}
		IS(sig, SIGUSR1);
		OK(sigprocmask(SIG_SETMASK, NULL, &set));
		IS(sigismember(&set, SIGUSR1), 0);
	}
}

static void change_context(int sig, siginfo_t *i, void *context)
{
	(void)sig, (void)i;
	sigaddset(&((ucontext_t *)context)->uc_sigmask, SIGUSR2);
}

/* A handler's change of the saved mask applies after its return. */
static void context(void)
{
	struct sigaction action = { .sa_sigaction = change_context, .sa_flags = SA_SIGINFO };
	sigset_t set;

	OK(sigaction(SIGUSR1, &action, NULL));
	raise(SIGUSR1);
	OK(sigprocmask(SIG_SETMASK, NULL, &set));
	IS(sigismember(&set, SIGUSR2), 1);
	IS(sigismember(&set, SIGUSR1), 0);
}

static volatile double product;

static void compute(int sig)
{
	double x = sig;

	fesetround(FE_DOWNWARD);
	for (int i = 0; i < 50; i++)
		x = x * 1.0001 + 0.5;
	product = x;
	count++;
}

/* A timer's handler and the main program compute without interfering. */
static void floats_kept(void)
{
	struct itimerval t = { { 0, 1000 }, { 0, 1000 } };
	int64_t end = now_ns() + 20000000000;
	double want = 0;

	count = 0;
	set_handler(SIGALRM, compute, SA_RESTART);
	OK(setitimer(ITIMER_REAL, &t, NULL));
	for (int round = 0; (count < 50 || round < 2) && now_ns() < end; round++) {
		double x = 1;

		for (int i = 1; i < 2000; i++) {
			x = x * 1.0000001 + 1.0 / i;
			if (i % 200 == 0)
				getppid();
		}
		if (round == 0)
			want = x;
		TRUE(x == want);
		IS(fegetround(), FE_TONEAREST);
	}
	TRUE(count >= 50);
}

static void change_errno(int sig)
{
	int before = errno;

	(void)sig;
	errno = EDOM;
	count++;
	errno = before;
}

/* A signal preserves registers and errno wherever it arrives. */
static void storm(void)
{
	struct itimerval t = { { 0, 500 }, { 0, 500 } };
	int64_t end = now_ns() + 20000000000;

	count = 0;
	set_handler(SIGALRM, change_errno, SA_RESTART);
	OK(setitimer(ITIMER_REAL, &t, NULL));
	while (count < 200 && now_ns() < end) {
		char text[64];
		int n = snprintf(text, sizeof(text), "%d %s %ld", count, "text", 123456789L);

		errno = 0;
		FAILS(close(-1), EBADF);
		TRUE(n > 10 && strstr(text, "text 123456789"));
	}
	TRUE(count >= 200);
}

static void broken_pipe(void)
{
	int fd[2];

	count = 0;
	set_handler(SIGPIPE, count_signal, 0);
	OK(pipe(fd));
	OK(close(fd[0]));
	FAILS(write(fd[1], "x", 1), EPIPE);
	IS(count, 1);
	signal(SIGPIPE, SIG_IGN);
	FAILS(write(fd[1], "x", 1), EPIPE);
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, fd));
	OK(close(fd[0]));
	set_handler(SIGPIPE, count_signal, 0);
	FAILS(send(fd[1], "x", 1, MSG_NOSIGNAL), EPIPE);
	IS(count, 1);
	FAILS(send(fd[1], "x", 1, 0), EPIPE);
	IS(count, 2);
}

const struct check signal_checks[] = {
	{ "signal_handled", handled },
	{ "signal_information", information },
	{ "signal_blocked_in_handler", blocked_in_handler },
	{ "signal_mask_of_handler", mask_of_handler },
	{ "signal_reset_after_one", reset_after_one },
	{ "signal_pending", pending },
	{ "signal_ignored", ignored },
	{ "signal_refused", refused },
	{ "signal_real_time_order", real_time_order },
	{ "signal_other_stack", other_stack },
	{ "signal_jump_out", jump_out },
	{ "signal_context", context },
	{ "signal_floats_kept", floats_kept },
	{ "signal_storm", storm },
	{ "signal_broken_pipe", broken_pipe },
	{ 0 }
};
