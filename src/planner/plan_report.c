/* What is told of a plan: a table, JSON, a picture. */
#include "jsonio.h"
#include "plan_report.h"
#include "svg.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIKE = 4, NAME = 34 }; /* LIKE: so many replicas that are alike are said apart */

static double mib(double bytes)
{
    return bytes / 1048576;
}

static double flops_of(const tn_run_plan *p, int first, int last)
{
    double sum = 0;
    for (int i = first; i <= last; i++)
        for (int k = 0; k < TN_WORKS; k++)
            sum += p->layers.work[i][TN_FORWARD].flops[k].image + p->layers.work[i][TN_BACKWARD].flops[k].image;
    return sum;
}

/* A stage's part of the arithmetic of a step. */
static double share_of(const tn_run_plan *p, const tn_planner_replica *r, const tn_planner_stage *s)
{
    return flops_of(p, s->first, s->last) / flops_of(p, 0, p->layers.n - 1) * r->images / p->problem.batch;
}

static double idle_of(const tn_run_plan *p, int replica, int stage)
{
    return 1 - tn_timeline_busy(&p->timeline, replica, stage) / p->timeline.seconds;
}

/* "layer.3" or "layer.3-layer.8" */
static const char *run_of(char buf[72], const tn_run_plan *p, const tn_planner_stage *s)
{
    if (s->first == s->last) snprintf(buf, 72, "%s", p->layers.name[s->first]);
    else snprintf(buf, 72, "%s-%s", p->layers.name[s->first], p->layers.name[s->last]);
    return buf;
}

/* ---- table ---- */

static bool same_stage(const tn_run_plan *p, const tn_planner_stage *a, const tn_planner_stage *b)
{
    return p->device[a->device].time == p->device[b->device].time && a->first == b->first && a->last == b->last &&
           a->again == b->again;
}

static bool same_replica(const tn_run_plan *p, const tn_planner_replica *a, const tn_planner_replica *b)
{
    bool same = a->images == b->images && a->micro == b->micro && a->n_stages == b->n_stages;
    for (int i = 0; same && i < a->n_stages; i++) same = same_stage(p, &a->stage[i], &b->stage[i]);
    return same;
}

static void add_stage(tn_text *out, const tn_run_plan *p, int replica, int stage)
{
    const tn_planner_replica *r = &p->result.replica[replica];
    const tn_planner_stage *s = &r->stage[stage];
    const tn_planner_device *d = &p->device[s->device];
    char run[72], name[160];
    snprintf(name, sizeof name, "%d %.*s", d->id, NAME - 4, d->name);
    tn_text_addf(out, "%-*s  %-22s  %6d  %5d  %7.1f  %9.1f  %11.1f  %7.1f  %9.1f  %8.2f  %5.1f%%  %4.0f%%", NAME, name,
                 run_of(run, p, s), r->images, r->micro, mib(s->weights), mib(s->state), mib(s->activations),
                 mib(s->weights + s->state + s->activations), mib(d->memory), 1e3 * tn_timeline_busy(&p->timeline, replica, stage),
                 100 * share_of(p, r, s), 100 * fmax(idle_of(p, replica, stage), 0));
    if (s->kept != TN_KEEPS_ALL && s->again) tn_text_addf(out, "  makes the activations of %d blocks again", s->again);
    tn_text_addf(out, "\n");
}

/* Replicas from `at` on that are alike, as one where there are many. Returns how many. */
static int add_alike(tn_text *out, const tn_run_plan *p, int at)
{
    const tn_planner_result *v = &p->result;
    int n = 1;
    while (at + n < v->n_replicas && same_replica(p, &v->replica[at], &v->replica[at + n])) n++;
    const int said = n > LIKE ? 1 : n;
    for (int i = 0; i < said; i++)
        for (int k = 0; k < v->replica[at + i].n_stages; k++) add_stage(out, p, at + i, k);
    if (said < n) tn_text_addf(out, "  and %d replicas more, which are alike\n", n - said);
    return n;
}

