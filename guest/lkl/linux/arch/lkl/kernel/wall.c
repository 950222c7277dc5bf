// SPDX-License-Identifier: GPL-2.0-only
/*
 * The time of day. It starts as the host's wall clock and then runs with the
 * monotonic clock. When the host sets its wall clock, the guest sets its own by
 * the same amount: a running guest within a second, an idle one when it wakes.
 */
#include <linux/init.h>
#include <linux/ktime.h>
#include <linux/sched/clock.h>
#include <linux/timekeeping.h>
#include <linux/workqueue.h>
#include <asm/lkl.h>
#include <asm/solo5.h>

/* How often a running guest reads the host's wall clock, which costs a microsecond. */
#define LKL_WALL_CHECK_NS NSEC_PER_SEC

/*
 * A change of at least this size is a step. For a smaller one, the host slews
 * its wall clock and its monotonic clock alike.
 */
#define LKL_WALL_STEP_NS (10 * NSEC_PER_MSEC)

/*
 * The uptime when the kernel starts. A machine has run its firmware by then, and
 * programs take an uptime of 0 seconds for an error.
 */
#define LKL_FIRST_UPTIME_NS NSEC_PER_SEC

/* Wall clock minus monotonic clock of the host, at the start or at the last step. */
static s64 lkl_wall_offset;
static u64 lkl_wall_next_check;

/* Returns how long it took to read both clocks, which bounds the error. */
static u64 lkl_wall_read_offset(s64 *offset)
{
	u64 before = solo5_clock_monotonic();
	u64 wall = solo5_clock_wall();
	u64 took = solo5_clock_monotonic() - before;

	*offset = wall - before - took / 2;
	return took;
}

static bool lkl_wall_stepped(s64 *offset)
{
	u64 took = lkl_wall_read_offset(offset);

	return abs(*offset - lkl_wall_offset) >= LKL_WALL_STEP_NS + (s64)took;
}

/* Adds the size of the step, because a program may have set the guest's own time. */
static void lkl_wall_follow(struct work_struct *work)
{
	struct timespec64 t;
	s64 offset;

	if (!lkl_wall_stepped(&offset))
		return;
	ktime_get_real_ts64(&t);
	t = ns_to_timespec64(timespec64_to_ns(&t) + offset - lkl_wall_offset);
	lkl_wall_offset = offset;
	do_settimeofday64(&t);
}
static DECLARE_WORK(lkl_wall_work, lkl_wall_follow);

/* Called in interrupt context, where setting the time is not allowed: it may sleep. */
void lkl_wall_check(u64 now)
{
	s64 offset;

	if (now < lkl_wall_next_check)
		return;
	lkl_wall_next_check = now + LKL_WALL_CHECK_NS;
	if (lkl_wall_stepped(&offset))
		queue_work(system_highpri_wq, &lkl_wall_work);
}

void read_persistent_clock64(struct timespec64 *ts)
{
	lkl_wall_read_offset(&lkl_wall_offset);
	lkl_wall_next_check = lkl_clock() + LKL_WALL_CHECK_NS;
	*ts = ns_to_timespec64(solo5_clock_monotonic() + lkl_wall_offset);
}

void __init read_persistent_wall_and_boot_offset(struct timespec64 *wall, struct timespec64 *uptime)
{
	read_persistent_clock64(wall);
	*uptime = ns_to_timespec64(sched_clock() + LKL_FIRST_UPTIME_NS);
}
