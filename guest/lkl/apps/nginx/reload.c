/* SPDX-License-Identifier: MPL-2.0
 *
 * Reloads the configuration in a process without workers. nginx calls the result of
 * a configuration file a cycle. With "master_process off" ngx_init_cycle() returns a
 * new cycle after SIGHUP, but nginx prepares it for no connection. The linker
 * replaces functions of nginx's other files by those below (--wrap, see build).
 *
 * As after a reload with workers, idle connections are closed, and the others get
 * their answer from the old configuration. The old cycle is freed when its last
 * connection is closed.
 */
#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <nginx.h>

extern ngx_array_t ngx_old_cycles;
extern ngx_event_t ngx_cleaner_event;  /* static in nginx, see build */
#if (NGX_THREADS)
extern ngx_module_t ngx_thread_pool_module;
#endif

ngx_cycle_t *__real_ngx_init_cycle(ngx_cycle_t *old);
ngx_int_t __real_ngx_event_timer_init(ngx_log_t *log);
void __real_ngx_close_connection(ngx_connection_t *c);
void __real_ngx_free_connection(ngx_connection_t *c);
void __real_ngx_reusable_connection(ngx_connection_t *c, ngx_uint_t reusable);
void __real_ngx_shm_free(ngx_shm_t *shm);
void __real_ngx_reopen_files(ngx_cycle_t *cycle, ngx_uid_t user);

/* The first call makes the tree of timers. Later ones would forget its timers. */
ngx_int_t
__wrap_ngx_event_timer_init(ngx_log_t *log)
{
    static ngx_uint_t done;

    return done++ ? NGX_OK : __real_ngx_event_timer_init(log);
}


static ngx_uint_t
is_current(ngx_connection_t *c)
{
    return c >= ngx_cycle->connections
           && c < ngx_cycle->connections + ngx_cycle->connection_n;
}


/*
 * nginx puts a closed connection on the free list of the current cycle. A connection
 * of an old cycle must not be used again, because its memory is freed with the cycle.
 */
static void
take_from_free_list(ngx_connection_t *c)
{
    if (ngx_cycle->free_connections == c && !is_current(c)) {
        ngx_cycle->free_connections = c->data;
        ngx_cycle->free_connection_n--;
    }
}


void
__wrap_ngx_free_connection(ngx_connection_t *c)
{
    __real_ngx_free_connection(c);
    take_from_free_list(c);
}


void
__wrap_ngx_close_connection(ngx_connection_t *c)
{
    __real_ngx_close_connection(c);
    take_from_free_list(c);
}


/* nginx calls this when a connection becomes idle. Those of old cycles are closed. */
void
__wrap_ngx_reusable_connection(ngx_connection_t *c, ngx_uint_t reusable)
{
    __real_ngx_reusable_connection(c, reusable);

    if (reusable && c->idle && !is_current(c)) {
        c->close = 1;
        ngx_post_event(c->read, &ngx_posted_events);
    }
}


static void
free_zone(void *data)
{
    __real_ngx_shm_free(data);
}


/* Keeps a zone of the current cycle until the cycle is freed: its requests use it. */
void
__wrap_ngx_shm_free(ngx_shm_t *shm)
{
    volatile ngx_list_part_t  *part;
    ngx_pool_cleanup_t        *cleanup;
    ngx_shm_zone_t            *zone;
    ngx_uint_t                 i;

    for (part = &ngx_cycle->shared_memory.part; part; part = part->next) {
        zone = part->elts;

        for (i = 0; i < part->nelts; i++) {
            if (&zone[i].shm != shm) {
                continue;
            }

            cleanup = ngx_pool_cleanup_add(ngx_cycle->pool, 0);
            if (cleanup) {
                cleanup->handler = free_zone;
                cleanup->data = shm;
            }

            return;
        }
    }

    __real_ngx_shm_free(shm);
}


/* Returns the descriptor of a cycle's open file, or NGX_INVALID_FILE. */
static ngx_fd_t
find_file(ngx_cycle_t *cycle, ngx_str_t *name)
{
    ngx_list_part_t  *part;
    ngx_open_file_t  *file;
    ngx_uint_t        i;

    for (part = &cycle->open_files.part; part; part = part->next) {
        file = part->elts;

        for (i = 0; i < part->nelts; i++) {
            if (file[i].name.len == name->len
                && ngx_strncmp(file[i].name.data, name->data, name->len) == 0)
            {
                return file[i].fd;
            }
        }
    }

    return NGX_INVALID_FILE;
}


/*
 * nginx has closed the log files of the old cycle, whose requests still write to
 * them. The new cycle has opened the same files again.
 */
static void
replace_files(ngx_cycle_t *old, ngx_cycle_t *new)
{
    ngx_list_part_t  *part;
    ngx_open_file_t  *file;
    ngx_uint_t        i;

    for (part = &old->open_files.part; part; part = part->next) {
        file = part->elts;

        for (i = 0; i < part->nelts; i++) {
            if (file[i].fd != ngx_stderr) {
                file[i].fd = find_file(new, &file[i].name);
            }
        }
    }
}


