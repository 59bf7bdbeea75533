/* A device measured by processes: the side that asks. Both speak JSON, a message a line. The request:
 *   {"stamp", "index", "name" (of the device), "effort", "parts", "sizes", "config_dir", "memory_limit", "variants", "cache",
 * "helper", "begin", "seconds", "allowance", "first", "done", "total", "device"}    as tn_bench_task and the answers (serve.c):
 *   {"begins": {"id", "group", "name", "unit", "may_refuse"} or null}        a figure, or that it is done
 *   {"tell": [phase, item, done, total]}, {"log": [level, line]}
 *   {"put": [list, value]}, {"set": [key, value]}                            what is new in the device's document
 *   {"stage": i}                                                             it is done
 *   {"end": [status, sentence]}                                              nothing follows */
#include "measure.h"
#include "clock.h"
#include "helper.h"
#include "text.h"
#include "verdict.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LAST_WORDS = 30, TELL_MS = 300, MOST_DEATHS = 100 };
#define GRACE 0.04 /* of the time: what ends by itself is not stopped */

typedef struct {
    const tn_bench_task *t;
    int first;      /* stage that the next process begins with */
    json_t *at;     /* the figure that it is at, NULL: none */
    json_t *end;    /* its last message */
    char item[200]; /* last progress, told again while nothing is heard */
    tn_phase phase;
    long long done, total;
    pid_t pid;
    int fd, status;
    bool late; /* it was stopped, since the time is over */
    tn_text line;
} apart;

/* ---- what it is asked ---- */

static json_t *request_of(const apart *a)
{
    const tn_bench_task *t = a->t;
    const tn_run_options *o = t->o;
    char stamp[64];
    tn_check_stamp(stamp, sizeof stamp);
    return json_pack("{s:s, s:i, s:O, s:i, s:s, s:s, s:o, s:I, s:o, s:o, s:o, s:f, s:f, s:f, s:i, s:i, s:i, s:O}", "stamp", stamp,
                     "index", t->index, "name", json_object_get(json_object_get(t->device, "identity"), "name"), "effort",
                     (int)t->effort, "parts", t->parts, "sizes", t->sizes, "config_dir", tn_json_text(t->config_dir),
                     "memory_limit", (json_int_t)o->memory_limit, "variants", tn_json_text(o->variants), "cache",
                     tn_json_text(o->cache), "helper", tn_json_text(o->helper), "begin", t->begin, "seconds", t->seconds,
                     "allowance", t->allowance, "first", a->first, "done", t->done, "total", t->total, "device", t->device);
}

static bool send_text(int fd, const char *s, size_t n)
{
    while (n) {
        const ssize_t k = send(fd, s, n, MSG_NOSIGNAL);
        if (k <= 0) return false;
        s += k, n -= (size_t)k;
    }
    return !shutdown(fd, SHUT_WR);
}

static int start(apart *a, tn_error *err)
{
    int fd[2];
    json_t *q = request_of(a);
    char *text = q ? json_dumps(q, JSON_COMPACT) : NULL;
    json_decref(q);
    if (!text) return tn_oom(err);
    bool started = !socketpair(AF_UNIX, SOCK_STREAM, 0, fd);
    if (started) {
        fcntl(fd[0], F_SETFD, FD_CLOEXEC);
        fcntl(fd[1], F_SETFD, FD_CLOEXEC);
        started = tn_helper_start(&a->pid, a->t->o->helper, "measure", fd[1], fd[1]);
        close(fd[1]);
        a->fd = fd[0];
        if (started) (void)send_text(fd[0], text, strlen(text)); /* what has ended answers nothing */
        else close(fd[0]);
    }
    free(text);
    return started ? 0
                   : tn_fail(err, TN_ERR_IO, "no process of '%s' can be started to measure: %s", a->t->o->helper, strerror(errno));
}

/* ---- what it says ---- */

static int tell_again(const apart *a, tn_error *err)
{
    const tn_watch w = {a->t->o->progress, a->t->o->user};
    return tn_watch_tell(&w, a->phase, a->item[0] ? a->item : NULL, a->done, a->total, err);
}

static int told(apart *a, const json_t *v, tn_error *err)
{
    const char *item = json_string_value(json_array_get(v, 1));
    a->phase = (tn_phase)json_integer_value(json_array_get(v, 0));
    snprintf(a->item, sizeof a->item, "%s", item ? item : "");
    a->done = json_integer_value(json_array_get(v, 2));
    a->total = json_integer_value(json_array_get(v, 3));
    return tell_again(a, err);
}

static void keep(json_t **at, json_t *v)
{
    json_decref(*at);
    *at = json_is_null(v) ? NULL : json_incref(v);
}

static int hear(apart *a, const json_t *m, tn_error *err)
{
    const char *key = json_object_iter_key(json_object_iter((json_t *)m));
    json_t *v = json_object_get(m, key ? key : ""), *second = json_array_get(v, 1);
    const char *first = json_string_value(json_array_get(v, 0));
    if (!key) return 0;
    if (!strcmp(key, "tell")) return told(a, v, err);
    if (!strcmp(key, "begins")) keep(&a->at, v);
    else if (!strcmp(key, "end")) keep(&a->end, v);
    else if (!strcmp(key, "stage")) a->first = (int)json_integer_value(v) + 1;
    else if (!strcmp(key, "put") && first) json_array_append(json_object_get(a->t->device, first), second);
    else if (!strcmp(key, "set") && first) json_object_set(a->t->device, first, second);
    else if (!strcmp(key, "log") && json_is_string(second))
        tn_logf(a->t->o->log, (tn_log_level)json_integer_value(json_array_get(v, 0)), "%s", json_string_value(second));
    return 0;
}

