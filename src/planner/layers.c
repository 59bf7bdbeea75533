#include "layers.h"
#include "lane.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One graph's figures of a layer at its number of images. */
typedef struct {
    double flops[2][TN_WORKS], bytes[2][TN_WORKS]; /* forward, backward */
    double kept, transient, out;
    int launches[2];
} figures;

static tn_work work_of(const tn_gnode *n)
{
    switch (n->op) {
    case TN_OP_LINEAR:
    case TN_OP_LINEAR_T:
    case TN_OP_LINEAR_DT:
    case TN_OP_LINEAR_DX:
    case TN_OP_LINEAR_GRAD:
    case TN_OP_LINEAR_T_GRAD:
    case TN_OP_LINEAR_T_DX:
    case TN_OP_ADAPT:
    case TN_OP_ADAPT_DT:
    case TN_OP_ADAPT_GRAD:
    case TN_OP_DORA_SCALE: return TN_WORK_PRODUCT;
    case TN_OP_CONV:
    case TN_OP_CONV_DX:
    case TN_OP_CONV_GRAD: return n->a.conv.groups > 1 ? TN_WORK_OTHER : TN_WORK_PRODUCT;
    case TN_OP_ATTENTION:
    case TN_OP_ATTENTION_BACK: return TN_WORK_ATTENTION;
    default: return TN_WORK_OTHER;
    }
}

int tn_layer_block(const char *name)
{
    int n;
    char end;
    return sscanf(name, "layer.%d%c", &n, &end) == 1 ? n : -1;
}

/* ---- from one graph ---- */

static void add_work(figures *f, const tn_graph *g)
{
    for (int i = 0; i < g->n_n; i++) {
        const tn_gnode *n = &g->n[i];
        const tn_cost c = tn_node_cost(g, n);
        figures *to = &f[n->layer];
        to->flops[n->backward][work_of(n)] += c.flops;
        to->bytes[n->backward][work_of(n)] += c.bytes;
        to->launches[n->backward]++;
    }
}

static bool takes_room(const tn_exec *x, int t)
{
    return x->g.t[t].storage == t && x->g.t[t].kind != TN_G_CONST && x->plan.t[t].last >= 0;
}

/* What lives on from the forward to the backward pass, with the layer that reads it last. */
static void add_kept(figures *f, const tn_exec *x)
{
    const tn_graph *g = &x->g;
    for (int t = 0; t < g->n_t; t++) {
        const tn_planned *p = &x->plan.t[t];
        if (!takes_room(x, t) || p->first >= g->n_forward || p->last < g->n_forward) continue;
        f[p->last < g->n_n ? g->n[p->last].layer : g->t[t].layer].kept += (double)p->bytes;
    }
}

static double live_at(const tn_exec *x, int node)
{
    double sum = 0;
    for (int t = 0; t < x->g.n_t; t++) {
        const tn_planned *p = &x->plan.t[t];
        if (takes_room(x, t) && p->first <= node && node <= p->last) sum += (double)p->bytes;
    }
    return sum;
}

/* What a layer needs beside what it and those below it keep. */
static void add_transient(figures *f, const tn_exec *x)
{
    const tn_graph *g = &x->g;
    const double packing = (double)x->plan.total / fmax((double)x->plan.live_peak, 1);
    for (int i = 0; i < g->n_n; i++) {
        double kept = 0;
        for (int l = 0; l <= g->n[i].layer; l++) kept += f[l].kept;
        const double more = live_at(x, i) * packing - kept;
        f[g->n[i].layer].transient = fmax(f[g->n[i].layer].transient, more);
    }
    for (int l = 0; l < g->n_layers; l++) f[l].transient += (double)x->workspace;
}

/* The last layer whose forward pass reads t; -1: none. */
static int last_reader(const tn_graph *g, int t)
{
    int last = -1;
    for (int i = 0; i < g->n_forward; i++)
        if (tn_node_reads(&g->n[i], t)) last = TN_MAX(last, g->n[i].layer);
    return last;
}

