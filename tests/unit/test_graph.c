/* Gradients of graphs, as the executor computes them on the first CPU device, against central differences of the same graph
 * on the host in double: random graphs with shared inputs and several readers, storage shared and not, activations kept and
 * made again. */
#include "graph_draw.h"
#include "graph_host.h"
#include "session.h"
#include "../testlib.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { GRAPHS = 160 };

static tn_dev *device(void)
{
    static tn_dev *d;
    const tn_dev_options o = {.variants = "gemm=portable", .cache = getenv("TRACKNET_CACHE")};
    tn_error e = {0};
    int index;
    if (!d) ck_assert_msg(!tn_device_select(&index, "cpu", &e) && !tn_dev_open(&d, index, &o, &e), "%s", e.message);
    return d;
}

static void must(int rc, const tn_error *e)
{
    ck_assert_msg(rc == 0, "%s", e->message);
}

/* ---- one graph: gradients of its inputs, then of its slots ---- */

typedef struct {
    int n_inputs, inputs[8], n; /* n: inputs, then slots */
    float **grad;               /* NULL: gets none */
    size_t *count;
    double loss;
} result;

static void result_free(result *r)
{
    for (int i = 0; i < r->n; i++) free(r->grad[i]);
    free(r->grad);
    free(r->count);
}

static result result_new(const tn_graph *g, const tn_model *m)
{
    result r = {0};
    for (int i = 0; i < g->n_t; i++)
        if (g->t[i].kind == TN_G_INPUT && g->t[i].needs_grad) r.inputs[r.n_inputs++] = i;
    r.n = r.n_inputs + m->n_slots;
    r.grad = calloc((size_t)r.n, sizeof *r.grad);
    r.count = calloc((size_t)r.n, sizeof *r.count);
    for (int i = 0; i < r.n; i++) r.count[i] = i < r.n_inputs ? host_count(g, r.inputs[i]) : host_slot_count(m, i - r.n_inputs);
    return r;
}

static float *floats(const double *v, size_t n)
{
    float *f = malloc(sizeof *f * (n + 1));
    for (size_t i = 0; i < n; i++) f[i] = (float)v[i];
    return f;
}

static void upload(tn_session *s, tn_exec *x, const host_pass *h)
{
    tn_error e = {0};
    for (int i = 0; i < s->m->n_slots; i++) {
        float *f = floats(h->slot[i], host_slot_count(s->m, i));
        must(tn_store_set(s->store, i, f, &e), &e);
        free(f);
    }
    for (int i = 0; i < x->g.n_t; i++) {
        if (x->g.t[i].kind != TN_G_INPUT || !x->mem[i]) continue;
        float *f = floats(h->t[i], host_count(&x->g, i));
        must(tn_session_upload(s, x, i, f, &e), &e);
        free(f);
    }
}

static void download(result *r, tn_session *s, tn_exec *x)
{
    tn_error e = {0};
    must(tn_session_loss(s, x, &r->loss, &e), &e);
    for (int i = 0; i < r->n; i++) {
        const int slot = i - r->n_inputs, grad = slot < 0 ? x->g.t[r->inputs[i]].grad : -1;
        if (slot < 0 ? grad < 0 : !s->m->slots[slot].trainable) continue;
        r->grad[i] = malloc(sizeof(float) * r->count[i]);
        if (slot < 0) must(tn_session_download(s, x, grad, r->grad[i], &e), &e);
        else must(tn_store_get_grad(s->store, slot, r->grad[i], &e), &e);
    }
}

/* What fuse.c made, over all graphs: activations, residuals, adapters' gradients and slopes, activations of norms, sums, slopes
 * that are kept, adapters' products of norms and of their gradients; fuse_doubling.c: convolutions, gradients of both and of the
 * map alone, and statistics that convolutions leave for norms of both kinds; fuse_norm.c: norms' backward that work slopes out
 * again. */
enum { FUSED = 15 };
static int fused[FUSED];

