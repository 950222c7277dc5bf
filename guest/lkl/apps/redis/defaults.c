/* SPDX-License-Identifier: MPL-2.0
 *
 * Defaults that suit a guest. The configuration file and arguments take precedence. The
 * linker replaces these functions (--wrap, see build).
 */
#include "server.h"

/* The part of the memory, as 1/N, that may be unused in slabs. */
#define UNUSED_PART 32

int __real_main(int argc, char **argv);
void __real_initConfigValues(void);
pid_t __real_fork(void);
void __real_appendServerSaveParams(time_t seconds, int changes);

static int hasFile;

int __wrap_main(int argc, char **argv) {
    hasFile = argc > 1 && argv[1][0] != '-';
    return __real_main(argc, argv);
}

/* The most percent of time that Redis moves values in each tenth of a second, and clients
 * wait. While memory is short, it moves them more often (memory.c). */
#define DEFRAG_CYCLE_MAX 10

/* All clients of a guest are remote, so protected mode would refuse each of them. */
void __wrap_initConfigValues(void) {
    __real_initConfigValues();
    server.protected_mode = 0;
    /* A guest without page tables cannot survive a test of its memory after a crash. */
    server.memcheck_enabled = 0;
    server.active_defrag_enabled = 1;
    server.active_defrag_cycle_max = DEFRAG_CYCLE_MAX;
    server.active_defrag_ignore_bytes = zmalloc_get_memory_size() / UNUSED_PART;
}

/* Sets the default save points. A server without a configuration file saves nothing
 * unless "save" or "appendonly" is an argument: clients would wait for snapshots on a
 * root disk that ends with the task, and writes would be refused when it is full. */
void __wrap_appendServerSaveParams(time_t seconds, int changes) {
    if (hasFile) __real_appendServerSaveParams(seconds, changes);
}

/* Redis warns of vm.overcommit_memory because of fork, which a guest does not have. */
int __wrap_checkOvercommit(sds *error) {
    UNUSED(error);
    return 1;
}

/* With "daemonize yes", Redis takes a failure of fork for the parent process and ends with
 * status 0. */
pid_t __wrap_fork(void) {
    if (server.daemonize) {
        fprintf(stderr, "A guest has one process, so Redis cannot run in the background. Remove \"daemonize yes\".\n");
        exit(1);
    }
    return __real_fork();
}