/* What later layers read. */
static void add_crossing(figures *f, const tn_graph *g)
{
    for (int t = 0; t < g->n_t; t++) {
        const int at = g->t[t].kind == TN_G_ACT || g->t[t].kind == TN_G_OUTPUT ? tn_graph_writer(g, t) : -1;
        if (at < 0 || at >= g->n_forward) continue;
        for (int l = g->n[at].layer; l < last_reader(g, t); l++) f[l].out += (double)tn_gtensor_bytes(&g->t[t]);
    }
}

/* f: [layers], of a pass of so many images that makes so much again. */
static int measure(figures *f, tn_layers *out, const tn_engine *e, int images, tn_recompute recompute, tn_error *err)
{
    tn_exec *x;
    tn_pass pass = tn_engine_train_pass(e, images, tn_engine_groups(e));
    pass.recompute = recompute;
    TN_TRY(tn_exec_new(&x, e->dev, e->model, e->session->store, &pass, NULL, err));
    memset(f, 0, sizeof *f * TN_PLANNER_LAYERS);
    if (x->g.n_layers > TN_PLANNER_LAYERS) {
        tn_exec_free(NULL, x);
        return tn_fail(err, TN_ERR_CONFIG, "the model has %d layers; a plan takes %d", x->g.n_layers, TN_PLANNER_LAYERS);
    }
    out->n = x->g.n_layers;
    for (int i = 0; i < out->n; i++) snprintf(out->name[i], sizeof out->name[i], "%s", x->g.layers[i].name);
    for (int i = 0; recompute && i < out->n; i++) out->layer[i].again = x->g.layers[i].recompute != TN_RECOMPUTE_NONE;
    add_work(f, &x->g);
    add_kept(f, x);
    add_transient(f, x);
    add_crossing(f, &x->g);
    tn_exec_free(NULL, x);
    return 0;
}

/* ---- weights ---- */

static void add_slot(tn_layers *out, int *layer_of, const tn_store *s, int slot, int layer)
{
    if (slot < 0 || layer_of[slot] >= 0) return;
    const tn_stored *w = &s->s[slot];
    const tn_slot *m = &s->m->slots[slot];
    layer_of[slot] = layer;
    if (w->place != TN_PLACE_PARAM) {
        out->layer[layer].weights += (double)w->bytes;
        return;
    }
    const size_t floats = TN_ROUND_UP((size_t)m->rows * (size_t)m->cols, s->dev->align / 4);
    out->layer[layer].parameters += 4.0 * (double)floats;
    if (s->act != TN_F32) out->layer[layer].weights += (double)(floats * tn_dtype_size(s->act));
}

/* Each slot with the first layer that uses it. */
static int add_weights(tn_layers *out, const tn_engine *e, tn_error *err)
{
    tn_exec *x;
    const tn_pass pass = tn_engine_train_pass(e, 1, tn_engine_groups(e));
    int *layer_of = malloc(sizeof *layer_of * (size_t)(e->model->n_slots + 1));
    if (!layer_of) return tn_oom(err);
    const int rc = tn_exec_new(&x, e->dev, e->model, e->session->store, &pass, NULL, err);
    for (int i = 0; i < e->model->n_slots; i++) layer_of[i] = -1;
    for (int i = 0; !rc && i < x->g.n_n; i++) {
        const tn_gnode *n = &x->g.n[i];
        for (int k = 0; k < TN_NODE_SLOTS; k++) add_slot(out, layer_of, e->session->store, n->w[k], n->layer);
        for (int k = 0; k < n->n_parts; k++) {
            const int slots[] = {n->part[k].w, n->part[k].bias, n->part[k].a, n->part[k].b, n->part[k].m};
            for (size_t j = 0; j < TN_COUNT(slots); j++) add_slot(out, layer_of, e->session->store, slots[j], n->layer);
        }
    }
    if (!rc) tn_exec_free(NULL, x);
    free(layer_of);
    return rc;
}

/* ---- lines through two numbers of images ---- */