static void count_fused(const tn_graph *g)
{
    for (int i = 0; i < g->n_n; i++) {
        const tn_gnode *n = &g->n[i];
        fused[0] += n->op == TN_OP_LINEAR && n->a.linear.act;
        fused[1] += n->op == TN_OP_LINEAR && n->in[2] >= 0;
        fused[2] += n->op == TN_OP_LINEAR_DX && n->in[1] >= 0;
        fused[3] += n->op == TN_OP_LINEAR_DX && n->in[2] >= 0;
        fused[4] += n->op == TN_OP_NORM2D && n->a.norm2d.act;
        fused[5] += n->op == TN_OP_BILINEAR_BACK && n->in[1] >= 0;
        fused[6] += (n->op == TN_OP_LINEAR && n->a.linear.keeps_slope) || (n->op == TN_OP_NORM2D && n->a.norm2d.keeps_slope);
        fused[7] += n->op == TN_OP_LAYERNORM && n->out[2] >= 0;
        fused[8] += n->op == TN_OP_LAYERNORM_DX && n->out[2] >= 0;
        fused[9] += n->op == TN_OP_CONV && n->a.conv.doubled;
        fused[10] += n->op == TN_OP_CONV_GRAD && n->a.conv_grad.doubled && n->out[0] >= 0;
        fused[11] += n->op == TN_OP_CONV_DX && n->a.conv_dx.doubled;
        fused[12] += n->op == TN_OP_NORM2D && n->in[1] >= 0;
        fused[13] += n->op == TN_OP_NORM2D_FEW && n->in[2] >= 0;
        fused[14] += n->op == TN_OP_NORM2D_BACK && n->a.norm2d_back.act;
    }
}

/* Runs a graph whose backward pass is there already; takes the graph over. */
static result run(tn_graph *g, const tn_model *m, const host_pass *h, bool share, bool fuse)
{
    tn_error e = {0};
    tn_store *store;
    tn_session *s;
    tn_exec *x;
    result r = result_new(g, m);
    const tn_pass pass = {.batch = g->batch, .act = TN_F32, .groups = TN_GROUP_HEAD, .training = true, .loss = true};
    for (int i = 0; i < r.n_inputs; i++)
        if (g->t[r.inputs[i]].grad >= 0) g->t[g->t[r.inputs[i]].grad].kind = TN_G_OUTPUT; /* to be read afterwards */
    if (fuse) must(tn_graph_fuse(g, &e), &e);
    if (fuse) must(tn_graph_fuse_doubling(g, &e), &e);
    if (fuse) must(tn_graph_fuse_norm_back(g, &e), &e);
    if (fuse) must(tn_graph_gather(g, &e), &e);
    must(tn_graph_merge(g, share, &e), &e);
    if (fuse) must(tn_graph_fuse_merged(g, &e), &e);
    if (fuse) must(tn_graph_fuse_both(g, &e), &e);
    if (fuse) count_fused(g);
    must(tn_store_new(&store, device(), m, NULL, TN_F32, true, false, &e), &e);
    must(tn_session_new(&s, device(), m, store, &e), &e);
    must(tn_exec_of_graph(&x, device(), m, store, &pass, g, &e), &e);
    must(tn_session_adopt(s, x, &e), &e);
    s->loss = (tn_loss_spec){.logits = false};
    const tn_step_constants now = {.seed = h->step_seed, .inv_mask = (float)h->inv_mask};
    must(tn_ctx_step(&s->ctx, &now, &e), &e);
    upload(s, x, h);
    must(tn_session_run(s, x, &e), &e);
    download(&r, s, x);
    tn_session_free(s);
    return r;
}

/* ---- against differences ---- */

static double norm(const float *v, size_t n)
{
    double s = 0;
    for (size_t i = 0; i < n; i++) s += (double)v[i] * v[i];
    return sqrt(s);
}

