// SPDX-License-Identifier: GPL-2.0-only
/*
 * Time and interrupts. The clock is the TSC, held to the host's monotonic clock; the timer is Solo5's deadline when the
 * guest is idle and a comparison with the TSC when it is busy.
 */
#include <linux/clockchips.h>
#include <linux/clocksource.h>
#include <linux/cpu.h>
#include <linux/delay.h>
#include <linux/interrupt.h>
#include <linux/math64.h>
#include <linux/sched/clock.h>
#include <linux/sched/task_stack.h>
#include <linux/timekeeping.h>
#include <asm/irq_regs.h>
#include <asm/lkl.h>
#include <asm/solo5.h>

/* How often a busy guest asks its devices, in nanoseconds; a look costs a microsecond of the host. */
#define DEVICE_POLL_NS 50000
/* The clock follows the host's at least this often while anything runs. */
#define SYNC_NS NSEC_PER_SEC
/* A difference to the host's clock that is not drift: the host was suspended or has moved the guest. */
#define STEP_NS (10 * NSEC_PER_MSEC)

unsigned long lkl_irqs_off = ARCH_IRQ_DISABLED;
unsigned int lkl_irq_enables;
unsigned long lkl_poll_tsc = ULONG_MAX;

static bool use_tsc;
static u64 base_ns, base_tsc;	/* the clock's value at a TSC */
static u64 first_ns, first_tsc;	/* the host's, when the guest started */
static u64 mult;		/* nanoseconds a cycle, times 2^32 */
static u64 cycles_per_us;
static u64 next_sync;

static u64 deadline = SOLO5_NEVER;	/* of the clock event */
static unsigned long deadline_tsc = ULONG_MAX, device_tsc = ULONG_MAX;

static struct {
	void (*ready)(void *arg);
	void *arg;
} devices[64];
static unsigned int last_device;

static inline void cpuid(u32 leaf, u32 *a, u32 *b, u32 *c, u32 *d)
{
	asm volatile("cpuid" : "=a"(*a), "=b"(*b), "=c"(*c), "=d"(*d) : "a"(leaf), "c"(0));
}

static bool random_instructions(bool *seed)
{
	u32 a, b, c, d, max, dummy;

	cpuid(0, &max, &b, &c, &d);
	cpuid(1, &a, &b, &c, &d);
	if (max >= 7) {
		cpuid(7, &a, &b, &dummy, &d);
		*seed = b & BIT(18);
	}
	return c & BIT(30);
}

bool lkl_rdrand(unsigned long *v)
{
	static int have = -1;
	bool seed, ok;
	int tries;

	if (have < 0)
		have = random_instructions(&seed);
	for (tries = 0; have && tries < 10; tries++) {
		asm volatile("rdrand %0" : "=r"(*v), "=@ccc"(ok));
		if (ok)
			return true;
	}
	return false;
}

bool lkl_rdseed(unsigned long *v)
{
	static int have = -1;
	bool seed = false, ok;
	int tries;

	if (have < 0) {
		random_instructions(&seed);
		have = seed;
	}
	for (tries = 0; have && tries < 10; tries++) {
		asm volatile("rdseed %0" : "=r"(*v), "=@ccc"(ok));
		if (ok)
			return true;
	}
	return false;
}

/* Whether the TSC runs at one rate for good (CPUID 0x80000007, EDX bit 8). */
static bool tsc_invariant(void)
{
	u32 a, b, c, d;

	cpuid(0x80000000, &a, &b, &c, &d);
	if (a < 0x80000007)
		return false;
	cpuid(0x80000007, &a, &b, &c, &d);
	return d & BIT(8);
}

/* The TSC's frequency in kHz if the processor or the hypervisor tells, else 0. */
static u32 tsc_khz(void)
{
	u32 a, b, c, d, max;

	cpuid(1, &a, &b, &c, &d);
	if (c & BIT(31)) {
		cpuid(0x40000000, &max, &b, &c, &d);
		if (max >= 0x40000010) {
			cpuid(0x40000010, &a, &b, &c, &d);
			return a;
		}
	}
	cpuid(0, &max, &b, &c, &d);
	if (max < 0x15)
		return 0;
	cpuid(0x15, &a, &b, &c, &d);
	return a && b && c ? mul_u64_u32_div(c, b, a) / 1000 : 0;
}

/* The host's clock, and the TSC at that moment. */
static u64 host_clock(u64 *tsc)
{
	u64 before = lkl_tsc(), ns = solo5_clock_monotonic();

	*tsc = before + (lkl_tsc() - before) / 2;
	return ns;
}

static u64 at(u64 tsc)
{
	return base_ns + (u64)(((unsigned __int128)(tsc - base_tsc) * mult) >> 32);
}

u64 lkl_clock(void)
{
	u64 tsc;

	if (!use_tsc)
		return solo5_clock_monotonic();
	tsc = lkl_tsc();
	return likely(tsc > base_tsc) ? at(tsc) : base_ns;
}

static unsigned long to_tsc(u64 ns)
{
	u64 now = lkl_clock();

	return lkl_tsc() + (ns > now ? div64_u64(min_t(u64, ns - now, 3600 * NSEC_PER_SEC) * cycles_per_us, 1000) : 0);
}

static void set_rate(u64 rate)
{
	mult = rate;
	cycles_per_us = max_t(u64, div64_u64(1000ULL << 32, mult), 1);
}

/*
 * Follows the host's clock: the rate is what it has been since the start, corrected so that what is missing now is made up
 * for in a second. The clock never goes back.
 */