static tn_line through(double at_a, double at_b, int a, int b)
{
    const double image = (at_b - at_a) / (b - a), fixed = at_a - image * a;
    return fixed < 0 || image < 0 ? (tn_line){0, at_b / b} : (tn_line){fixed, image};
}

static tn_line more_than(tn_line x, tn_line y)
{
    return (tn_line){fmax(x.fixed - y.fixed, 0), fmax(x.image - y.image, 0)};
}

/* a, b: of so many images, [2] keeping and making again. */
static void settle(tn_layers *out, figures *const a[2], figures *const b[2], int at, int bt)
{
    for (int i = 0; i < out->n; i++) {
        tn_planner_layer *l = &out->layer[i];
        l->block = tn_layer_block(out->name[i]);
        l->kept = through(a[0][i].kept, b[0][i].kept, at, bt);
        l->kept_again = through(a[1][i].kept, b[1][i].kept, at, bt);
        l->transient = through(a[0][i].transient, b[0][i].transient, at, bt);
        l->transient_again = through(a[1][i].transient, b[1][i].transient, at, bt);
        l->out = b[0][i].out / bt;
        for (int d = TN_FORWARD; d < TN_DIRECTIONS; d++) {
            const int back = d != TN_FORWARD, from = d == TN_AGAIN;
            tn_layer_work *w = &out->work[i][d];
            w->launches = a[from][i].launches[back];
            for (int k = 0; k < TN_WORKS; k++) {
                w->flops[k] = through(a[from][i].flops[back][k], b[from][i].flops[back][k], at, bt);
                w->bytes[k] = through(a[from][i].bytes[back][k], b[from][i].bytes[back][k], at, bt);
                if (d != TN_AGAIN) continue;
                w->flops[k] = more_than(w->flops[k], out->work[i][TN_BACKWARD].flops[k]);
                w->bytes[k] = more_than(w->bytes[k], out->work[i][TN_BACKWARD].bytes[k]);
            }
            if (d == TN_AGAIN) w->launches = TN_MAX(w->launches - out->work[i][TN_BACKWARD].launches, 0);
        }
    }
}

static int fill(tn_layers *out, figures *f, const tn_engine *e, tn_error *err)
{
    const int a = 1, b = TN_MAX(2, TN_MIN(e->s->training.batch_size, 8));
    figures *const at_a[2] = {f, f + TN_PLANNER_LAYERS}, *const at_b[2] = {f + 2 * TN_PLANNER_LAYERS, f + 3 * TN_PLANNER_LAYERS};
    for (int again = 0; again < 2; again++) {
        TN_TRY(measure(at_a[again], out, e, a, again ? TN_RECOMPUTE_ALL : TN_RECOMPUTE_NONE, err));
        TN_TRY(measure(at_b[again], out, e, b, again ? TN_RECOMPUTE_ALL : TN_RECOMPUTE_NONE, err));
    }
    settle(out, at_a, at_b, a, b);
    out->layer[0].inputs = (double)tn_lane_bytes(e, &e->team.member[0], e->s->training.batch_size, b, false);
    for (int i = 0; i < out->n; i++) out->names[i] = out->name[i];
    return add_weights(out, e, err);
}

int tn_layers_new(tn_layers *out, const tn_engine *e, tn_error *err)
{
    *out = (tn_layers){0};
    figures *f = calloc(4 * TN_PLANNER_LAYERS, sizeof *f);
    out->layer = calloc(TN_PLANNER_LAYERS, sizeof *out->layer);
    out->work = calloc(TN_PLANNER_LAYERS, sizeof *out->work);
    out->name = calloc(TN_PLANNER_LAYERS, sizeof *out->name);
    out->names = calloc(TN_PLANNER_LAYERS, sizeof *out->names);
    const bool room = f && out->layer && out->work && out->name && out->names;
    const int rc = room ? fill(out, f, e, err) : tn_oom(err);
    free(f);
    if (rc) tn_layers_free(out);
    return rc;
}

void tn_layers_free(tn_layers *l)
{
    free(l->layer);
    free(l->work);
    free(l->name);
    free(l->names);
    *l = (tn_layers){0};
}