/* (loss(v + h d) - loss(v - h d)) / 2h with d an element of v, or all of `along`, middle the loss at v; *kink: the two sides'
 * slopes differ, as where a deformable sample goes over a pixel's middle. */
static double slope(host_pass *h, double middle, double *v, size_t n, const double *along, size_t element, double whole, bool *kink)
{
    const double step = 1e-5;
    double side[2];
    for (int k = 0; k < 2; k++) {
        const double s = k ? -step : step;
        for (size_t i = 0; i < n; i++) v[i] += s * (along ? along[i] : i == element);
        side[k] = (host_run(h) - middle) / s;
        for (size_t i = 0; i < n; i++) v[i] -= s * (along ? along[i] : i == element);
    }
    *kink = fabs(side[0] - side[1]) > 2e-3 * (fabs(side[0]) + fabs(side[1])) + 4e-5 * whole;
    return (side[0] + side[1]) / 2;
}

static int slopes, kinks;

/* How far the gradient of one tensor is off, over what rounding may do: above 1 is wrong. */
static double mismatch(host_pass *h, double middle, double *v, const float *grad, size_t n, double whole, tn_rng *r)
{
    double *along = malloc(sizeof *along * n), worst = 0;
    for (int k = 0; k < 4; k++) {
        const size_t at = tn_rng_below(r, (uint32_t)n);
        double got = 0, size = 0;
        for (size_t i = 0; i < n; i++) {
            along[i] = tn_rng_normal(r);
            if (k && i != at) continue;
            if (k) along[i] = 1;
            got += grad[i] * along[i];
            size += fabs(grad[i] * along[i]);
        }
        bool kink;
        const double want = slope(h, middle, v, n, k ? NULL : along, at, whole, &kink);
        slopes++, kinks += kink;
        if (!kink) worst = fmax(worst, fabs(got - want) / (1e-3 * size + 2e-5 * whole));
    }
    free(along);
    return worst;
}

static double largest(const result *r)
{
    double whole = 1e-6;
    for (int i = 0; i < r->n; i++)
        if (r->grad[i]) whole = fmax(whole, norm(r->grad[i], r->count[i]));
    return whole;
}

/* Where a slot that is trained, or an input, has no gradient, the loss must not depend on it. */
static double worst_mismatch(host_pass *h, const tn_model *m, const result *r, uint64_t seed)
{
    tn_rng rng = tn_rng_named(seed, "differences");
    const double whole = largest(r), loss = host_run(h);
    double worst = fabs(loss - r->loss) / (1e-4 * fabs(loss) + 1e-6);
    h->hold_norms = true;
    const double middle = host_run(h);
    for (int i = 0; i < r->n; i++) {
        const int slot = i - r->n_inputs;
        if (slot >= 0 && !m->slots[slot].trainable) continue;
        float *none = r->grad[i] ? NULL : calloc(r->count[i], sizeof *none);
        double *v = slot < 0 ? h->t[r->inputs[i]] : h->slot[slot];
        worst = fmax(worst, mismatch(h, middle, v, none ? none : r->grad[i], r->count[i], whole, &rng));
        free(none);
    }
    h->hold_norms = false;
    return worst;
}

static void same(const result *a, const result *b, uint64_t seed, const char *what)
{
    for (int i = 0; i < a->n; i++) {
        ck_assert_msg(!a->grad[i] == !b->grad[i], "graph %d, %s: gradient %d is there only once", (int)seed, what, i);
        if (!a->grad[i]) continue;
        const double off = tn_relative_error(a->grad[i], b->grad[i], a->count[i], 1e-2 * largest(b));
        ck_assert_msg(off < 1e-4, "graph %d, %s: gradient %d is off by %g", (int)seed, what, i, off);
    }
}

static int seen[TN_OP_COUNT];

static void count_operations(const tn_graph *g)
{
    for (int i = 0; i < g->n_n; i++) seen[g->n[i].op]++;
}

