/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _ASM_LKL_IRQFLAGS_H
#define _ASM_LKL_IRQFLAGS_H

/*
 * Whether interrupts are enabled is a variable, because interrupts happen only
 * where the kernel polls; see irq.c.
 */
#include <linux/compiler.h>

#define ARCH_IRQ_ENABLED	0UL
#define ARCH_IRQ_DISABLED	1UL

extern unsigned long lkl_irqs_off;
extern unsigned int lkl_irq_enables;
void lkl_poll_in_kernel(void);

static inline unsigned long arch_local_save_flags(void)
{
	return lkl_irqs_off;
}

static inline void arch_local_irq_disable(void)
{
	lkl_irqs_off = ARCH_IRQ_DISABLED;
	barrier();
}

static inline void arch_local_irq_enable(void)
{
	barrier();
	lkl_irqs_off = ARCH_IRQ_ENABLED;
	/* Some loops of the kernel wait for an event and do nothing else but this. */
	if (unlikely(!(++lkl_irq_enables & 127)))
		lkl_poll_in_kernel();
}

static inline void arch_local_irq_restore(unsigned long flags)
{
	barrier();
	lkl_irqs_off = flags;
}

static inline unsigned long arch_local_irq_save(void)
{
	unsigned long flags = lkl_irqs_off;

	arch_local_irq_disable();
	return flags;
}

static inline int arch_irqs_disabled_flags(unsigned long flags)
{
	return flags != ARCH_IRQ_ENABLED;
}

static inline int arch_irqs_disabled(void)
{
	return arch_irqs_disabled_flags(lkl_irqs_off);
}

#endif
