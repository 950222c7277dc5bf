// SPDX-License-Identifier: GPL-2.0-only
/*
 * The time of day: the host's wall clock at the start. From then on it goes with the monotonic clock, and is set by as much
 * as the host's is set, which an idle guest finds out when it wakes.
 */
#include <linux/ktime.h>
#include <linux/timekeeping.h>
#include <linux/workqueue.h>
#include <asm/lkl.h>
#include <asm/solo5.h>

/* How often the host's clock is looked at while anything runs, in nanoseconds; a look costs a microsecond. */
#define LOOK_NS NSEC_PER_SEC
/* The host sets its clock by at least this much at once, and else lets it go faster or slower, as its monotonic one. */
#define STEP_NS (10 * NSEC_PER_MSEC)

static s64 wall_ahead;	/* of the host's monotonic clock, when the time of day was last set by it */
static u64 next_look;

/* How long it took to read both clocks tells how far the result may be off. */
static u64 read_ahead(s64 *ahead)
{
	u64 before = solo5_clock_monotonic(), wall = solo5_clock_wall(), took = solo5_clock_monotonic() - before;

	*ahead = wall - before - took / 2;
	return took;
}

static bool stepped(s64 *ahead)
{
	u64 took = read_ahead(ahead);

	return abs(*ahead - wall_ahead) >= STEP_NS + (s64)took;
}

/* By the difference, since a program may have set the guest's clock otherwise. */
static void follow(struct work_struct *work)
{
	struct timespec64 t;
	s64 ahead;

	if (!stepped(&ahead))
		return;
	ktime_get_real_ts64(&t);
	t = ns_to_timespec64(timespec64_to_ns(&t) + ahead - wall_ahead);
	wall_ahead = ahead;
	do_settimeofday64(&t);
}
static DECLARE_WORK(work, follow);

/* To set the time may sleep, and this is an interrupt. */
void lkl_wall_look(u64 now)
{
	s64 ahead;

	if (now < next_look)
		return;
	next_look = now + LOOK_NS;
	if (stepped(&ahead))
		queue_work(system_highpri_wq, &work);
}

void read_persistent_clock64(struct timespec64 *ts)
{
	read_ahead(&wall_ahead);
	next_look = lkl_clock() + LOOK_NS;
	*ts = ns_to_timespec64(solo5_clock_monotonic() + wall_ahead);
}
