/* SPDX-License-Identifier: MPL-2.0
 *
 * Replaces musl's functions, which always fail in a static program. The module ctypes
 * needs dlopen(NULL): ctypes.pythonapi then finds the functions of Python.
 */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

/* Made by build, sorted by name. */
extern const struct symbol {
	const char *name;
	void *value;
} lkl_symbols[];
extern const size_t lkl_symbol_count;

static char *error;

void *
dlopen(const char *path, int mode)
{
	(void)mode;
	if (!path)
		return (void *)lkl_symbols;
	error = "a unikernel has no shared libraries";
	return NULL;
}

int
dlclose(void *handle)
{
	(void)handle;
	return 0;
}

char *
dlerror(void)
{
	char *last = error;

	error = NULL;
	return last;
}

static int
compare(const void *name, const void *symbol)
{
	return strcmp(name, ((const struct symbol *)symbol)->name);
}

void *
dlsym(void *handle, const char *name)
{
	const struct symbol *found;

	(void)handle;
	found = bsearch(name, lkl_symbols, lkl_symbol_count, sizeof(*found), compare);
	if (found)
		return found->value;
	error = "only functions of Python's C API can be found by name";
	return NULL;
}