/* A drawn graph with its backward pass. */
static void make(tn_graph *g, tn_model *m, uint64_t seed, tn_recompute recompute)
{
    tn_error e = {0};
    draw_graph(g, m, seed, recompute);
    const tn_trained trained = {m, TN_GROUP_HEAD};
    must(tn_graph_backward(g, tn_is_trained, &trained, &e), &e);
    count_operations(g);
}

static void count_merged(uint64_t seed)
{
    tn_error e = {0};
    tn_graph g;
    tn_model *m = calloc(1, sizeof *m);
    make(&g, m, seed, 0);
    must(tn_graph_merge(&g, true, &e), &e);
    for (int i = 0; i < g.n_n; i++) seen[TN_OP_COPY] += g.n[i].op == TN_OP_COPY;
    tn_graph_free(&g);
    tn_model_free(m);
}

static void check_seed(uint64_t seed)
{
    static const struct {
        bool share, fuse;
        tn_recompute recompute;
        const char *name;
    } ways[] = {{true, false, TN_RECOMPUTE_NONE, "shared"},
                {true, false, TN_RECOMPUTE_CHEAP, "shared, cheap ones again"},
                {true, false, TN_RECOMPUTE_ACTIVATED, "shared, activated ones again"},
                {true, false, TN_RECOMPUTE_PRODUCTS, "shared, products again"},
                {true, false, TN_RECOMPUTE_ALL, "shared, all again"},
                {false, false, TN_RECOMPUTE_ALL, "all again"},
                {true, true, TN_RECOMPUTE_NONE, "fused, shared"},
                {true, true, TN_RECOMPUTE_ACTIVATED, "fused, shared, activated ones again"},
                {true, true, TN_RECOMPUTE_PRODUCTS, "fused, shared, products again"},
                {true, true, TN_RECOMPUTE_ALL, "fused, shared, all again"}};
    enum { FIRST_UNFUSED = 1, FIRST_FUSED = 7 }; /* the first of those that make something again, of which a graph meets one */
    tn_model *m = calloc(1, sizeof *m);
    tn_graph forward, g;
    make(&forward, m, seed, 0);
    host_pass h;
    host_new(&h, &forward, m, seed);
    tn_model *copy = calloc(1, sizeof *copy);
    make(&g, copy, seed, 0);
    result plain = run(&g, copy, &h, false, false);
    tn_model_free(copy);
    const double off = worst_mismatch(&h, m, &plain, seed);
    ck_assert_msg(off <= 1, "graph %d: a gradient is %g times what rounding explains off", (int)seed, off);
    for (size_t k = 0; k < TN_COUNT(ways); k++) {
        if (ways[k].recompute && k != (ways[k].fuse ? FIRST_FUSED + seed % 3 : FIRST_UNFUSED + seed % 5)) continue;
        copy = calloc(1, sizeof *copy);
        make(&g, copy, seed, ways[k].recompute);
        result other = run(&g, copy, &h, ways[k].share, ways[k].fuse);
        same(&plain, &other, seed, ways[k].name);
        result_free(&other);
        tn_model_free(copy);
    }
    count_merged(seed);
    result_free(&plain);
    host_free(&h, m);
    tn_graph_free(&forward);
    tn_model_free(m);
}

START_TEST(gradients_of_random_graphs_are_slopes)
{
    for (uint64_t seed = 0; seed < GRAPHS; seed++) check_seed(seed);
    ck_assert_msg(kinks * 50 < slopes, "%d of %d slopes are no slopes", kinks, slopes);
    for (int op = 0; op < TN_OP_COUNT; op++)
        ck_assert_msg(seen[op] || op == TN_OP_DROPOUT_BITS || op == TN_OP_ROW_SUMS, "no graph had the operation %s",
                      tn_opcode_name((tn_opcode)op));
    for (int i = 0; i < FUSED; i++)
        ck_assert_msg(fused[i] > (i < 4 ? 10 : 0), "only %d nodes ended with case %d of the rules that fuse", fused[i], i);
}
END_TEST

