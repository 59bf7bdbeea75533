/* The search for CLBlast's parameters on a device: who is asked, and what is kept. */
#include "clblast.h"
#include "clock.h"
#include "helper.h"
#include "jsonio.h"
#include "tuning_db.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHIPPED "clblast.txt"
#define NEAR    2.0 /* times the fastest row's time: what parameters may gain */

/* ---- one question ---- */

static tn_asked ask_helper(tn_clblast_answer *out, const tn_dev *d, const char *text, bool thorough, double seconds)
{
    tn_clblast_request q = {.index = d->index, .thorough = thorough};
    const tn_question ask = {d->helper, "try-clblast", {&q, NULL}, {sizeof q, 0}, seconds};
    int status = 0;
    tn_clblast_stamp(q.stamp, sizeof q.stamp);
    snprintf(q.cache_dir, sizeof q.cache_dir, "%s", d->cache_dir ? d->cache_dir : "off");
    snprintf(q.device, sizeof q.device, "%s", d->info.name);
    snprintf(q.text, sizeof q.text, "%s", text);
    const tn_asked told = tn_helper_ask(out, sizeof *out, &ask, &status);
    out->why[sizeof out->why - 1] = 0;
    if (told != TN_ASKED_TOLD)
        *out = (tn_clblast_answer){.good = false, .why = "the process that tried it crashed, or took too long"};
    return told;
}

/* A candidate; more can be asked unless no process starts, or somebody wants to end it. */
static bool ask_candidate(tn_clblast_answer *out, void *user, const char *text, double seconds)
{
    tn_dev *d = user;
    tn_error ignored;
    const tn_asked told = ask_helper(out, d, text, false, seconds);
    if (out->good)
        tn_logf(d->log, TN_LOG_DEBUG, "CLBlast with '%s': %.2f ms, the first product after %.2f s", text, 1e3 * out->seconds,
                out->first);
    else tn_logf(d->log, TN_LOG_DEBUG, "CLBlast with '%s': %s", text, out->why);
    return told != TN_ASKED_NOBODY && !tn_watch_tell(&d->watch, TN_PHASE_TUNING, "CLBlast", 0, 0, &ignored);
}

/* ---- the store ---- */

int tn_clblast_is_near(bool *near, tn_dev *d, tn_error *err)
{
    json_t *db, *answer, *row;
    const char *key, *name;
    *near = false;
    TN_TRY(tn_db(&db, d, err));
    json_object_foreach(tn_db_at(db, "choices", "gemm", NULL, NULL), key, answer)
    {
        double own = 0, least = 0;
        json_object_foreach(json_object_get(answer, "rows"), name, row)
        {
            const double s = tn_json_num(row, "seconds", 0);
            if (s > 0 && !strcmp(name, "clblast")) own = s;
            if (s > 0 && (least == 0 || s < least)) least = s;
        }
        *near |= own > 0 && own <= NEAR * least;
    }
    return 0;
}

/* Products were checked and measured with other parameters. */
static void forget_products(json_t *db)
{
    const char *kind;
    json_t *rows;
    json_object_foreach(tn_db_at(db, "checks", "gemm", NULL, NULL), kind, rows) json_object_del(rows, "clblast");
    json_object_del(tn_db_at(db, "choices", NULL, NULL, NULL), "gemm");
}

static int take(tn_dev *d, const tn_clblast_search *s, tn_error *err)
{
    json_t *db;
    const char *const at[4] = {"parameters", "clblast"};
    TN_TRY(tn_db(&db, d, err));
    TN_TRY(tn_clblast_apply(d, s->best, err));
    forget_products(db);
    TN_TRY(tn_db_put(
        db, at, json_pack("{s:s, s:f, s:f, s:i}", "text", s->best, "seconds", s->fastest, "own", s->own, "tried", s->tried), err));
    tn_db_replace(d);
    return 0;
}

/* The best once more, with the self-test's products, beside CLBlast's own: a machine has other work at times. */
static void confirm(tn_clblast_answer *out, tn_dev *d, tn_clblast_search *s)
{
    tn_clblast_answer own = {.good = false};
    const double seconds = d->trial_seconds + s->seconds;
    ask_helper(out, d, s->best, true, seconds);
    if (out->good) ask_helper(&own, d, "", false, seconds);
    if (out->good && !(own.good && out->seconds < own.seconds))
        *out = (tn_clblast_answer){.good = false, .why = "no faster when they were measured again"};
    s->own = own.seconds, s->fastest = out->seconds;
    if (!out->good)
        tn_logf(d->log, TN_LOG_WARN, "device '%s': CLBlast keeps its own parameters, others were %s", d->info.name, out->why);
}

int tn_clblast_tune(bool *changed, tn_dev *d, double seconds, tn_error *err)
{
    char first[TN_CLBLAST_TEXT];
    tn_clblast_answer checked = {.good = false};
    *changed = false;
    if (!d->helper) return 0;
    tn_clblast_row(first, tn_shipped(SHIPPED), &d->info);
    tn_clblast_search s = {.seconds = seconds,
                           .first = first,
                           .local_memory = d->info.local_memory,
                           .group = d->info.max_work_group,
                           .ask = ask_candidate,
                           .clock = tn_now,
                           .user = d};
    tn_logf(d->log, TN_LOG_INFO, "device '%s': searching parameters of CLBlast for %.0f s at most%s", d->info.name, seconds,
            first[0] ? ", known ones first" : "");
    TN_TRY(tn_clblast_search_run(&s, err));
    if (s.why[0]) tn_logf(d->log, TN_LOG_WARN, "device '%s': CLBlast is not searched: %s", d->info.name, s.why);
    if (!s.best[0]) return 0;
    confirm(&checked, d, &s);
    *changed = checked.good;
    return checked.good ? take(d, &s, err) : 0;
}
