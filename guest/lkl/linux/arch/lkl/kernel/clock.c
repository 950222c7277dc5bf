// SPDX-License-Identifier: GPL-2.0-only
/*
 * The clock and the clock event device.
 *
 * The clock is the TSC, kept in step with the host's monotonic clock. Reading it
 * makes clock_gettime() take 23 ns, asking the host 260. Where the TSC does not
 * run at a constant rate, each reading asks the host.
 *
 * The clock event is the deadline of solo5_yield() while the guest is idle, and
 * a comparison with the TSC while it is busy.
 */
#include <linux/clockchips.h>
#include <linux/clocksource.h>
#include <linux/delay.h>
#include <linux/math64.h>
#include <linux/sched/clock.h>
#include <linux/timekeeping.h>
#include <asm/lkl.h>
#include <asm/solo5.h>

/* A running guest compares its clock with the host's at least this often. */
#define LKL_CLOCK_SYNC_NS NSEC_PER_SEC

/*
 * A larger difference is not drift: the host was suspended, or has migrated the
 * guest to another machine.
 */
#define LKL_CLOCK_STEP_NS (10 * NSEC_PER_MSEC)

/* How long the rate of the TSC is measured where nothing reports it. */
#define LKL_CLOCK_CALIBRATE_NS (200 * NSEC_PER_USEC)

static bool lkl_clock_use_tsc;
static u64 lkl_clock_base_ns, lkl_clock_base_tsc;	/* the clock at a TSC value */
static u64 lkl_clock_first_ns, lkl_clock_first_tsc;	/* the host's, at the start */
static u64 lkl_clock_mult;				/* ns per cycle, times 2^32 */
static u64 lkl_clock_cycles_per_us;
static u64 lkl_clock_next_sync;
static u64 lkl_clock_event = SOLO5_NEVER;

/* CPUID 0x80000007, EDX bit 8: the TSC runs at one rate in all power states. */
static bool lkl_clock_tsc_invariant(void)
{
	u32 a, b, c, d;

	lkl_cpuid(0x80000000, &a, &b, &c, &d);
	if (a < 0x80000007)
		return false;
	lkl_cpuid(0x80000007, &a, &b, &c, &d);
	return d & BIT(8);
}

/*
 * The frequency of the TSC in kHz: from the hypervisor (leaf 0x40000010, as
 * VMware and KVM have it), else from the CPU (leaf 0x15), else 0.
 */
static u32 lkl_clock_tsc_khz(void)
{
	u32 a, b, c, d, max;

	lkl_cpuid(1, &a, &b, &c, &d);
	if (c & BIT(31)) {
		lkl_cpuid(0x40000000, &max, &b, &c, &d);
		if (max >= 0x40000010) {
			lkl_cpuid(0x40000010, &a, &b, &c, &d);
			return a;
		}
	}
	lkl_cpuid(0, &max, &b, &c, &d);
	if (max < 0x15)
		return 0;
	lkl_cpuid(0x15, &a, &b, &c, &d);
	return a && b && c ? mul_u64_u32_div(c, b, a) / 1000 : 0;
}

/* Reads the host's clock, and the TSC halfway through that call. */
static u64 lkl_clock_read_host(u64 *tsc)
{
	u64 before = lkl_tsc(), ns = solo5_clock_monotonic();

	*tsc = before + (lkl_tsc() - before) / 2;
	return ns;
}

static u64 lkl_clock_at(u64 tsc)
{
	u64 cycles = tsc - lkl_clock_base_tsc;

	return lkl_clock_base_ns + (u64)(((__uint128_t)cycles * lkl_clock_mult) >> 32);
}

u64 lkl_clock(void)
{
	u64 tsc;

	if (!lkl_clock_use_tsc)
		return solo5_clock_monotonic();
	tsc = lkl_tsc();
	return likely(tsc > lkl_clock_base_tsc) ? lkl_clock_at(tsc) : lkl_clock_base_ns;
}

u64 lkl_clock_cycles(u64 ns)
{
	return div64_u64(ns * lkl_clock_cycles_per_us, 1000);
}

/* The TSC at a time of the clock. An hour ahead is enough, and does not overflow. */
static unsigned long lkl_clock_to_tsc(u64 ns)
{
	u64 now = lkl_clock();

	if (ns <= now)
		return lkl_tsc();
	return lkl_tsc() + lkl_clock_cycles(min_t(u64, ns - now, 3600 * NSEC_PER_SEC));
}

static void lkl_clock_set_rate(u64 mult)
{
	lkl_clock_mult = mult;
	lkl_clock_cycles_per_us = max_t(u64, div64_u64(1000ULL << 32, mult), 1);
}

/*
 * Follows the host's clock. The new rate is the average since the start,
 * corrected so that the current difference disappears within a second. After a
 * step the clock takes over the host's value, but it never goes back.
 */