static void sync(void)
{
	u64 tsc, host = host_clock(&tsc), guest = at(tsc), rate;
	s64 ahead = guest - host;

	base_ns = max(host, guest);
	if (-ahead < (s64)STEP_NS)
		base_ns = guest;
	base_tsc = tsc;
	rate = (u64)div64_u64((host - first_ns) << 20, (tsc - first_tsc) >> 12 ?: 1);
	ahead = clamp_t(s64, ahead, -(s64)STEP_NS, STEP_NS);
	set_rate(rate - (s64)div64_s64((s64)(rate >> 10) * ahead, NSEC_PER_SEC >> 10));
	next_sync = base_ns + min_t(u64, SYNC_NS, (host - first_ns) / 2 + NSEC_PER_MSEC);
}

void __init lkl_clock_init(void)
{
	u32 khz;
	u64 tsc, ns;

	use_tsc = tsc_invariant();
	base_ns = first_ns = host_clock(&first_tsc);
	base_tsc = first_tsc;
	khz = use_tsc ? tsc_khz() : 1000000;
	if (khz) {
		set_rate(div64_u64((1000000ULL << 32), khz));
	} else {
		do
			ns = host_clock(&tsc);
		while (ns - first_ns < 200 * NSEC_PER_USEC);
		set_rate(div64_u64((ns - first_ns) << 32, tsc - first_tsc));
	}
	next_sync = first_ns + NSEC_PER_MSEC;
}

static void set_poll(void)
{
	lkl_poll_tsc = min(deadline_tsc, device_tsc);
}

static int set_next_event(unsigned long delta, struct clock_event_device *dev)
{
	deadline = lkl_clock() + delta;
	deadline_tsc = to_tsc(deadline);
	set_poll();
	return 0;
}

static int shutdown(struct clock_event_device *dev)
{
	deadline = SOLO5_NEVER;
	deadline_tsc = ULONG_MAX;
	set_poll();
	return 0;
}

static struct clock_event_device timer = {
	.name = "solo5",
	.features = CLOCK_EVT_FEAT_ONESHOT,
	.rating = 400,
	.set_next_event = set_next_event,
	.set_state_shutdown = shutdown,
	.set_state_oneshot_stopped = shutdown,
};

void lkl_device_ready(unsigned int handle, void (*ready)(void *arg), void *arg)
{
	devices[handle].arg = arg;
	devices[handle].ready = ready;
	last_device = max(last_device, handle);
	device_tsc = 0;
	set_poll();
}

/* Runs what has happened as one interrupt; ready are the devices that have something, or may have. */
static void interrupt(bool user, u64 ready)
{
	static struct pt_regs kernel_regs;
	struct pt_regs *old = set_irq_regs(user ? task_pt_regs(current) : &kernel_regs);
	unsigned int i;
	u64 now;

	irq_enter();
	now = lkl_clock();
	if (use_tsc && now >= next_sync)
		sync();
	lkl_wall_look(now);
	if (now >= deadline) {
		shutdown(&timer);
		timer.event_handler(&timer);
	} else if (deadline != SOLO5_NEVER) {
		deadline_tsc = to_tsc(deadline);
	}
	for (i = 1; i <= last_device; i++)
		if (ready & BIT_ULL(i) && devices[i].ready)
			devices[i].ready(devices[i].arg);
	if (last_device)
		device_tsc = lkl_tsc() + DEVICE_POLL_NS / 1000 * cycles_per_us;
	set_poll();
	irq_exit();
	set_irq_regs(old);
}

void lkl_poll_events(bool user)
{
	lkl_irqs_off = ARCH_IRQ_DISABLED;
	interrupt(user, lkl_tsc() >= device_tsc ? U64_MAX : 0);
	lkl_irqs_off = ARCH_IRQ_ENABLED;
}

/* Not in an interrupt or a softirq already: their stack is this one. */
void lkl_poll_in_kernel(void)
{
	if (lkl_tsc() >= lkl_poll_tsc && !in_interrupt() && !lkl_irqs_off)
		lkl_poll_events(false);
}

void lkl_relax(void)
{
	asm volatile("pause" ::: "memory");
	lkl_poll_in_kernel();
}

void arch_cpu_idle(void)
{
	u64 ready = 0;

	solo5_yield(deadline, &ready);
	interrupt(false, ready);
	raw_local_irq_enable();
}

static u64 read_clock(struct clocksource *cs)
{
	return lkl_clock();
}

/* A cycle is a nanosecond. By 2^24 the product is good for 18 minutes; the kernel updates the time after 7 at most. */
static struct clocksource clocksource = {
	.name = "solo5",
	.rating = 400,
	.read = read_clock,
	.mask = CLOCKSOURCE_MASK(64),
	.mult = 1 << 24,
	.shift = 24,
	.flags = CLOCK_SOURCE_IS_CONTINUOUS,
};

/*
 * Not jiffies, as else while the kernel starts: what passes before they are counted, while the host lets others run, would
 * be missing from the time of day for good.
 */
struct clocksource *__init clocksource_default_clock(void)
{
	return &clocksource;
}

unsigned long long notrace sched_clock(void)
{
	return lkl_clock() - first_ns;
}

void __init time_init(void)
{
	timer.cpumask = cpumask_of(0);
	__clocksource_register(&clocksource);
	clockevents_config_and_register(&timer, NSEC_PER_SEC, 1000, LONG_MAX);
}

unsigned long lpj_fine;

void __init calibrate_delay(void)
{
	lpj_fine = loops_per_jiffy = NSEC_PER_SEC / HZ;
}

void __delay(unsigned long ns)
{
	u64 end = lkl_clock() + ns;

	while (lkl_clock() < end)
		cpu_relax();
}

void __udelay(unsigned long us)
{
	__delay(us * 1000);
}

void __ndelay(unsigned long ns)
{
	__delay(ns);
}

void __const_udelay(unsigned long xloops)
{
	__delay((u64)xloops * 1000000000 >> 32);
}
