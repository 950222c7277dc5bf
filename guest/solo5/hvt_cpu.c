/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Exceptions under hvt. Handlers run on a separate stack, so that they can report
 * a stack overflow. Intel's manual, volume 3, chapters 3, 6 and 8, defines the
 * layouts.
 */
#include "internal.h"
#include "hvt_cpu.h"

#define VECTORS 32
#define SELECTOR_CODE 0x08
#define SELECTOR_TSS 0x18
#define TRAP_STACK 4096

struct gate {
	uint16_t offset_0;
	uint16_t selector;
	uint8_t ist;
	uint8_t type;
	uint16_t offset_16;
	uint32_t offset_32;
	uint32_t reserved;
};

struct tss {
	uint32_t reserved_0;
	uint64_t rsp[3];
	uint64_t reserved_1;
	uint64_t ist[7];
	uint64_t reserved_2;
	uint16_t reserved_3;
	uint16_t iomap;
} __attribute__((packed));

struct table {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed));

/* The stack frame that the processor and the stubs push. */
struct frame {
	uint64_t vector;
	uint64_t error;
	uint64_t rip;
	uint64_t cs;
	uint64_t rflags;
	uint64_t rsp;
	uint64_t ss;
};

_Static_assert(sizeof(struct gate) == 16, "gate");
_Static_assert(sizeof(struct tss) == 104, "task state segment");

static uint64_t gdt[5] = {
	0,
	0x00af9b000000ffff,	/* code, 64 bit, ring 0 */
	0x00cf93000000ffff,	/* data */
	0, 0,			/* TSS, two entries */
};
static struct gate idt[VECTORS];
static struct tss tss;
static uint8_t trap_stack[TRAP_STACK] __attribute__((aligned(16)));

/* Defined in hvt_trap.S. All stubs have the same size. */
#define STUB_SIZE 16
extern const char solo5__trap_stubs[];
void solo5__load_tables(const struct table *gdt, const struct table *idt,
			uint64_t tss_selector);

static const char *const exception_names[VECTORS] = {
	[0] = "#DE divide error", [1] = "#DB debug", [3] = "#BP breakpoint",
	[4] = "#OF overflow", [5] = "#BR bound range",
	[6] = "#UD invalid opcode", [7] = "#NM no device",
	[8] = "#DF double fault", [10] = "#TS invalid TSS",
	[11] = "#NP segment not present", [12] = "#SS stack segment",
	[13] = "#GP general protection", [14] = "#PF page fault",
	[16] = "#MF x87", [17] = "#AC alignment check",
	[18] = "#MC machine check", [19] = "#XM SIMD",
};

static void print_hex(const char *name, uint64_t value)
{
	char text[17];

	for (int i = 0; i < 16; i++)
		text[i] = "0123456789abcdef"[value >> (60 - 4 * i) & 15];
	text[16] = 0;
	solo5__print(name);
	solo5__print(text);
}

SOLO5_NORETURN void solo5__trap(const struct frame *f)
{
	uint64_t cr2;
	const char *name = NULL;

	if (f->vector < VECTORS)
		name = exception_names[f->vector];
	__asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
	solo5__print("solo5: trap: ");
	solo5__print(name ? name : "reserved vector");
	print_hex(" error=", f->error);
	print_hex(" rip=", f->rip);
	print_hex(" rsp=", f->rsp);
	print_hex(" cr2=", cr2);
	solo5__print("\n");
	solo5_exit(SOLO5_EXIT_ABORT);
}

static void set_gate(int vector)
{
	uint64_t stub = (uint64_t)solo5__trap_stubs +
			(uint64_t)vector * STUB_SIZE;

	idt[vector] = (struct gate){
		.offset_0 = (uint16_t)stub,
		.selector = SELECTOR_CODE,
		.ist = 1,
		.type = 0x8e,	/* present, interrupt gate */
		.offset_16 = (uint16_t)(stub >> 16),
		.offset_32 = (uint32_t)(stub >> 32),
	};
}

void solo5__cpu_init(void)
{
	uint64_t base = (uint64_t)&tss;
	struct table gdtr = { sizeof(gdt) - 1, (uint64_t)gdt };
	struct table idtr = { sizeof(idt) - 1, (uint64_t)idt };

	tss.ist[0] = (uint64_t)trap_stack + sizeof(trap_stack);
	tss.iomap = sizeof(tss);
	gdt[3] = (sizeof(tss) - 1) | (base & 0xffffff) << 16 |
		 0x89UL << 40 |	/* present, available 64-bit TSS */
		 (base >> 24 & 0xff) << 56;
	gdt[4] = base >> 32;
	for (int v = 0; v < VECTORS; v++)
		set_gate(v);
	solo5__load_tables(&gdtr, &idtr, SELECTOR_TSS);
}