static void lkl_clock_sync(void)
{
	u64 tsc, host = lkl_clock_read_host(&tsc), guest = lkl_clock_at(tsc), rate;
	u64 elapsed = host - lkl_clock_first_ns;
	s64 ahead = guest - host;

	lkl_clock_base_ns = max(host, guest);
	if (-ahead < (s64)LKL_CLOCK_STEP_NS)
		lkl_clock_base_ns = guest;
	lkl_clock_base_tsc = tsc;
	rate = div64_u64(elapsed << 20, (tsc - lkl_clock_first_tsc) >> 12 ?: 1);
	ahead = clamp_t(s64, ahead, -(s64)LKL_CLOCK_STEP_NS, LKL_CLOCK_STEP_NS);
	lkl_clock_set_rate(rate - (s64)div64_s64((s64)(rate >> 10) * ahead, NSEC_PER_SEC >> 10));
	/* Soon at first, since the average of a short time is imprecise. */
	lkl_clock_next_sync = lkl_clock_base_ns +
			      min_t(u64, LKL_CLOCK_SYNC_NS, elapsed / 2 + NSEC_PER_MSEC);
}

void __init lkl_clock_init(void)
{
	u32 khz;
	u64 tsc, ns;

	lkl_clock_use_tsc = lkl_clock_tsc_invariant();
	lkl_clock_first_ns = lkl_clock_read_host(&lkl_clock_first_tsc);
	lkl_clock_base_ns = lkl_clock_first_ns;
	lkl_clock_base_tsc = lkl_clock_first_tsc;
	khz = lkl_clock_use_tsc ? lkl_clock_tsc_khz() : 1000000;
	if (khz) {
		lkl_clock_set_rate(div64_u64(1000000ULL << 32, khz));
	} else {
		do
			ns = lkl_clock_read_host(&tsc);
		while (ns - lkl_clock_first_ns < LKL_CLOCK_CALIBRATE_NS);
		lkl_clock_set_rate(div64_u64((ns - lkl_clock_first_ns) << 32,
					     tsc - lkl_clock_first_tsc));
	}
	lkl_clock_next_sync = lkl_clock_first_ns + NSEC_PER_MSEC;
}

u64 lkl_clock_deadline(void)
{
	return lkl_clock_event;
}

static int lkl_clock_set_next_event(unsigned long delta, struct clock_event_device *dev)
{
	lkl_clock_event = lkl_clock() + delta;
	lkl_irq_set_timer(lkl_clock_to_tsc(lkl_clock_event));
	return 0;
}

static int lkl_clock_shutdown(struct clock_event_device *dev)
{
	lkl_clock_event = SOLO5_NEVER;
	lkl_irq_set_timer(ULONG_MAX);
	return 0;
}

static struct clock_event_device lkl_clock_event_device = {
	.name = "solo5",
	.features = CLOCK_EVT_FEAT_ONESHOT,
	.rating = 400,
	.set_next_event = lkl_clock_set_next_event,
	.set_state_shutdown = lkl_clock_shutdown,
	.set_state_oneshot_stopped = lkl_clock_shutdown,
};

void lkl_clock_interrupt(void)
{
	u64 now = lkl_clock();

	if (lkl_clock_use_tsc && now >= lkl_clock_next_sync)
		lkl_clock_sync();
	lkl_wall_check(now);
	if (now >= lkl_clock_event) {
		lkl_clock_shutdown(&lkl_clock_event_device);
		lkl_clock_event_device.event_handler(&lkl_clock_event_device);
	} else if (lkl_clock_event != SOLO5_NEVER) {
		/* The rate may have changed, or the event was over an hour ahead. */
		lkl_irq_set_timer(lkl_clock_to_tsc(lkl_clock_event));
	}
}

static u64 lkl_clock_read(struct clocksource *cs)
{
	return lkl_clock();
}

/*
 * A cycle of this clock source is a nanosecond. With mult 2^24 the product
 * overflows after 18 minutes; the kernel updates the time every 7 at least.
 */
static struct clocksource lkl_clocksource = {
	.name = "solo5",
	.rating = 400,
	.read = lkl_clock_read,
	.mask = CLOCKSOURCE_MASK(64),
	.mult = 1 << 24,
	.shift = 24,
	.flags = CLOCK_SOURCE_IS_CONTINUOUS,
};

/*
 * The generic default is jiffies. Time that passes before jiffies are counted,
 * while the host runs other processes, would be lost from the time of day.
 */
struct clocksource *__init clocksource_default_clock(void)
{
	return &lkl_clocksource;
}

unsigned long long notrace sched_clock(void)
{
	return lkl_clock() - lkl_clock_first_ns;
}

void __init time_init(void)
{
	lkl_clock_event_device.cpumask = cpumask_of(0);
	__clocksource_register(&lkl_clocksource);
	clockevents_config_and_register(&lkl_clock_event_device, NSEC_PER_SEC, 1000, LONG_MAX);
}

unsigned long lpj_fine;

/* The delays below read the clock: a loop is a nanosecond. */
void __init calibrate_delay(void)
{
	loops_per_jiffy = NSEC_PER_SEC / HZ;
	lpj_fine = loops_per_jiffy;
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

/* @xloops: seconds, times 2^32. */
void __const_udelay(unsigned long xloops)
{
	__delay((u64)xloops * 1000000000 >> 32);
}