/* ---- by hand ---- */

enum { TWICE, POST_ACTIVATION, LONE_MEAN, WAITING, HANDS };

static void hand_graph(tn_graph *g, tn_model *m, int which)
{
    tn_error e = {0};
    drawing d;
    draw_begin(&d, g, m, 7, 0);
    const int x = draw_input(&d, DRAW_B * DRAW_P, true, "x"), y = draw_input(&d, DRAW_B * DRAW_P, true, "y");
    int o;
    if (which == TWICE) o = draw_residual(&d, draw_residual(&d, x, y, false), y, false);
    else if (which == POST_ACTIVATION) o = draw_residual(&d, x, draw_act(&d, draw_linear(&d, x, DRAW_C)), false);
    else if (which == LONE_MEAN) o = draw_scale_channels(&d, y, draw_sample_mean(&d, x));
    else {
        const int both = draw_act(&d, x), late = draw_act(&d, both);
        o = draw_residual(&d, late, draw_linear(&d, both, DRAW_C), false);
    }
    draw_end(&d, o);
    must(tn_graph_backward(g, tn_is_trained, &d.trained, &e), &e);
}

/* broken: a reader of a sum takes its first term instead. */
static double hand_mismatch(int which, bool share, bool broken)
{
    tn_model *m = calloc(1, sizeof *m);
    tn_graph forward, g;
    hand_graph(&forward, m, which);
    host_pass h;
    host_new(&h, &forward, m, 3);
    tn_model *copy = calloc(1, sizeof *copy);
    hand_graph(&g, copy, which);
    for (int i = 0; broken && i < g.n_n; i++) {
        if (g.n[i].op != TN_OP_ADD) continue;
        const int sum = g.n[i].out[0], first = g.n[i].in[0];
        for (int t = 0; t < g.n_t; t++)
            if (g.t[t].grad == sum) g.t[t].grad = first;
        tn_graph_remove(&g, i--);
    }
    result r = run(&g, copy, &h, share, false);
    const double off = worst_mismatch(&h, m, &r, 3);
    result_free(&r);
    host_free(&h, m);
    tn_graph_free(&forward);
    tn_model_free(m);
    tn_model_free(copy);
    return off;
}

START_TEST(every_reader_gives_its_share)
{
    ck_assert_double_le(hand_mismatch(_i, false, false), 1);
    ck_assert_double_le(hand_mismatch(_i, true, false), 1);
}
END_TEST

/* The gradient towards the product's input is made first and what it is added to after it, which overwrites nothing by then. */
START_TEST(a_product_waits)
{
    tn_error e = {0};
    tn_graph g;
    tn_model *m = calloc(1, sizeof *m);
    int adds = 0, onto = -1;
    hand_graph(&g, m, WAITING);
    must(tn_graph_merge(&g, true, &e), &e);
    for (int i = 0; i < g.n_n; i++) {
        adds += g.n[i].op == TN_OP_ADD;
        if (g.n[i].op == TN_OP_LINEAR_DX && g.n[i].onto >= 0) onto = g.n[i].onto;
    }
    ck_assert_int_eq(adds, 0);
    ck_assert_int_ge(onto, 0);
    const tn_gnode *before = &g.n[tn_graph_writer(&g, onto)];
    ck_assert_int_eq(before->op, TN_OP_ACT_BACK);
    ck_assert_int_ne(g.t[onto].storage, g.t[before->in[1]].storage);
    tn_graph_free(&g);
    tn_model_free(m);
}
END_TEST

START_TEST(a_lost_share_is_seen)
{
    ck_assert_double_gt(hand_mismatch(TWICE, false, true), 10);
    ck_assert_double_gt(hand_mismatch(POST_ACTIVATION, true, true), 10);
}
END_TEST

