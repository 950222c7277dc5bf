/* SPDX-License-Identifier: MPL-2.0 */
/* Passes on the disk features that the tender offers beyond Solo5's ABI. */
#include "start.h"

#include <errno.h>

static long offer_disk(const struct disk *d)
{
	long transfer = d->transfer ? decimal(d->transfer, -1) : 0;
	long flush = d->flush ? decimal(d->flush, -1) : 0;
	struct lkl_disk_offer offer = { .name = d->name, .transfer = transfer, .flush = flush };

	if (!d->name || transfer < 0 || (flush != 0 && flush != 1))
		return -EINVAL;
	return CALL(LKL_NR_DISK, &offer);
}

void disks_offer(const struct config *c)
{
	for (const struct disk *d = c->disks; d < c->disks + c->n_disks; d++) {
		long err = offer_disk(d);

		if (err < 0) {
			say("lkl: --config: disk \"", d->name ? d->name : "", "\": ",
			    error_text(err), NULL);
			finish(LKL_EXIT_CONFIG);
		}
	}
}
