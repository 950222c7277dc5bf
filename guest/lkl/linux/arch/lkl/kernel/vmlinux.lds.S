/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The layout of a unikernel: kernel, libc and program in one image that starts at
 * 1 MiB, in three segments: code, read-only data and writable data. Tenders refuse
 * a segment that is both writable and executable.
 */
#define LOAD_OFFSET 0
#undef linux	/* part of a file's name below */
#include <asm-generic/vmlinux.lds.h>
#include <asm/page.h>
#include <asm/cache.h>
#include <asm/thread_info.h>

OUTPUT_FORMAT("elf64-x86-64")
OUTPUT_ARCH(i386:x86-64)
ENTRY(_start)
jiffies = jiffies_64;

PHDRS
{
	interp	PT_INTERP;
	text	PT_LOAD FLAGS(5);
	rodata	PT_LOAD FLAGS(4);
	data	PT_LOAD FLAGS(6);
	tls	PT_TLS FLAGS(4);
	abi	PT_NOTE FLAGS(4);
	mft	PT_NOTE FLAGS(4);
	lkl	PT_NOTE FLAGS(4);
}

/* The value of -z stack-size, which lkl-cc sets. */
PROVIDE(lkl_stack_size = 0);

SECTIONS
{
	. = 0x100000;
	lkl_image_start = .;
	_stext = .;
	_text = .;
	.text : {
		KEEP(*(.text.start))
		/* preempt.c finds out by the address whether code is the kernel's. */
		*libsolo5-*.a:*(.text .text.*)
		*/lib/linux.o(.text .text.* .noinstr.text .ref.text)
		SCHED_TEXT
		CPUIDLE_TEXT
		LOCK_TEXT
		KPROBES_TEXT
		IRQENTRY_TEXT
		SOFTIRQENTRY_TEXT
		_etext = .;
		_sinittext = .;
		/* INIT_TEXT and EXIT_TEXT would include .text.startup and .text.exit of programs. */
		*(.init.text .init.text.* .exit.text)
		_einittext = .;
		lkl_kernel_text_end = .;
		TEXT_TEXT
		*(.text .text.* .gnu.linkonce.t.*)
		*(.iplt)
		KEEP(*(.init))
		KEEP(*(.fini))
	} :text

	. = ALIGN(PAGE_SIZE);
	lkl_text_end = .;
	.interp : { KEEP(*(.interp)) } :rodata :interp
	.note.solo5.abi : { KEEP(*(.note.solo5.abi)) } :rodata :abi
	.note.solo5.manifest : { KEEP(*(.note.solo5.manifest)) } :rodata :mft
	.note.lkl : { KEEP(*(.note.lkl)) } :rodata :lkl
	.rodata : {
		__start_rodata = .;
		SCHED_DATA
		*(.rodata .rodata.* .gnu.linkonce.r.*)
		*(.init.rodata .init.rodata.*)
	} :rodata
	.tables : {
		. = ALIGN(8);
		__start___param = .;
		KEEP(*(__param))
		__stop___param = .;
		__start___modver = .;
		KEEP(*(__modver))
		__stop___modver = .;
		__start___ex_table = .;
		KEEP(*(__ex_table))
		__stop___ex_table = .;
		INIT_SETUP(16)
		INIT_CALLS
		CON_INITCALL
	} :rodata
	.eh_frame_hdr : {
		__eh_frame_hdr_start = .;
		*(.eh_frame_hdr)
		__eh_frame_hdr_end = .;
	} :rodata
	.eh_frame : { KEEP(*(.eh_frame .eh_frame.*)) } :rodata
	.gcc_except_table : { *(.gcc_except_table .gcc_except_table.*) } :rodata
	__end_rodata = .;
	/*
	 * Tenders round the start of a segment down to its alignment, which is
	 * the largest of its sections, and refuse segments that overlap then.
	 */
	. = ALIGN(MAX(THREAD_SIZE, MAX(ALIGNOF(.data), ALIGNOF(.bss))));
	lkl_rodata_end = .;

	_sdata = .;
	.tdata : ALIGN(64) {
		__tls_start = .;
		*(.tdata .tdata.* .gnu.linkonce.td.*)
		__tls_file_end = .;
	} :data :tls
	.tbss : { *(.tbss .tbss.* .gnu.linkonce.tb.*) } :data :tls
	__tls_end = ADDR(.tbss) + SIZEOF(.tbss);
	__tls_align = MAX(MAX(ALIGNOF(.tdata), ALIGNOF(.tbss)), 1);

	.data.init_task : ALIGN(THREAD_SIZE) { INIT_TASK_DATA(THREAD_SIZE) } :data
	.data.kernel : {
		PAGE_ALIGNED_DATA(PAGE_SIZE)
		CACHELINE_ALIGNED_DATA(L1_CACHE_BYTES)
		READ_MOSTLY_DATA(L1_CACHE_BYTES)
		RO_AFTER_INIT_DATA
		DATA_DATA
		CONSTRUCTORS
	} :data
	BUG_TABLE
	.data : {
		. = ALIGN(16);
		PROVIDE_HIDDEN(__preinit_array_start = .);
		KEEP(*(.preinit_array))
		PROVIDE_HIDDEN(__preinit_array_end = .);
		PROVIDE_HIDDEN(__init_array_start = .);
		KEEP(*(SORT_BY_INIT_PRIORITY(.init_array.*)))
		KEEP(*(.init_array .ctors))
		PROVIDE_HIDDEN(__init_array_end = .);
		PROVIDE_HIDDEN(__fini_array_start = .);
		KEEP(*(SORT_BY_INIT_PRIORITY(.fini_array.*)))
		KEEP(*(.fini_array .dtors))
		PROVIDE_HIDDEN(__fini_array_end = .);
		*(.data.rel.ro .data.rel.ro.*)
		*(.got .got.plt .igot.plt)
		*(.data .data.* .gnu.linkonce.d.*)
	} :data

	. = ALIGN(PAGE_SIZE);
	__init_begin = .;
	lkl_initdata_start = .;
	.init.data : {
		INIT_DATA
		INIT_RAM_FS
	} :data
	. = ALIGN(PAGE_SIZE);
	lkl_initdata_end = .;
	__init_end = .;
	_edata = .;

	__bss_start = .;
	.bss : ALIGN(PAGE_SIZE) {
		. = ALIGN(PAGE_SIZE);
		*(.bss..page_aligned)
		*(.dynbss)
		*(.bss .bss.* .gnu.linkonce.b.*)
		*(COMMON)
		. = ALIGN(16);
	} :data
	__bss_stop = .;
	_end = .;

	STABS_DEBUG
	DWARF_DEBUG
	.comment 0 : { *(.comment) }

	/DISCARD/ : {
		EXIT_DATA
		*(.exitcall.exit) *(.discard .discard.*) *(.modinfo) *(.note.*)
		*(.rela.* .rela_* .rel.*) *(.export_symbol) *(___ksymtab*) *(__ksymtab_strings)
	}
}
