#include "session.h"
#include "ahead.h"
#include "qualify.h"
#include "stream.h"
#include "tuning.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int tn_session_new(tn_session **out, tn_dev *d, const tn_model *m, tn_store *store, tn_error *err)
{
    tn_session *s = *out = calloc(1, sizeof *s);
    if (!s) return tn_oom(err);
    s->dev = d;
    s->m = m;
    s->store = store;
    s->generation = 1;
    tn_ctx_init(&s->ctx, d);
    s->ctx.grads = &s->grads;
    return 0;
}

static void arena_free(tn_arena *a)
{
    for (int i = 0; a && i < TN_MAX_CHUNKS; i++) tn_buffer_free(a->chunk[i]);
    free(a);
}

void tn_session_free(tn_session *s)
{
    if (!s) return;
    for (int i = s->n_execs - 1; i >= 0; i--) tn_exec_free(s, s->execs[i]);
    free(s->execs);
    for (int f = 0; f < TN_MAX_FLIGHTS; f++) arena_free(s->arena[f]);
    tn_ctx_free(&s->ctx);
    tn_store_free(s->store);
    free(s);
}

/* Walks the nodes without launching. */
static int walk_dry(tn_session *s, tn_exec *e, tn_error *err)
{
    for (int i = 0; i < e->g.n_n; i++) {
        tn_ws_reset(&s->ctx);
        TN_TRY(tn_node_run(s, e, &e->g.n[i], err));
    }
    return 0;
}

static int walk_optimiser(tn_session *s, tn_error *err)
{
    static const tn_adam_spec any = {0.9f, 0.999f, 1e-8f};
    tn_optim_range ranges[TN_STORE_RANGES];
    TN_TRY(tn_clip(&s->ctx, s->store->grads, 0, s->store->n_params, &any, err));
    for (int g = 0; g < TN_GROUPS; g++)
        for (int i = tn_store_ranges(s->store, g, 1, ranges) - 1; i >= 0; i--) TN_TRY(tn_adamw(&s->ctx, &ranges[i], &any, err));
    return 0;
}

/* What the pass launches as far as it can be told, and the optimiser after it; what of the pass nobody has built yet is built. */
static int needs_of(tn_needs *needs, tn_session *s, tn_exec *e, tn_error *err)
{
    TN_TRY(tn_ahead_new(&s->ctx.ahead, s->dev, err));
    s->ctx.needs = needs;
    s->ctx.plan_only = true;
    int rc = walk_dry(s, e, err);
    if (!rc && e->pass.training) rc = walk_optimiser(s, err);
    const size_t most = TN_MAX(e->plan.total, TN_MAX(s->dev->allocated, s->ctx.ws_peak));
    if (!rc && s->ctx.ahead) rc = tn_ahead_build(s->ctx.ahead, most, err);
    tn_ahead_free(s->ctx.ahead);
    s->ctx.ahead = NULL;
    s->ctx.needs = NULL;
    s->ctx.plan_only = false;
    return rc;
}

/* The device computes right what the pass runs; where it takes smaller groups than it says, groups become smaller. */
static int qualify(tn_session *s, tn_exec *e, tn_error *err)
{
    tn_dev *d = s->dev;
    int rc = 0;
    for (bool again = true; again;) {
        tn_needs needs = {0};
        d->narrow = 0;
        rc = needs_of(&needs, s, e, err);
        if (!rc) rc = tn_qualify(d, &needs, e->pass.act, err);
        tn_needs_free(&needs);
        again = rc && d->narrow && d->narrow < d->info.max_work_group && !d->lost;
        if (again) rc = tn_qualify_narrow(d, err);
        again = again && !rc;
    }
    return rc;
}

/* The largest workspace. Which variants run decides it, so the shapes are measured first where nobody has yet; a store
 * without buffers is only planned with, and its shapes may never run. */
static int count_workspace(tn_exec *e, tn_dev *d, const tn_model *m, tn_store *store, tn_error *err)
{
    tn_session s = {.dev = d, .m = m, .store = store, .loss = {.logits = e->pass.logits}};
    tn_wanted wanted = {0};
    const bool plan_only = store->dry && !store->to_run;
    tn_ctx_init(&s.ctx, d);
    s.ctx.grads = &s.grads;
    s.ctx.dry = true;
    s.ctx.plan_only = plan_only;
    int rc = tn_qualify_narrow(d, err);
    if (!rc && !plan_only) rc = qualify(&s, e, err);
    s.ctx.wanted = plan_only ? NULL : &wanted;
    if (!rc && !plan_only) rc = walk_dry(&s, e, err);
    if (!rc) rc = tn_tune(&wanted, d, err);
    tn_wanted_free(&wanted);
    s.ctx.wanted = NULL;
    s.ctx.ws_peak = 0;
    if (!rc) rc = walk_dry(&s, e, err);
    e->workspace = TN_MAX(s.ctx.ws_peak, (size_t)TN_PARTIALS * 4 + d->align);
    return rc;
}