/* Those for the same reason stand together. */
static void add_left(tn_text *out, const tn_run_plan *p)
{
    const tn_planner_result *v = &p->result;
    for (int i = 0, n; i < v->n_left; i += n) {
        const tn_planner_device *d = &p->device[v->left[i].device];
        for (n = 1; i + n < v->n_left && !strcmp(v->left[i].why, v->left[i + n].why); n++) continue;
        if (n == 1) tn_text_addf(out, "device %d '%s' is left out: %s\n", d->id, d->name, v->left[i].why);
        else tn_text_addf(out, "%d devices as %d '%s' are left out: %s\n", n, d->id, d->name, v->left[i].why);
    }
    if (p->left && p->left[0]) tn_text_addf(out, "%s\n", p->left);
}

static int used(const tn_planner_result *v)
{
    int n = 0;
    for (int i = 0; i < v->n_replicas; i++) n += v->replica[i].n_stages;
    return n;
}

/* Seconds of the best device that could run alone; and *all: of all that the plan uses, were nothing lost by dividing. */
static double best_alone(const tn_run_plan *p, double *all)
{
    const tn_planner_result *v = &p->result;
    double best = INFINITY, rate = 0;
    for (int i = 0; i < p->problem.n_devices; i++) best = fmin(best, p->alone[i]);
    for (int i = 0; i < v->n_replicas; i++)
        for (int k = 0; k < v->replica[i].n_stages; k++) rate += 1 / p->alone[v->replica[i].stage[k].device];
    *all = 1 / rate;
    return best;
}

static void add_summary(tn_text *out, const tn_run_plan *p)
{
    const tn_planner_result *v = &p->result;
    const double seconds = p->timeline.seconds, rate = p->problem.batch / seconds;
    const int n = used(v);
    double all;
    const double best = best_alone(p, &all);
    tn_text_addf(out, "step        %.2f ms predicted, %.1f img/s with a batch of %d in %s", 1e3 * seconds, rate, p->problem.batch,
                 tn_dtype_name(p->e->act));
    if (v->exchange > 0) tn_text_addf(out, "; the sum of gradients %.2f ms of it", 1e3 * v->exchange);
    tn_text_addf(out, "\n");
    if (n > 1 && isfinite(best))
        tn_text_addf(out, "gain        %.2f times the best device alone (%.2f ms); %.0f %% of what the %d could do apart\n",
                     best / seconds, 1e3 * best, 100 * all / seconds, n);
    else if (n > 1) tn_text_addf(out, "gain        no device holds the model alone\n");
    tn_text_addf(out, "planned     in %.1f ms, for %d device%s\n", 1e3 * p->planning_seconds, p->problem.n_devices,
                 p->problem.n_devices == 1 ? "" : "s");
}

static void add_split(tn_text *out, const tn_run_plan *p)
{
    char *stages = NULL;
    tn_error unread;
    if (tn_run_plan_stages(&stages, p, &unread)) out->oom = true;
    else tn_text_addf(out, "%s", stages);
    free(stages);
}

/* Set beside what was predicted. */
static void add_measured(tn_text *out, const tn_run_plan *p, const tn_measured *m)
{
    const double predicted = p->timeline.seconds;
    int at = 0;
    tn_text_addf(out, "measured    %.2f ms, %.1f img/s; predicted %+.0f %% of it\n", 1e3 * m->seconds,
                 p->problem.batch / m->seconds, 100 * (predicted / m->seconds - 1));
    for (int i = 0; i < p->result.n_replicas; i++)
        for (int k = 0; k < p->result.replica[i].n_stages && at < m->n; k++, at++)
            tn_text_addf(out, "memory      device %d: %.1f MiB in use at most, planned %.1f (%+.1f %%)\n",
                         p->device[p->result.replica[i].stage[k].device].id, mib(m->allocated[at]), mib(m->planned[at]),
                         100 * (m->planned[at] / m->allocated[at] - 1));
}