static void
replace_files_of_old_cycles(ngx_cycle_t *new)
{
    ngx_cycle_t  **old = ngx_old_cycles.elts;
    ngx_uint_t     i;

    for (i = 0; i < ngx_old_cycles.nelts; i++) {
        if (old[i]) {
            replace_files(old[i], new);
        }
    }
}


/* The old cycles write to the same files. */
void
__wrap_ngx_reopen_files(ngx_cycle_t *cycle, ngx_uid_t user)
{
    __real_ngx_reopen_files(cycle, user);
    replace_files_of_old_cycles(cycle);
}


/* Frees the memory of a cycle that is not in its pool. */
static void
free_cycle(void *data)
{
    ngx_cycle_t      *cycle = data;
    ngx_list_part_t  *part;
    ngx_open_file_t  *file;
    ngx_uint_t        i;

    for (part = &cycle->open_files.part; part; part = part->next) {
        file = part->elts;

        for (i = 0; i < part->nelts; i++) {
            if (file[i].flush) {
                file[i].flush(&file[i], ngx_cycle->log);
            }
        }
    }

#if (NGX_THREADS)
    ngx_thread_pool_module.exit_process(cycle);
#endif

    ngx_free(cycle->connections);
    ngx_free(cycle->read_events);
    ngx_free(cycle->write_events);
}


static ngx_uint_t
has_connections(ngx_cycle_t *cycle)
{
    ngx_uint_t  i;

    for (i = 0; i < cycle->connection_n; i++) {
        if (cycle->connections[i].fd != (ngx_socket_t) -1) {
            return 1;
        }
    }

    return 0;
}


/* nginx looks for cycles without connections every 30 seconds: too rarely. */
static void
free_old_cycles(void)
{
    ngx_cycle_t  **old = ngx_old_cycles.elts;
    ngx_uint_t     i, live = 0;

    for (i = 0; i < ngx_old_cycles.nelts; i++) {
        if (old[i] == NULL) {
            continue;
        }

        if (has_connections(old[i])) {
            old[live++] = old[i];
            continue;
        }

        ngx_destroy_pool(old[i]->pool);
    }

    ngx_old_cycles.nelts = live;
}


/*
 * Removes the old events of listening sockets from epoll, because the module of
 * events expects that they are closed. nginx has closed the sockets that the new cycle
 * does not have.
 */
static void
release_sockets(ngx_cycle_t *old)
{
    ngx_listening_t  *ls = old->listening.elts;
    ngx_uint_t        i;

    for (i = 0; i < old->listening.nelts; i++) {
        if (ls[i].connection == NULL) {
            continue;
        }

        if (ls[i].remain) {
            ngx_del_event(ls[i].connection->read, NGX_READ_EVENT, 0);
        } else {
            ls[i].connection->read->active = 0;
        }

        ls[i].connection->fd = (ngx_socket_t) -1;
    }
}


/* Closes idle connections. The next answer of the others has "Connection: close". */
static void
end_connections(ngx_cycle_t *old)
{
    ngx_uint_t  i;

    ngx_close_idle_connections(old);

    for (i = 0; i < old->connection_n; i++) {
        old->connections[i].requests = NGX_MAX_INT_T_VALUE;
    }
}


static void
move_queue(ngx_queue_t *to, ngx_queue_t *from)
{
    if (!ngx_queue_empty(from)) {
        ngx_queue_add(to, from);
        ngx_queue_init(from);
    }
}


/* Calls the modules as at the start of a process, and keeps the posted events. */
static void
start_modules(ngx_cycle_t *cycle)
{
    ngx_queue_t  events, next;
    ngx_uint_t   i;

    ngx_queue_init(&events);
    ngx_queue_init(&next);
    move_queue(&events, &ngx_posted_events);
    move_queue(&next, &ngx_posted_next_events);

    for (i = 0; cycle->modules[i]; i++) {
        if (cycle->modules[i]->init_process
            && cycle->modules[i]->init_process(cycle) == NGX_ERROR)
        {
            exit(2);
        }
    }

    move_queue(&ngx_posted_events, &events);
    move_queue(&ngx_posted_next_events, &next);
}


ngx_cycle_t *
__wrap_ngx_init_cycle(ngx_cycle_t *old)
{
    ngx_uint_t           first = ngx_is_init_cycle(old);
    ngx_cycle_t         *cycle;
    ngx_pool_cleanup_t  *cleanup;

    cycle = __real_ngx_init_cycle(old);
    if (cycle == NULL || first || ngx_process != NGX_PROCESS_SINGLE) {
        return cycle;
    }

    /* A graceful exit must not wait for this timer. */
    ngx_cleaner_event.cancelable = 1;

    replace_files_of_old_cycles(cycle);
    end_connections(old);
    release_sockets(old);
    move_queue(&cycle->reusable_connections_queue,
               &old->reusable_connections_queue);
    cycle->reusable_connections_n = old->reusable_connections_n;

    ngx_cycle = cycle;
    if (ngx_set_environment(cycle, NULL) == NULL) {
        exit(2);
    }

    start_modules(cycle);

    cleanup = ngx_pool_cleanup_add(old->pool, 0);
    if (cleanup) {
        cleanup->handler = free_cycle;
        cleanup->data = old;
    }

    free_old_cycles();

    return cycle;
}