int tn_exec_of_graph(tn_exec **out, tn_dev *d, const tn_model *m, tn_store *store, const tn_pass *pass, tn_graph *g, tn_error *err)
{
    tn_exec *e = calloc(1, sizeof *e);
    if (!e) {
        tn_graph_free(g);
        return tn_oom(err);
    }
    e->pass = *pass;
    e->g = *g;
    int rc = tn_plan_make(&e->plan, &e->g, d->align, d->info.largest_allocation, err);
    if (!rc && !(e->mem = calloc((size_t)e->g.n_t + 1, sizeof *e->mem))) rc = tn_oom(err);
    if (!rc) rc = tn_stream_pass_new(&e->streamed, store, &e->g, err);
    if (!rc) rc = count_workspace(e, d, m, store, err);
    if (rc) {
        tn_exec_free(NULL, e);
        e = NULL;
    }
    *out = e;
    return rc;
}

/* Have depthwise convolutions there rows that enlarge what they read? */
static bool enlarges(const tn_dev *d)
{
    return d->info.type != TN_DEVICE_CPU || d->caps & TN_CAP_VECTORS;
}

/* Freed when this fails. */
static int whole_graph(tn_graph *g, const tn_dev *d, const tn_model *m, const tn_pass *pass, const int *stage_of, tn_error *err)
{
    int rc = tn_model_graph(g, m, pass, err);
    g->stage_of = stage_of;
    if (!rc && !pass->unfused) rc = tn_graph_fuse(g, err);
    if (!rc && !pass->unfused && enlarges(d)) rc = tn_graph_fuse_doubling(g, err);
    if (!rc && !pass->unfused && d->info.type != TN_DEVICE_CPU) rc = tn_graph_fuse_norm_back(g, err);
    if (!rc && pass->norms) rc = tn_model_take_norms(m, g, err);
    const bool warps = (d->caps & TN_CAP_NV_MMA80) && pass->act != TN_F32;
    if (!rc && !pass->unfused && warps) rc = tn_graph_gather(g, err);
    if (!rc && !pass->unfused && warps) rc = tn_graph_draw_bits(g, err);
    if (!rc) rc = tn_graph_merge(g, true, err);
    if (!rc && !pass->unfused) rc = tn_graph_fuse_merged(g, err);
    if (!rc && !pass->unfused && warps && d->caps & TN_CAP_NV_WGMMA) rc = tn_graph_fuse_both(g, err);
    if (rc) tn_graph_free(g);
    return rc;
}

static int graph_of(tn_graph *g, const tn_dev *d, const tn_model *m, const tn_pass *pass, const tn_cut *cut, tn_error *err)
{
    tn_graph whole;
    if (!cut || !cut->n_layers) return whole_graph(g, d, m, pass, NULL, err);
    TN_TRY(whole_graph(&whole, d, m, pass, cut->stage_of, err));
    const int rc = tn_graph_cut(g, &whole, cut, err);
    tn_graph_free(&whole);
    return rc;
}

int tn_pass_bytes(size_t *bytes, const tn_dev *d, const tn_model *m, const tn_pass *pass, const tn_cut *cut, tn_error *err)
{
    tn_graph g;
    tn_plan p;
    TN_TRY(graph_of(&g, d, m, pass, cut, err));
    const int rc = tn_plan_make(&p, &g, d->align, d->info.largest_allocation, err);
    tn_graph_free(&g);
    if (rc) return rc;
    *bytes = p.total;
    tn_plan_free(&p);
    return 0;
}

int tn_exec_new(tn_exec **out, tn_dev *d, const tn_model *m, tn_store *store, const tn_pass *pass, const tn_cut *cut, tn_error *err)
{
    tn_graph g;
    *out = NULL;
    TN_TRY(graph_of(&g, d, m, pass, cut, err));
    return tn_exec_of_graph(out, d, m, store, pass, &g, err);
}

static void forget_tape(tn_exec *e)
{
    tn_tape_free(e->tape);
    e->tape = NULL;
}

static void unbind(tn_exec *e)
{
    forget_tape(e); /* before the buffers in its arguments */
    for (int i = e->g.n_t - 1; e->mem && i >= 0; i--) {
        if (e->g.t[i].storage == i) tn_buffer_free(e->mem[i]);
    }
    if (e->mem) memset(e->mem, 0, sizeof *e->mem * (size_t)e->g.n_t);
    e->bound_to = 0;
}