char *tn_run_plan_table(const tn_run_plan *p, const tn_measured *m)
{
    tn_text out = {0};
    tn_text_addf(&out, "%-*s  %-22s  %6s  %5s  %7s  %9s  %11s  %7s  %9s  %8s  %6s  %5s\n", NAME, "device", "layers", "images",
                 "micro", "weights", "optimiser", "activations", "MiB", "of MiB", "busy ms", "share", "idle");
    for (int i = 0; i < p->result.n_replicas;) i += add_alike(&out, p, i);
    add_left(&out, p);
    add_summary(&out, p);
    if (m) add_measured(&out, p, m);
    if (!p->machine.n && used(&p->result) > 1) {
        tn_text_addf(&out, "by hand     --stages \"");
        add_split(&out, p);
        tn_text_addf(&out, "\"\n");
    }
    if (!out.oom) return out.s;
    tn_text_free(&out);
    return NULL;
}

/* ---- JSON ---- */

static json_t *stage_json(const tn_run_plan *p, int replica, int stage)
{
    const tn_planner_replica *r = &p->result.replica[replica];
    const tn_planner_stage *s = &r->stage[stage];
    const tn_planner_device *d = &p->device[s->device];
    json_t *j = json_pack("{s:i, s:o, s:s, s:s, s:i, s:f, s:f, s:f, s:f}", "device", d->id, "name", tn_json_text(d->name), "first",
                          p->layers.name[s->first], "last", p->layers.name[s->last], "again", s->again, "weights", s->weights,
                          "optimizer", s->state, "activations", s->activations, "memory", d->memory);
    json_t *t = json_pack("{s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:b}", "forward_seconds", s->forward, "backward_seconds",
                          s->backward, "link_seconds", s->link, "network_seconds", s->network, "busy_seconds",
                          tn_timeline_busy(&p->timeline, replica, stage), "share", share_of(p, r, s), "idle",
                          fmax(idle_of(p, replica, stage), 0), "keeps_all", s->kept == TN_KEEPS_ALL);
    if (j && t) json_object_update(j, t);
    json_decref(t);
    return j;
}

static json_t *replica_json(const tn_run_plan *p, int i)
{
    const tn_planner_replica *r = &p->result.replica[i];
    json_t *stages = json_array();
    for (int k = 0; k < r->n_stages; k++) json_array_append_new(stages, stage_json(p, i, k));
    return json_pack("{s:i, s:i, s:f, s:o}", "images", r->images, "micro_batch", r->micro, "seconds", r->seconds, "stages", stages);
}

static json_t *left_json(const tn_run_plan *p)
{
    json_t *left = json_array();
    for (int i = 0; i < p->result.n_left; i++) {
        const tn_planner_device *d = &p->device[p->result.left[i].device];
        json_array_append_new(
            left, json_pack("{s:i, s:o, s:s}", "device", d->id, "name", tn_json_text(d->name), "why", p->result.left[i].why));
    }
    return left;
}

static json_t *layer_json(const tn_run_plan *p, int i)
{
    const tn_planner_layer *l = &p->layers.layer[i];
    return json_pack("{s:s, s:f, s:f, s:o, s:o, s:o, s:f}", "name", p->layers.name[i], "weights", l->weights, "parameters",
                     l->parameters, "kept", tn_line_json(l->kept), "kept_again", tn_line_json(l->kept_again), "transient",
                     tn_line_json(l->transient), "out", l->out);
}

/* Of a kind of devices; times: each layer's passes, seconds. */
static json_t *device_json(const tn_run_plan *p, int i)
{
    const tn_planner_device *d = &p->device[i];
    json_t *times = json_array();
    for (int k = 0; k < p->layers.n; k++)
        json_array_append_new(times, json_pack("[o, o, o]", tn_line_json(d->time[k].forward), tn_line_json(d->time[k].backward),
                                               tn_line_json(d->time[k].again)));
    return json_pack("{s:i, s:o, s:i, s:f, s:f, s:f, s:o, s:o}", "device", d->id, "name", tn_json_text(d->name), "host", d->host,
                     "memory", d->memory, "link_bandwidth", d->bandwidth, "link_latency", d->latency, "update",
                     tn_line_json(d->update), "times", times);
}

static json_t *span_json(const tn_span *s)
{
    static const char *const kinds[] = {[TN_SPAN_FORWARD] = "forward",
                                        [TN_SPAN_BACKWARD] = "backward",
                                        [TN_SPAN_LINK] = "transfer",
                                        [TN_SPAN_EXCHANGE] = "exchange",
                                        [TN_SPAN_UPDATE] = "update"};
    return json_pack("{s:i, s:i, s:i, s:s, s:f, s:f}", "replica", s->replica, "stage", s->stage, "micro_batch", s->micro, "what",
                     kinds[s->kind], "begin", s->begin, "end", s->end);
}

