/* SPDX-License-Identifier: MPL-2.0 */
/* Memory of the start program that is not static. */
#include "start.h"

#include <sys/mman.h>

void *memory_map(size_t size)
{
	long address = CALL(SYS_mmap, 0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			    -1, 0);

	return (unsigned long)address > -4096UL ? NULL : (void *)address;
}

void memory_unmap(void *memory, size_t size)
{
	CALL(SYS_munmap, memory, size);
}
