/* SPDX-License-Identifier: MPL-2.0
 *
 * Saves without a child process. A guest cannot fork, so the kernel refuses fork()
 * with ENOSYS. The linker replaces three functions of Redis's other files by those
 * below (--wrap, see build). redisFork() saves at once, while clients wait, and
 * returns the process ID of a child that has ended. The caller continues as the
 * parent. serverCron() then collects the exit status with waitpid(), as usual.
 *
 * A thread could not save instead: the data structures have no locks, and without
 * page tables there is no copy-on-write.
 */
#include "server.h"

#include <sys/wait.h>

/* Linux's process IDs are less than this (PID_MAX_LIMIT), so no process has it. All
 * saves use one ID, so a save replaces the temporary file of one that was killed. */
#define CHILD_PID (1 << 22)

int __real_kill(pid_t pid, int signal);
pid_t __real_waitpid(pid_t pid, int *status, int options);
/* Redis defines these two, but no header declares them. */
int rewriteAppendOnlyFile(char *filename);
int rdbSaveRioWithEOFMark(int req, rio *rdb, int *error, rdbSaveInfo *rsi);

/* The exit status of the child, if there is one. */
static int childExists;
static int childStatus;

static int saveAppendOnlyFile(void) {
    char name[64];

    aofRemoveTempFile(CHILD_PID);
    snprintf(name, sizeof(name), "temp-rewriteaof-bg-%d.aof", CHILD_PID);
    return rewriteAppendOnlyFile(name);
}

static int saveSnapshot(void) {
    rdbSaveInfo info;
    /* rdbSave() sets this to 0. At the end of a child Redis subtracts the changes
     * that existed when the child started. */
    long long dirty = server.dirty;
    int result = rdbSave(SLAVE_REQ_NONE, server.rdb_filename, rdbPopulateSaveInfo(&info));

    server.dirty = dirty;
    return result;
}

/* A transfer copies a snapshot from a file to a pipe. */
struct transfer {
    int file, pipe;
};

static void *runTransfer(void *argument) {
    struct transfer *transfer = argument;
    char buffer[16 * 1024];
    ssize_t length;

    while ((length = read(transfer->file, buffer, sizeof(buffer))) > 0) {
        ssize_t done = 0, n = 0;

        while (done < length && (n = write(transfer->pipe, buffer + done, length - done)) > 0)
            done += n;
        if (n <= 0) break; /* The parent has closed the pipe. */
    }
    close(transfer->file);
    close(transfer->pipe);
    zfree(transfer);
    return NULL;
}

/* startTransfer replaces the pipe that the parent reads, because the other end of
 * that pipe is a local variable of the caller. */
static int startTransfer(int file) {
    struct transfer *transfer;
    pthread_t thread;
    int ends[2], error;

    if (anetPipe(ends, O_NONBLOCK, 0) == -1) return C_ERR;
    transfer = zmalloc(sizeof(*transfer));
    transfer->file = file;
    transfer->pipe = ends[1];
    error = pthread_create(&thread, NULL, runTransfer, transfer);
    if (error) {
        close(ends[0]);
        close(ends[1]);
        zfree(transfer);
        errno = error;
        return C_ERR;
    }
    pthread_detach(thread);
    dup2(ends[0], server.rdb_pipe_read);
    close(ends[0]);
    return C_OK;
}

/* sendSnapshot sends a snapshot to replicas. The replicas can be slower than the disk,
 * so it saves to an unlinked file, and a thread sends the file. */
static int sendSnapshot(void) {
    client *replica = connGetPrivateData(server.rdb_pipe_conns[0]);
    char name[] = "temp-replica-XXXXXX";
    rdbSaveInfo info;
    int file, saved;
    rio rdb;

    file = mkstemp(name);
    if (file == -1) return C_ERR;
    unlink(name);
    rioInitWithFd(&rdb, file);
    saved = rdbSaveRioWithEOFMark(replica->slave_req, &rdb, NULL, rdbPopulateSaveInfo(&info)) == C_OK && rioFlush(&rdb);
    rioFreeFd(&rdb);
    if (saved && lseek(file, 0, SEEK_SET) == 0 && startTransfer(file) == C_OK) return C_OK;
    close(file);
    return C_ERR;
}

int __wrap_redisFork(int purpose) {
    long long start = ustime();
    int result;

    if (purpose != CHILD_TYPE_AOF && purpose != CHILD_TYPE_RDB) {
        errno = ENOSYS;
        return -1;
    }
    if (hasActiveChildProcess()) {
        errno = EEXIST;
        return -1;
    }
    if (purpose == CHILD_TYPE_AOF)
        result = saveAppendOnlyFile();
    else if (server.rdb_pipe_conns)
        result = sendSnapshot();
    else
        result = saveSnapshot();
    childExists = 1;
    childStatus = result == C_OK ? 0 : 1 << 8; /* as exit(1) */

    server.stat_total_forks++;
    server.stat_fork_time = ustime() - start;
    latencyAddSampleIfNeeded("fork", server.stat_fork_time / 1000);
    serverLog(LL_NOTICE, "Clients waited %lld ms for the save", server.stat_fork_time / 1000);
    server.child_pid = CHILD_PID;
    server.child_type = purpose;
    updateDictResizePolicy();
    return CHILD_PID;
}

pid_t __wrap_waitpid(pid_t pid, int *status, int options) {
    if (!childExists || (pid != -1 && pid != CHILD_PID)) return __real_waitpid(pid, status, options);
    /* Redis closes this pipe when the replicas have received the snapshot. */
    if (server.rdb_pipe_conns && server.rdb_child_exit_pipe != -1 && !WIFSIGNALED(childStatus)) return 0;
    childExists = 0;
    *status = childStatus;
    return CHILD_PID;
}

int __wrap_kill(pid_t pid, int signal) {
    if (!childExists || pid != CHILD_PID) return __real_kill(pid, signal);
    childStatus = signal;
    return 0;
}