/* All whole lines; what is none of ours is passed over. */
static int hear_lines(apart *a, tn_error *err)
{
    int rc = 0;
    size_t from = 0;
    for (char *end; !rc && a->line.s && (end = memchr(a->line.s + from, '\n', a->line.len - from));) {
        json_t *m = json_loadb(a->line.s + from, (size_t)(end - a->line.s) - from, 0, NULL);
        if (m) rc = hear(a, m, err);
        json_decref(m);
        from = (size_t)(end - a->line.s) + 1;
    }
    if (from) memmove(a->line.s, a->line.s + from, a->line.len - from), a->line.len -= from;
    return rc;
}

static double last_moment(const tn_bench_task *t)
{
    return t->seconds > 0 ? t->begin + (1 + GRACE) * t->seconds + t->allowance : INFINITY;
}

/* Until it says no more, or has to be stopped. */
static int listen_to(apart *a, tn_error *err)
{
    char buf[8192];
    while (!a->late) {
        struct pollfd f = {a->fd, POLLIN, 0};
        const int ready = poll(&f, 1, TELL_MS);
        if (ready > 0) {
            const ssize_t n = read(a->fd, buf, sizeof buf);
            if (n <= 0) return 0;
            tn_text_add(&a->line, buf, (size_t)n);
            if (a->line.oom) return tn_oom(err);
            TN_TRY(hear_lines(a, err));
        } else {
            TN_TRY(tell_again(a, err));
        }
        a->late = tn_now() > last_moment(a->t);
    }
    return 0;
}

static int run_one(apart *a, tn_error *err)
{
    keep(&a->at, json_null());
    keep(&a->end, json_null());
    a->status = 0;
    a->line.len = 0;
    TN_TRY(start(a, err));
    const int rc = listen_to(a, err);
    close(a->fd);
    if (rc || a->late || !tn_helper_wait(a->pid, tn_now() + LAST_WORDS, &a->status)) tn_helper_stop(a->pid);
    return rc;
}

/* ---- what becomes of its end ---- */

static void add_left(const tn_bench_task *t, const char *what)
{
    json_array_append_new(json_object_get(t->device, "left_out"), tn_json_text(what));
}

/* The figure that it was at, what of its stage comes behind that, and the stages that follow. */
static void leave_rest(const apart *a)
{
    char name[64], rest[96];
    const tn_bench_task *t = a->t;
    const int n = tn_bench_stages(t->parts, t->sizes);
    if (a->at) add_left(t, tn_json_str(a->at, "name", ""));
    for (int i = a->first; i < n; i++) {
        tn_bench_stage_name(name, t->parts, t->sizes, i);
        snprintf(rest, sizeof rest, "%s%s", i == a->first ? "the rest of " : "", name);
        add_left(t, rest);
    }
}

/* The figure that it was at; without one the rest of the stage. */
static int blame(apart *a, const char *why, tn_error *err)
{
    char stage[64], id[80], name[96];
    const tn_bench_task *t = a->t;
    tn_bench b = {.list = json_object_get(t->device, "measurements")};
    tn_bench_stage_name(stage, t->parts, t->sizes, a->first);
    snprintf(id, sizeof id, "part.%s", stage);
    snprintf(name, sizeof name, "the rest of %s", stage);
    const tn_bench_job rest = {.id = id, .group = stage, .name = name, .unit = "s"};
    const tn_bench_job j = {.id = tn_json_str(a->at, "id", ""),
                            .group = tn_json_str(a->at, "group", ""),
                            .name = tn_json_str(a->at, "name", ""),
                            .unit = tn_json_str(a->at, "unit", "s")};
    if (a->at) return tn_bench_fail(&b, &j, tn_json_bool(a->at, "may_refuse", 0) ? "refused" : "failed", why, err);
    a->first++;
    return tn_bench_fail(&b, &rest, "failed", why, err);
}

static const char *how_it_ended(char *why, size_t n, const apart *a)
{
    const int s = WIFSIGNALED(a->status) ? WTERMSIG(a->status) : 0;
    if (a->end) snprintf(why, n, "%s", json_string_value(json_array_get(a->end, 1)));
    else if (s) snprintf(why, n, "the process that tried it was ended by signal %d (%s)", s, strsignal(s));
    else snprintf(why, n, "the process that tried it ended with status %d and no answer", WEXITSTATUS(a->status));
    return why;
}

/* *again: with what is left. */
static int judge(apart *a, bool *again, tn_error *err)
{
    char why[300];
    const int rc = a->end ? (int)json_integer_value(json_array_get(a->end, 0)) : 0;
    const bool lost = rc == TN_ERR_DEVICE && a->at; /* a device that fails for good amid a figure: another process begins anew */
    const int s = !a->end && WIFSIGNALED(a->status) ? WTERMSIG(a->status) : 0;
    *again = false;
    if (a->late) {
        leave_rest(a);
        return 0;
    }
    if (a->end && !lost) return rc ? tn_fail(err, rc, "%s", how_it_ended(why, sizeof why, a)) : 0;
    if (s == SIGINT || s == SIGTERM || s == SIGHUP) return tn_cancelled(TN_PHASE_MEASURING, err);
    *again = true;
    return blame(a, how_it_ended(why, sizeof why, a), err);
}

int tn_bench_measure_apart(const tn_bench_task *t, tn_error *err)
{
    apart a = {.t = t, .first = t->first, .phase = TN_PHASE_OPENING};
    const int stages = tn_bench_stages(t->parts, t->sizes);
    bool again = true;
    int rc = 0;
    for (int i = 0; !rc && again && i < MOST_DEATHS && a.first < stages; i++) {
        rc = run_one(&a, err);
        if (!rc) rc = judge(&a, &again, err);
    }
    json_decref(a.at);
    json_decref(a.end);
    tn_text_free(&a.line);
    return rc;
}
