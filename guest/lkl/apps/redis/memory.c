/* SPDX-License-Identifier: MPL-2.0
 *
 * Keeps Redis within the memory of its guest. A guest has neither swap nor another
 * process whose memory the kernel could take, and all memory of a mapping exists at
 * once. The linker replaces these functions of Redis and musl (--wrap, see build).
 */
#include "server.h"

#include <fcntl.h>
#include <sys/mman.h>

/* The memory is checked after this time, or when this part of it, as 1/N, was mapped. */
#define CHECK_INTERVAL_US 10000
#define CHECK_PART 512
/* The most time for moving values together after a check. */
#define MOST_COMPACT_US 10000
/* A failed allocation of a table is repeated after this time. Each takes up to 40 ms. */
#define RETRY_INTERVAL_US 1000000
/* Smaller tables are always tried. */
#define LARGE_TABLE (64 * 1024)
/* The size of jemalloc's slabs (lg-page in build). */
#define SLAB (32 * 1024)
/* The most mappings at an odd address that are made on the way to an aligned one. */
#define MOST_ODD 16
/* Redis's threads only free memory, and close and sync files. */
#define THREAD_STACK (256 * 1024)

int __real_performEvictions(void);
int __real_pthread_attr_setstacksize(pthread_attr_t *attributes, size_t size);
void *__real_mmap(void *address, size_t size, int protection, int flags, int file, off_t offset);
void *__real_ztrycalloc(size_t size);
void __real_zmalloc_set_oom_handler(void (*handler)(size_t));
/* Redis defines this one, but no header declares it. */
float getAllocatorFragmentation(size_t *unused);

/* Returns a line of /proc/meminfo in bytes, or 0. */
static size_t memoryLine(const char *text, const char *name) {
    const char *line = strstr(text, name);

    return line ? strtoul(line + strlen(name), NULL, 10) * 1024 : 0;
}

/* The memory that jemalloc has mapped since the last check. */
static size_t mapped;

/* Returns how many bytes are missing until a tenth of the memory is available. */
static size_t missingMemory(size_t total) {
    static int file = -1;
    char text[256];
    size_t available;
    ssize_t n;

    if (file == -1) file = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
    n = pread(file, text, sizeof(text) - 1, 0);
    if (n <= 0) return 0;
    text[n] = 0;
    available = memoryLine(text, "MemAvailable:");
    return available < total / 10 ? total / 10 - available : 0;
}

/* Moves values together for a time that grows as memory gets short. */
static void compact(size_t missing, size_t total) {
    size_t unused;
    int running;

    if (!server.active_defrag_enabled) return;
    getAllocatorFragmentation(&unused);
    if (unused < server.active_defrag_ignore_bytes) return;
    running = MOST_COMPACT_US * missing / (total / 10) * server.hz / 10000;
    server.active_defrag_running = max(running, 1);
    activeDefragCycle();
    /* The timer continues at its own pace. */
    server.active_defrag_running = min(server.active_defrag_running, server.active_defrag_cycle_max);
}

/* Returns maxmemory, or less while memory is short. maxmemory limits the bytes that Redis
 * has allocated. If the sizes of values change, the allocator needs more, until Redis has
 * moved values together. */
static size_t memoryLimit(void) {
    static monotime next;
    static size_t lower, total;
    size_t missing, limit = server.maxmemory, used;

    if (!total) total = zmalloc_get_memory_size();
    if (getMonotonicUs() >= next || mapped >= total / CHECK_PART) {
        mapped = 0;
        missing = missingMemory(total);
        if (missing) {
            compact(missing, total);
            jemalloc_purge(); /* memory that the allocator keeps for later */
            missing = missingMemory(total);
        }
        used = min(limit, zmalloc_used_memory());
        if (missing)
            lower = used - min(used, missing / 4) + 1;
        else if (lower)
            lower += limit / 100;
        if (lower > limit) lower = 0;
        next = getMonotonicUs() + CHECK_INTERVAL_US;
    }
    return lower ? lower : limit;
}

/* Redis calls this before a command if maxmemory is set. */
int __wrap_performEvictions(void) {
    unsigned long long limit = server.maxmemory;
    int result;

    server.maxmemory = memoryLimit();
    result = __real_performEvictions();
    server.maxmemory = limit;
    return result;
}

/* Allocates the table of a hash, which must be contiguous. A hash keeps its table if it
 * cannot get a larger one (patches/dict.patch), and asks again at each new key. */
void *__wrap_ztrycalloc(size_t size) {
    static monotime next;
    void *table;

    if (size >= LARGE_TABLE && getMonotonicUs() < next) return NULL;
    table = __real_ztrycalloc(size);
    if (!table && size >= LARGE_TABLE) {
        jemalloc_purge();
        table = __real_ztrycalloc(size);
        next = table ? 0 : getMonotonicUs() + RETRY_INTERVAL_US;
    }
    return table;
}

/* jemalloc needs slabs at multiples of their size. If a mapping is elsewhere, jemalloc maps
 * almost twice the size and unmaps the ends. When memory is short, no hole is that large,
 * though there are holes of the size of a slab. So try the next holes. */
void *__wrap_mmap(void *address, size_t size, int protection, int flags, int file, off_t offset) {
    void *found = __real_mmap(address, size, protection, flags, file, offset), *odd[MOST_ODD];
    int n = 0;

    if (found != MAP_FAILED && flags & MAP_ANONYMOUS) mapped += size;
    if (address || size != SLAB || !(flags & MAP_ANONYMOUS)) return found;
    while (found != MAP_FAILED && (uintptr_t)found % SLAB && n < MOST_ODD) {
        odd[n++] = found;
        found = __real_mmap(address, size, protection, flags, file, offset);
    }
    while (n) munmap(odd[--n], size);
    return found;
}

int __wrap_pthread_attr_setstacksize(pthread_attr_t *attributes, size_t size) {
    return __real_pthread_attr_setstacksize(attributes, size < THREAD_STACK ? size : THREAD_STACK);
}

/* Redis's own handler writes a report, which needs memory and calls the handler again. */
static void outOfMemory(size_t size) {
    serverLog(LL_WARNING,
              "Out of memory: allocating %zu bytes failed, with %zu in use. Set maxmemory to half of the task's memory, or give it more.",
              size, zmalloc_used_memory());
    _exit(1);
}

void __wrap_zmalloc_set_oom_handler(void (*handler)(size_t)) {
    UNUSED(handler);
    __real_zmalloc_set_oom_handler(outOfMemory);
}
