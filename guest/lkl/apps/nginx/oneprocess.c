/* SPDX-License-Identifier: MPL-2.0
 *
 * Makes a configuration for a master and workers work in one process. The linker
 * replaces functions of nginx's other files and of libc by those below (--wrap, see
 * build).
 */
#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <nginx.h>
#include <grp.h>
#include <pwd.h>

struct passwd *__real_getpwnam(const char *name);
struct group *__real_getgrnam(const char *name);
void __real_ngx_process_events_and_timers(ngx_cycle_t *cycle);

static char *(*init_core_conf)(ngx_cycle_t *cycle, void *conf);


/*
 * nginx calls this before the other modules see the configuration: with "reuseport"
 * they would open a socket for each worker.
 */
static char *
init_conf(ngx_cycle_t *cycle, void *conf)
{
    ngx_core_conf_t  *ccf = conf;
    ngx_uint_t        user = ccf->username != NULL;
    char             *result;

    result = init_core_conf(cycle, conf);

    if (ccf->daemon || ccf->master || ccf->worker_processes != 1) {
        ngx_log_error(NGX_LOG_NOTICE, cycle->log, 0,
                      "a unikernel has one process: nginx uses \"daemon off\", "
                      "\"master_process off\" and \"worker_processes 1\"");
    }

    if (user) {
        ngx_log_error(NGX_LOG_NOTICE, cycle->log, 0,
                      "the directive \"user\" has no effect without workers");
    }

    ccf->daemon = 0;
    ccf->master = 0;
    ccf->worker_processes = 1;

    return result;
}


static void __attribute__((constructor))
replace_init_conf(void)
{
    static ngx_core_module_t   copy;
    ngx_core_module_t         *ctx = ngx_core_module.ctx;

    init_core_conf = ctx->init_conf;
    copy = *ctx;
    copy.init_conf = init_conf;
    ngx_core_module.ctx = &copy;
}


/*
 * nginx refuses to start if the user of its workers does not exist. There are no
 * workers, so the root file system needs no /etc/passwd.
 */
struct passwd *
__wrap_getpwnam(const char *name)
{
    static struct passwd   root;
    struct passwd         *found = __real_getpwnam(name);

    return found ? found : &root;
}


struct group *
__wrap_getgrnam(const char *name)
{
    static struct group   root;
    struct group         *found = __real_getgrnam(name);

    return found ? found : &root;
}


/* Removes old files of caches. With workers, another process does it. */
static void
run_cache_managers(ngx_event_t *ev)
{
    ngx_path_t  **path = ngx_cycle->paths.elts;
    ngx_msec_t    wait, next = 60 * 1000;
    ngx_uint_t    i;

    for (i = 0; i < ngx_cycle->paths.nelts; i++) {
        if (path[i]->manager == NULL) {
            continue;
        }

        wait = path[i]->manager(path[i]->data);
        next = ngx_min(next, wait);
        ngx_time_update();
    }

    ev->log = ngx_cycle->log;
    ngx_add_timer(ev, ngx_max(next, 1));
}


static void
start_cache_managers(void)
{
    static ngx_connection_t  none = { .fd = (ngx_socket_t) -1 };
    static ngx_event_t       ev = {
        .handler = run_cache_managers, .data = &none, .cancelable = 1
    };

    if (ev.log == NULL) {
        run_cache_managers(&ev);
    }
}


/* Closes the listening sockets and the idle connections, as a worker does. */
static void
begin_exit(ngx_cycle_t *cycle)
{
    ngx_log_error(NGX_LOG_NOTICE, cycle->log, 0, "gracefully shutting down");
    ngx_exiting = 1;
    ngx_set_shutdown_timer(cycle);
    ngx_close_listening_sockets(cycle);
    ngx_close_idle_connections(cycle);
}


/* nginx without workers exits at once after SIGQUIT. This serves the last requests. */
void
__wrap_ngx_process_events_and_timers(ngx_cycle_t *cycle)
{
    start_cache_managers();
    __real_ngx_process_events_and_timers(cycle);

    if (ngx_quit && !ngx_exiting) {
        begin_exit(cycle);
    }

    if (ngx_exiting) {
        ngx_reconfigure = 0;
        ngx_quit = ngx_event_no_timers_left() == NGX_OK;
    }
}
