// SPDX-License-Identifier: GPL-2.0-only
/*
 * mlock() and its relatives. Memory is never paged out, so nothing has to be locked.
 * The calls check their arguments and limits as with an MMU, and keep account.
 */
#include <linux/capability.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/sched/signal.h>
#include <asm/arena.h>
#include <asm/lkl.h>
#include "filemap.h"

static unsigned long lkl_mlock_limit(void)
{
	return rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT;
}

/* A limit of 0 forbids the calls, even if they lock nothing. */
static bool lkl_mlock_is_allowed(void)
{
	return rlimit(RLIMIT_MEMLOCK) || capable(CAP_IPC_LOCK);
}

bool lkl_mlock_has_room(unsigned long n)
{
	return current->mm->locked_vm + n <= lkl_mlock_limit() || capable(CAP_IPC_LOCK);
}

int lkl_mlock_check_mmap(const struct lkl_mmap_args *args)
{
	if (args->flags & MAP_LOCKED && !lkl_mlock_is_allowed())
		return -EPERM;
	if ((args->flags & MAP_LOCKED || current->mm->def_flags & VM_LOCKED) &&
	    !lkl_mlock_has_room(lkl_pages(args->len)))
		return -EAGAIN;
	return 0;
}

int lkl_mlock_range(unsigned long start, unsigned long end, bool lock)
{
	int err = -ENOMEM;
	unsigned long n;

	if (end < start)
		return -EINVAL;
	mmap_write_lock(current->mm);
	n = PFN_DOWN(end - start);
	if (!lock || lkl_mlock_has_room(n - lkl_vma_locked(start, end)))
		err = lkl_vma_lock(start, end, lock);
	mmap_write_unlock(current->mm);
	return err;
}

long lkl_mlock(unsigned long addr, unsigned long len)
{
	unsigned long start = addr & PAGE_MASK;

	if (!lkl_mlock_is_allowed())
		return -EPERM;
	return lkl_mlock_range(start, start + PAGE_ALIGN(len + offset_in_page(addr)), true);
}

long lkl_mlock2(unsigned long addr, unsigned long len, int flags)
{
	return flags & ~MLOCK_ONFAULT ? -EINVAL : lkl_mlock(addr, len);
}

long lkl_munlock(unsigned long addr, unsigned long len)
{
	unsigned long start = addr & PAGE_MASK;

	return lkl_mlock_range(start, start + PAGE_ALIGN(len + offset_in_page(addr)), false);
}

long lkl_mlockall(int flags)
{
	struct mm_struct *mm = current->mm;
	int err = 0;

	if (!flags || flags & ~(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) || flags == MCL_ONFAULT)
		return -EINVAL;
	if (!lkl_mlock_is_allowed())
		return -EPERM;
	mmap_write_lock(mm);
	if (flags & MCL_CURRENT && mm->total_vm > lkl_mlock_limit() && !capable(CAP_IPC_LOCK)) {
		err = -ENOMEM;
	} else {
		mm->def_flags = flags & MCL_FUTURE ? VM_LOCKED : 0;
		if (flags & MCL_CURRENT)
			lkl_vma_lock_all(true);
	}
	mmap_write_unlock(mm);
	return err;
}

long lkl_munlockall(void)
{
	mmap_write_lock(current->mm);
	current->mm->def_flags = 0;
	lkl_vma_lock_all(false);
	mmap_write_unlock(current->mm);
	return 0;
}
