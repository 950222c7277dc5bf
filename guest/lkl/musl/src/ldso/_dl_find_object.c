/* SPDX-License-Identifier: MPL-2.0 */
/*
 * libgcc of the machine was built for glibc. Its unwinder calls _dl_find_object() to
 * find the unwind tables of the object that contains an address. In a unikernel
 * there is one object, the image.
 */
#define _GNU_SOURCE
#include <link.h>
#include <pthread.h>

/* As in glibc 2.35 on x86-64. */
struct dl_find_object {
	unsigned long long flags;
	void *map_start, *map_end;
	struct link_map *link_map;
	void *eh_frame;
	unsigned long long reserved[7];
};

struct search {
	char *address;
	struct dl_find_object *result;
};

/*
 * libgcc refers to these weakly. If the first is linked, it assumes that the program
 * has threads and calls the others, so all of them have to be linked.
 */
extern int __pthread_key_create(pthread_key_t *, void (*)(void *));
__attribute__((used)) static const void *const needed[] = {
	__pthread_key_create, pthread_once, pthread_mutex_lock, pthread_mutex_unlock,
};

static int search_object(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct search *s = arg;
	int inside = 0;

	s->result->eh_frame = NULL;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];
		char *start = (char *)info->dlpi_addr + p->p_vaddr;

		if (p->p_type == PT_GNU_EH_FRAME)
			s->result->eh_frame = start;
		if (p->p_type == PT_LOAD && s->address >= start && s->address < start + p->p_memsz) {
			inside = 1;
			s->result->map_start = start;
			s->result->map_end = start + p->p_memsz;
		}
	}
	return inside && s->result->eh_frame;
}

int _dl_find_object(void *address, struct dl_find_object *result)
{
	struct search s = { address, result };

	result->flags = 0;
	result->link_map = NULL;
	return dl_iterate_phdr(search_object, &s) ? 0 : -1;
}