void tn_exec_free(tn_session *s, tn_exec *e)
{
    if (!e) return;
    if (s) unbind(e);
    tn_stream_pass_free(e->streamed);
    free(e->mem);
    tn_plan_free(&e->plan);
    tn_graph_free(&e->g);
    free(e);
}

/* Grows the arena's chunks to what the plan needs. Growing releases every binding first: sub-buffers keep a parent
 * alive, and the old arena must be gone before the new one is asked for. */
static int reserve(tn_session *s, tn_arena *a, const tn_plan *p, tn_error *err)
{
    bool grow = false;
    for (int i = 0; i < p->n_chunks; i++) grow |= p->chunk_bytes[i] > a->chunk_bytes[i];
    if (!grow) return 0;
    for (int i = s->n_execs - 1; i >= 0; i--) unbind(s->execs[i]);
    s->generation++;
    for (int i = 0; i < p->n_chunks; i++) {
        if (p->chunk_bytes[i] <= a->chunk_bytes[i]) continue;
        tn_buffer_free(a->chunk[i]);
        a->chunk[i] = NULL;
        a->chunk_bytes[i] = 0;
        TN_TRY(tn_buffer_new(&a->chunk[i], s->dev, p->chunk_bytes[i], "activations", err));
        a->chunk_bytes[i] = p->chunk_bytes[i];
    }
    return 0;
}

static int arena_of(tn_arena **out, tn_session *s, const tn_exec *e, tn_error *err)
{
    tn_arena **a = &s->arena[e->pass.flight];
    if (!*a && !(*a = calloc(1, sizeof **a))) return tn_oom(err);
    *out = *a;
    return 0;
}

static int bind(tn_session *s, tn_exec *e, const tn_arena *a, tn_error *err)
{
    for (int i = 0; i < e->g.n_t; i++) {
        const tn_gtensor *t = &e->g.t[i];
        const tn_planned *p = &e->plan.t[i];
        const size_t bytes = tn_gtensor_bytes(t);
        if (p->last < 0 || t->storage != i) continue;
        if (t->kind == TN_G_CONST) {
            TN_TRY(tn_buffer_new(&e->mem[i], s->dev, bytes, "constants", err));
            TN_TRY(tn_buffer_write(e->mem[i], 0, t->host, bytes, err));
        } else {
            TN_TRY(tn_buffer_sub(&e->mem[i], a->chunk[p->chunk], p->offset, p->bytes, err));
        }
    }
    for (int i = 0; i < e->g.n_t; i++) e->mem[i] = e->mem[e->g.t[i].storage];
    e->bound_to = s->generation;
    return 0;
}

static int give_memory(tn_session *s, tn_exec *e, tn_error *err)
{
    tn_arena *a = NULL;
    TN_TRY(arena_of(&a, s, e, err));
    TN_TRY(reserve(s, a, &e->plan, err));
    if (e->workspace > s->ctx.ws_size)
        for (int i = 0; i < s->n_execs; i++) forget_tape(s->execs[i]); /* regions of the workspace that is about to go */
    TN_TRY(tn_ctx_reserve(&s->ctx, e->workspace, err));
    if (e->bound_to == s->generation) return 0;
    unbind(e);
    return bind(s, e, a, err);
}

int tn_session_adopt(tn_session *s, tn_exec *e, tn_error *err)
{
    tn_exec **v = realloc(s->execs, sizeof *v * (size_t)(s->n_execs + 1));
    if (!v) {
        tn_exec_free(s, e);
        return tn_oom(err);
    }
    s->execs = v;
    s->execs[s->n_execs++] = e;
    return give_memory(s, e, err);
}

static bool same_pass(const tn_pass *a, const tn_pass *b)
{
    return a->batch == b->batch && a->act == b->act && a->groups == b->groups && a->training == b->training && a->loss == b->loss &&
           a->hidden == b->hidden && a->heat == b->heat && a->recompute == b->recompute && a->kept == b->kept &&
           a->merged == b->merged && a->norms == b->norms && a->unfused == b->unfused && a->frames == b->frames &&
           a->normalize == b->normalize && a->sigma == b->sigma && a->negative == b->negative && a->stretch == b->stretch &&
           a->flight == b->flight;
}

static tn_exec *find(const tn_session *s, const tn_pass *pass)
{
    for (int i = 0; i < s->n_execs; i++)
        if (same_pass(&s->execs[i]->pass, pass)) return s->execs[i];
    return NULL;
}