static json_t *measured_json(const tn_measured *m)
{
    json_t *spans = json_array(), *memory = json_array();
    for (int i = 0; m && i < m->timeline.n; i++) json_array_append_new(spans, span_json(&m->timeline.span[i]));
    for (int i = 0; m && i < m->n; i++)
        json_array_append_new(memory, json_pack("{s:f, s:f}", "planned", m->planned[i], "allocated", m->allocated[i]));
    json_t *j = json_pack("{s:o, s:o, s:o}", "seconds", tn_json_real(m ? m->seconds : NAN), "memory", memory, "spans", spans);
    if (m) return j;
    json_decref(j);
    return json_null();
}

char *tn_run_plan_json(const tn_run_plan *p, const tn_measured *m)
{
    json_t *replicas = json_array(), *layers = json_array(), *devices = json_array();
    tn_text split = {0};
    double all;
    const double best = best_alone(p, &all);
    add_split(&split, p);
    for (int i = 0; i < p->result.n_replicas; i++) json_array_append_new(replicas, replica_json(p, i));
    for (int i = 0; i < p->layers.n; i++) json_array_append_new(layers, layer_json(p, i));
    for (int i = 0; i < p->problem.n_devices; i++) { /* a described kind once */
        bool seen = false;
        for (int k = 0; k < i && p->machine.n; k++) seen |= p->device[k].time == p->device[i].time;
        if (!seen) json_array_append_new(devices, device_json(p, i));
    }
    json_t *j =
        json_pack("{s:f, s:f, s:f, s:f, s:f, s:i, s:i, s:s, s:o, s:o, s:s, s:o, s:o, s:o, s:o}", "step_seconds",
                  p->timeline.seconds, "model_seconds", p->result.seconds, "exchange_seconds", p->result.exchange,
                  "images_per_second", p->problem.batch / p->timeline.seconds, "planning_seconds", p->planning_seconds, "batch",
                  p->problem.batch, "n_devices", p->problem.n_devices, "storage", tn_dtype_name(p->e->act), "alone_seconds",
                  tn_json_real(best), "efficiency", tn_json_real(isfinite(best) ? all / p->timeline.seconds : NAN), "split",
                  split.s ? split.s : "", "replicas", replicas, "left", left_json(p), "layers", layers, "devices", devices);
    if (j) json_object_set_new(j, "measured", measured_json(m));
    char *text = j ? json_dumps(j, JSON_INDENT(2) | JSON_SORT_KEYS | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(j);
    tn_text_free(&split);
    return text;
}

/* ---- picture ---- */

char *tn_run_plan_svg(const tn_run_plan *p, const tn_measured *m)
{
    const int n = used(&p->result);
    tn_svg_row *row = calloc((size_t)n + 1, sizeof *row);
    char(*label)[256] = calloc((size_t)n + 1, sizeof *label), title[160], run[72];
    tn_text out = {0};
    int at = 0;
    for (int i = 0; row && label && i < p->result.n_replicas; i++)
        for (int k = 0; k < p->result.replica[i].n_stages; k++, at++) {
            const tn_planner_stage *s = &p->result.replica[i].stage[k];
            const tn_planner_device *d = &p->device[s->device];
            snprintf(label[at], sizeof label[at], "%d %.20s  %s", d->id, d->name, run_of(run, p, s));
            row[at] = (tn_svg_row){i, k, label[at]};
        }
    const int begun = snprintf(title, sizeof title, "a step of %d images: %.2f ms predicted, %.1f img/s", p->problem.batch,
                               1e3 * p->timeline.seconds, p->problem.batch / p->timeline.seconds);
    if (m) snprintf(title + begun, sizeof title - (size_t)begun, "; %.2f ms measured", 1e3 * m->seconds);
    if (row && label) tn_timeline_svg(&out, title, row, n, &p->timeline, m ? &m->timeline : NULL);
    free(row);
    free(label);
    if (!out.oom) return out.s;
    tn_text_free(&out);
    return NULL;
}