START_TEST(reading_what_nobody_wrote_fails)
{
    tn_error e = {0};
    tn_model *m = calloc(1, sizeof *m);
    tn_graph g;
    hand_graph(&g, m, POST_ACTIVATION);
    for (int i = 0; i < g.n_n; i++)
        if (g.n[i].op == TN_OP_LINEAR_DX) {
            tn_graph_remove(&g, i);
            break;
        }
    ck_assert_int_eq(tn_graph_merge(&g, true, &e), TN_ERR_ARGUMENT);
    ck_assert_msg(strstr(e.message, "which nothing has written") != NULL, "%s", e.message);
    tn_graph_free(&g);
    tn_model_free(m);
    m = calloc(1, sizeof *m);
    drawing d;
    draw_begin(&d, &g, m, 7, 0);
    const int nowhere = tn_graph_tensor(&g, TN_G_ACT, TN_F32, DRAW_B * DRAW_P, DRAW_C, "nowhere");
    draw_end(&d, draw_residual(&d, d.images[0], nowhere, false));
    ck_assert_int_eq(tn_graph_backward(&g, tn_is_trained, &d.trained, &e), TN_ERR_ARGUMENT);
    ck_assert_msg(strstr(e.message, "'nowhere'") != NULL, "%s", e.message);
    tn_graph_free(&g);
    tn_model_free(m);
}
END_TEST

/* What overwrites does so after the last reader, and never an input, a constant or an output. */
START_TEST(shared_storage_holds_what_is_read)
{
    for (uint64_t seed = 0; seed < 60; seed++) {
        tn_error e = {0};
        tn_graph g;
        tn_model *m = calloc(1, sizeof *m);
        make(&g, m, seed, (int)(seed % 3));
        must(tn_graph_merge(&g, true, &e), &e);
        int *held = malloc(sizeof *held * (size_t)g.n_t); /* which tensor lies in each storage */
        for (int i = 0; i < g.n_t; i++) held[i] = i;
        for (int i = 0; i < g.n_n; i++) {
            const tn_gnode *n = &g.n[i];
            for (int k = 0; k < TN_NODE_IN; k++)
                if (n->in[k] >= 0) ck_assert_int_eq(held[g.t[n->in[k]].storage], n->in[k]);
            if (n->onto >= 0) ck_assert_int_eq(held[g.t[n->onto].storage], n->onto);
            for (int k = 0; k < TN_NODE_OUT; k++) {
                if (n->out[k] < 0) continue;
                const int s = g.t[n->out[k]].storage;
                ck_assert(s == n->out[k] || g.t[held[s]].kind == TN_G_ACT);
                held[s] = n->out[k];
            }
        }
        free(held);
        tn_graph_free(&g);
        tn_model_free(m);
    }
}
END_TEST

START_TEST(a_product_costs_what_it_multiplies)
{
    tn_model *m = calloc(1, sizeof *m);
    tn_graph g;
    hand_graph(&g, m, POST_ACTIVATION);
    const int at = tn_graph_writer(&g, g.heat);
    const tn_cost c = tn_node_cost(&g, &g.n[at]);
    ck_assert_double_eq(c.flops, 2.0 * DRAW_B * DRAW_P * DRAW_C);
    ck_assert_double_eq(c.bytes, 4.0 * (DRAW_B * DRAW_P * (DRAW_C + 1) + DRAW_C));
    ck_assert_double_gt(tn_layer_cost(&g, 0, false).flops, c.flops);
    ck_assert_double_gt(tn_layer_cost(&g, 0, true).flops, c.flops);
    tn_graph_free(&g);
    tn_model_free(m);
}
END_TEST

int main(void)
{
    return run_tests("graph", 400,
                     TESTS(ONCE(gradients_of_random_graphs_are_slopes), TIMES(every_reader_gives_its_share, HANDS),
                           ONCE(a_product_waits), ONCE(a_lost_share_is_seen), ONCE(reading_what_nobody_wrote_fails),
                           ONCE(shared_storage_holds_what_is_read), ONCE(a_product_costs_what_it_multiplies)));
}