int tn_session_get(tn_exec **out, tn_session *s, const tn_pass *pass, tn_error *err)
{
    tn_exec *e = *out = find(s, pass);
    if (e) return give_memory(s, e, err);
    TN_TRY(tn_exec_new(&e, s->dev, s->m, s->store, pass, &s->cut, err));
    *out = e;
    return tn_session_adopt(s, e, err);
}

static tn_tensor tensor_of(const tn_exec *e, int t)
{
    const tn_gtensor *g = &e->g.t[t];
    return tn_view(e->mem[t], g->dtype, g->rows, g->cols);
}

int tn_session_upload(tn_session *s, tn_exec *e, int t, const void *values, tn_error *err)
{
    const tn_tensor v = tensor_of(e, t);
    return tn_buffer_write(v.mem, 0, values, tn_tensor_bytes(&v), err);
}

int tn_session_send(tn_session *s, tn_exec *e, int t, const void *values, tn_error *err)
{
    const tn_tensor v = tensor_of(e, t);
    const size_t bytes = tn_tensor_bytes(&v);
    return bytes ? tn_buffer_write_async(v.mem, TN_QUEUE_MAIN, 0, values, bytes, NULL, NULL, err) : 0;
}

int tn_session_download(tn_session *s, tn_exec *e, int t, float *values, tn_error *err)
{
    const tn_tensor v = tensor_of(e, t);
    return tn_tensor_get(s->dev, &v, values, err);
}

static int record_nodes(tn_session *s, tn_exec *e, tn_error *err)
{
    for (int i = 0; i < e->g.n_n; i++) {
        const tn_gnode *n = &e->g.n[i];
        if (i == e->g.n_forward) e->n_forward = tn_tape_count(e->tape);
        TN_TRY(tn_stream_record(e->streamed, e->tape, &e->g, i, err));
        const tn_cost cost = tn_node_cost(&e->g, n);
        const tn_note note = {
            .layer = e->g.layers[n->layer].name, .op = tn_opcode_name(n->op), .node = i, .flops = cost.flops, .bytes = cost.bytes};
        tn_tape_note(e->tape, &note);
        tn_ws_reset(&s->ctx);
        if (tn_node_run(s, e, n, err)) {
            char where[80];
            snprintf(where, sizeof where, "layer %s, %s", note.layer, note.op);
            return tn_fail_in(err, where);
        }
    }
    if (e->g.n_forward >= e->g.n_n) e->n_forward = tn_tape_count(e->tape);
    return tn_stream_record(e->streamed, e->tape, &e->g, e->g.n_n, err);
}

static int record(tn_session *s, tn_exec *e, tn_error *err)
{
    TN_TRY(tn_tape_new(&e->tape, s->dev, err));
    s->ctx.tape = e->tape;
    const int rc = record_nodes(s, e, err);
    s->ctx.tape = NULL;
    tn_ws_reset(&s->ctx);
    e->recorded_for = s->store->generation;
    e->recorded_loss = s->loss;
    if (rc) forget_tape(e);
    return rc;
}

static bool is_recorded(const tn_session *s, const tn_exec *e)
{
    return e->tape && e->recorded_for == s->store->generation && tn_loss_same(&e->recorded_loss, &s->loss);
}

int tn_session_record(tn_session *s, tn_exec *e, tn_error *err)
{
    if (is_recorded(s, e)) return 0;
    forget_tape(e);
    return record(s, e, err);
}

tn_exec *tn_session_ready(tn_session *s, const tn_pass *pass)
{
    tn_exec *e = find(s, pass);
    return e && e->bound_to == s->generation && is_recorded(s, e) ? e : NULL;
}

int tn_session_run(tn_session *s, tn_exec *e, tn_error *err)
{
    TN_TRY(tn_session_record(s, e, err));
    return tn_tape_play(e->tape, err);
}

int tn_session_run_half(tn_session *s, tn_exec *e, bool backward, tn_error *err)
{
    TN_TRY(tn_session_record(s, e, err));
    const int all = tn_tape_count(e->tape);
    return backward ? tn_tape_play_part(e->tape, e->n_forward, all, err) : tn_tape_play_part(e->tape, 0, e->n_forward, err);
}

double tn_loss_sum(const float *partials)
{
    double sum = 0;
    for (int i = 0; i < TN_PARTIALS; i++) sum += partials[i];
    return sum;
}

int tn_session_loss(tn_session *s, tn_exec *e, double *loss, tn_error *err)
{
    float part[TN_PARTIALS];
    TN_TRY(tn_session_download(s, e, e->g.loss, part, err));
    *loss = tn_loss_sum(part);
    return 0;
}
