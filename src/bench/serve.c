/* A device measured by processes: such a process. */
#include "entry.h"
#include "helper.h"
#include "measure.h"
#include "text.h"
#include "verdict.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const lists[] = {"measurements", "notes", "left_out", "steps"}, *const keys[] = {"prepared", "energy"};

typedef struct {
    FILE *to;
    json_t *device;
    size_t said[TN_COUNT(lists)]; /* entries of each list */
} answers;

/* Steals m. */
static void say(const answers *a, json_t *m)
{
    if (m) json_dumpf(m, a->to, JSON_COMPACT | JSON_REAL_PRECISION(9));
    json_decref(m);
    fputc('\n', a->to);
    fflush(a->to);
}

/* What the lists have that was not said: their entries are whole when the next figure begins. */
static void say_new(answers *a)
{
    for (size_t i = 0; i < TN_COUNT(lists); i++) {
        const json_t *list = json_object_get(a->device, lists[i]);
        for (; a->said[i] < json_array_size(list); a->said[i]++)
            say(a, json_pack("{s:[s, O]}", "put", lists[i], json_array_get(list, a->said[i])));
    }
    for (size_t i = 0; i < TN_COUNT(keys); i++) {
        json_t *v = json_object_get(a->device, keys[i]);
        if (v) say(a, json_pack("{s:[s, O]}", "set", keys[i], v));
    }
}

static int figure_begins(void *user, const tn_bench_job *j, tn_error *err)
{
    answers *a = user;
    (void)err;
    say_new(a);
    say(a, j ? json_pack("{s:{s:s, s:s, s:s, s:s, s:b}}", "begins", "id", j->id, "group", j->group, "name", j->name, "unit",
                         j->unit, "may_refuse", j->may_refuse)
             : json_pack("{s:n}", "begins"));
    return 0;
}

static int stage_done(void *user, int stage, tn_error *err)
{
    answers *a = user;
    (void)err;
    say_new(a);
    say(a, json_pack("{s:i}", "stage", stage));
    return 0;
}

static int progressed(void *user, const tn_progress *p)
{
    say(user,
        json_pack("{s:[i, o, I, I]}", "tell", (int)p->phase, tn_json_text(p->item), (json_int_t)p->done, (json_int_t)p->total));
    return 0;
}

static void logged(void *user, tn_log_level level, const char *line)
{
    say(user, json_pack("{s:[i, o]}", "log", (int)level, tn_json_text(line)));
}

/* All that there is; the caller's to free(). */
static char *read_request(int in, size_t *n)
{
    tn_text t = {0};
    char buf[8192];
    for (ssize_t k; (k = read(in, buf, sizeof buf)) > 0;) tn_text_add(&t, buf, (size_t)k);
    *n = t.len;
    return t.s;
}

static int check_request(const json_t *q, tn_error *err)
{
    char stamp[64];
    tn_check_stamp(stamp, sizeof stamp);
    const long long effort = tn_json_int(q, "effort", -1);
    const bool ours = !strcmp(tn_json_str(q, "stamp", ""), stamp) && effort >= 0 && effort < TN_BENCH_EFFORTS &&
                      json_is_object(json_object_get(q, "device"));
    return ours ? 0 : tn_fail(err, TN_ERR_ARGUMENT, "measure is for tracknet itself: its input asks for no device");
}

static int check_device(const json_t *q, tn_error *err)
{
    tn_device_info **v;
    int n;
    TN_TRY(tn_device_list(&v, &n, err));
    const long long i = tn_json_int(q, "index", -1);
    const bool same = i >= 0 && i < n && !strcmp(v[i]->name, tn_json_str(q, "name", ""));
    tn_device_list_free(v);
    return same ? 0 : tn_fail(err, TN_ERR_DEVICE, "the list of devices has changed");
}

static int serve(answers *a, const json_t *q, tn_error *err)
{
    const tn_log log = {logged, a};
    tn_run_options o = TN_RUN_OPTIONS_INIT;
    o.memory_limit = (size_t)tn_json_int(q, "memory_limit", 0);
    o.variants = tn_json_str(q, "variants", NULL);
    o.cache = tn_json_str(q, "cache", NULL);
    o.helper = tn_json_str(q, "helper", NULL);
    o.log = &log;
    o.progress = progressed;
    o.user = a;
    const tn_bench_task t = {.o = &o,
                             .effort = (tn_bench_effort)tn_json_int(q, "effort", 0),
                             .parts = tn_json_str(q, "parts", ""),
                             .sizes = tn_json_str(q, "sizes", ""),
                             .config_dir = tn_json_str(q, "config_dir", NULL),
                             .index = (int)tn_json_int(q, "index", 0),
                             .device = a->device,
                             .begin = tn_json_num(q, "begin", 0),
                             .seconds = tn_json_num(q, "seconds", 0),
                             .allowance = tn_json_num(q, "allowance", 0),
                             .first = (int)tn_json_int(q, "first", 0),
                             .done = (int)tn_json_int(q, "done", 0),
                             .total = (int)tn_json_int(q, "total", 0),
                             .begins = figure_begins,
                             .stage_done = stage_done,
                             .user = a};
    TN_TRY(check_device(q, err));
    return tn_bench_measure_device(&t, err);
}

int tn_bench_serve(int in, int out, tn_error *err)
{
    size_t n;
    json_t *q = NULL;
    TN_ENTRY(err);
    char *text = read_request(in, &n);
    int rc = tn_json_parse(&q, text ? text : "", n, "the request", err);
    free(text);
    if (!rc) rc = check_request(q, err);
    answers a = {.to = rc ? NULL : fdopen(tn_helper_answers_to(out), "w"), .device = json_object_get(q, "device")};
    if (!rc && !a.to) rc = tn_fail(err, TN_ERR_IO, "nobody waits for the answer");
    for (size_t i = 0; i < TN_COUNT(lists); i++) a.said[i] = json_array_size(json_object_get(a.device, lists[i]));
    if (!rc) {
        tn_error why = {0};
        const int ended = serve(&a, q, &why);
        say_new(&a);
        say(&a, json_pack("{s:[i, o]}", "end", ended, tn_json_text(why.message)));
        fclose(a.to);
    }
    json_decref(q);
    return rc;
}
