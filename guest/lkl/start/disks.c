/* SPDX-License-Identifier: MPL-2.0 */
/* What the tender offers for disks beyond Solo5's ABI: only the host's configuration can tell. */
#include "start.h"

#include <errno.h>

/* The kernel's private call, and its struct lkl_disk_offer. */
#define LKL_NR_DISK 0x4c4b0010
struct offer {
	const char *name;
	unsigned long transfer, flush;
};

void disks_offer(const struct config *c)
{
	for (const struct disk *d = c->disks; d < c->disks + c->n_disks; d++) {
		long transfer = d->transfer ? number(d->transfer, -1) : 0, flush = d->flush ? number(d->flush, -1) : 0;
		struct offer offer = { d->name, transfer, flush };
		long err = -EINVAL;

		if (d->name && transfer >= 0 && (flush == 0 || flush == 1))
			err = CALL(LKL_NR_DISK, &offer);
		if (err < 0) {
			say("lkl: --config: disk \"", d->name ? d->name : "", "\": ", reason(err), NULL);
			finish(EXIT_WORDS);
		}
	}
}
