/* Executors of linear layers and their adapters. Parts of one operation (query, key and value) are one product wherever their
 * matrices can lie side by side, and a product each where they cannot. */
#include "exec.h"
#include "grads.h"

static int first_rank(const tn_gnode *n, int part)
{
    int r = 0;
    for (int i = 0; i < part; i++) r += n->part[i].r;
    return r;
}

/* ---- several parts as one ---- */

/* Do the slots, count elements each, follow each other in the arena? */
static bool follow(const tn_call *k, const int *slots, const size_t *count, int n)
{
    const tn_stored *s = k->s->store->s;
    for (int i = 0; i < n; i++) {
        if (slots[i] < 0 || s[slots[i]].place != TN_PLACE_PARAM) return false;
        if (i && s[slots[i]].off != s[slots[i - 1]].off + count[i - 1]) return false;
    }
    return true;
}

/* A's of all parts as one matrix [sum of ranks, in]? */
static bool joins_a(const tn_call *k, int in)
{
    int slots[TN_NODE_PARTS];
    size_t count[TN_NODE_PARTS];
    for (int i = 0; i < k->n->n_parts; i++) {
        slots[i] = k->n->part[i].a;
        count[i] = (size_t)k->n->part[i].r * (size_t)in;
    }
    return k->n->n_parts > 1 && follow(k, slots, count, k->n->n_parts);
}

/* B's of all parts as one matrix [columns, r], the parts alike? */
static bool joins_b(const tn_call *k)
{
    int slots[TN_NODE_PARTS];
    size_t count[TN_NODE_PARTS];
    const tn_gpart *p = k->n->part;
    for (int i = 0; i < k->n->n_parts; i++) {
        slots[i] = p[i].b;
        count[i] = (size_t)p[i].cols * (size_t)p[i].r;
        if (p[i].cols != p[0].cols || p[i].r != p[0].r || p[i].scale != p[0].scale) return false;
    }
    return k->n->n_parts > 1 && follow(k, slots, count, k->n->n_parts);
}

static bool all_trained(const tn_call *k, bool a)
{
    bool all = true;
    for (int i = 0; i < k->n->n_parts; i++) all = all && tn_call_trained(k, a ? k->n->part[i].a : k->n->part[i].b);
    return all;
}

/* The first slot's matrix, taken as `rows` rows. */
static tn_tensor operand(const tn_call *k, int slot, int rows)
{
    tn_tensor t = tn_store_operand(k->s->store, slot);
    t.rows = rows;
    return t;
}

/* The gradients of slots that follow each other, as the first one's with `rows` rows. */
static tn_tensor joined_grad(const tn_call *k, int slot, int rows)
{
    const tn_stored *s = &k->s->store->s[slot];
    tn_tensor g = tn_view(k->s->store->grads, TN_F32, rows, s->t.cols);
    g.off = s->off;
    return g;
}

/* Do the weights lie dense behind each other? Then *w is all of them. */
static bool lie_joined(const tn_call *k, tn_tensor *w)
{
    if (k->n->n_parts < 2 || !tn_call_dense(k, k->n->part[0].w, w)) return false;
    for (int i = 1; i < k->n->n_parts; i++) {
        tn_tensor next;
        if (!tn_call_dense(k, k->n->part[i].w, &next) || next.mem != w->mem || next.off != w->off + tn_tensor_count(w))
            return false;
        w->rows += next.rows;
    }
    return true;
}

/* Are they so, or quantised, so that they can be unpacked under each other? */
static bool joins_w(const tn_call *k)
{
    tn_tensor w;
    bool all = k->n->n_parts > 1;
    for (int i = 0; i < k->n->n_parts; i++) all = all && !tn_call_dense(k, k->n->part[i].w, &w);
    return all || lie_joined(k, &w);
}

_Static_assert((int)TN_NODE_PARTS <= (int)TN_UNPACK_PARTS, "a product takes all parts of a layer");

/* The product's right operand: all matrices, or one. */
static void multiply_by_all(const tn_call *k, tn_gemm_args *g)
{
    const tn_qtensor *q[TN_NODE_PARTS];
    if (lie_joined(k, &g->B)) {
        g->keep = tn_store_kept(k->s->store, k->n->part[0].w);
        return;
    }
    for (int i = 0; i < k->n->n_parts; i++) q[i] = &k->s->store->s[k->n->part[i].w].q;
    tn_gemm_quantised(g, q, k->n->n_parts);
}

static void multiply_by(const tn_call *k, int slot, tn_gemm_args *g)
{
    const tn_qtensor *const q[] = {&k->s->store->s[slot].q};
    if (tn_call_dense(k, slot, &g->B)) g->keep = tn_store_kept(k->s->store, slot);
    else tn_gemm_quantised(g, q, 1);
}

static int joined_bias(const tn_call *k, bool *can, tn_buffer **bias)
{
    int slots[TN_NODE_PARTS], cols[TN_NODE_PARTS];
    for (int i = 0; i < k->n->n_parts; i++) slots[i] = k->n->part[i].bias, cols[i] = k->n->part[i].cols;
    return tn_store_join(k->s->store, slots, cols, k->n->n_parts, can, bias, k->err);
}

/* ---- forward ---- */

/* t [rows, ranks] = dropout(x) A^T. */
static int down(const tn_call *k, tn_tensor x, tn_tensor a, tn_tensor t)
{
    const tn_attr_lora *l = &k->n->a.linear_t;
    const tn_gemm_args g = {.tb = true, .alpha = 1, .A = x, .B = a, .C = t, .mask_a = {l->dropout, l->salt}};
    return tn_gemm_run(k->c, &g, k->err);
}

int tn_exec_linear_t(const tn_call *k)
{
    const tn_gnode *n = k->n;
    tn_tensor x = tn_call_in(k, 0), t = tn_call_out(k, 0);
    if (joins_a(k, x.cols)) return down(k, x, operand(k, n->part[0].a, t.cols), t);
    for (int i = 0; i < n->n_parts; i++) {
        const tn_gpart *p = &n->part[i];
        if (p->a >= 0) TN_TRY(down(k, x, operand(k, p->a, p->r), tn_cols(t, first_rank(n, i), p->r)));
    }
    return 0;
}

/* What fuse.c put behind the product, which has one part then. */
static void ending(const tn_call *k, tn_epilogue *e)
{
    const tn_attr_linear *a = &k->n->a.linear;
    e->has_act = a->act;
    e->act = a->fn;
    if (k->n->out[1] >= 0) e->pre = tn_call_out(k, 1), e->pre_slope = a->keeps_slope;
    if (k->n->in[2] < 0) return;
    e->residual = tn_call_in(k, 2);
    e->scale = tn_call_weight(k, k->n->w[0]).mem;
}

/* Few tokens read a quantised matrix as it lies. */
static int few_tokens(const tn_call *k, const tn_gpart *p, const tn_gemm_args *g, bool *done)
{
    const tn_stored *s = &k->s->store->s[p->w];
    tn_tensor dense;
    *done = false;
    if (tn_call_dense(k, p->w, &dense) || g->e.has_act || g->e.residual.rows) return 0;
    TN_TRY(tn_qgemv_pays(k->c, &s->q, &g->A, done, k->err));
    if (!*done) return 0;
    TN_TRY(tn_qgemv(k->c, &g->A, &s->q, g->e.bias, g->C, k->err));
    if (!g->e.parts) return 0;
    const tn_gemm_args pair = {.tb = true, .alpha = g->e.alpha2, .beta = 1, .A = g->e.A2, .B = g->e.B2, .C = g->C};
    return tn_gemm_run(k->c, &pair, k->err);
}

static int linear_part(const tn_call *k, int i, int col)
{
    const tn_gnode *n = k->n;
    const tn_gpart *p = &n->part[i];
    bool done;
    tn_gemm_args g = {.tb = true, .alpha = 1, .A = tn_call_in(k, 0), .C = tn_cols(tn_call_out(k, 0), col, p->cols)};
    g.e.bias = tn_call_weight(k, p->bias).mem;
    if (n->in[1] >= 0 && p->b >= 0) {
        g.e.A2 = tn_cols(tn_call_in(k, 1), first_rank(n, i), p->r);
        g.e.B2 = operand(k, p->b, p->cols);
        g.e.tb2 = true, g.e.parts = 1, g.e.alpha2 = p->scale;
    }
    ending(k, &g.e);
    TN_TRY(few_tokens(k, p, &g, &done));
    if (done) return 0;
    multiply_by(k, p->w, &g);
    return tn_gemm_run(k->c, &g, k->err);
}

static int linear_joined(const tn_call *k, tn_buffer *bias)
{
    const tn_gnode *n = k->n;
    const tn_attr_linear *a = &n->a.linear;
    tn_gemm_args g = {.tb = true, .alpha = 1, .A = tn_call_in(k, 0), .C = tn_call_out(k, 0), .e.bias = bias};
    if (a->heads) g.e.turn = (tn_turn){tn_call_in(k, 3), a->heads, a->skip, k->e->g.batch};
    if (n->in[1] >= 0) {
        g.e.A2 = tn_call_in(k, 1);
        g.e.B2 = operand(k, n->part[0].b, g.C.cols);
        g.e.tb2 = true, g.e.parts = n->n_parts, g.e.alpha2 = n->part[0].scale;
    }
    multiply_by_all(k, &g);
    return tn_gemm_run(k->c, &g, k->err);
}

/* Parts that were multiplied apart are turned when all are there. */
static int linear_turn(const tn_call *k)
{
    const tn_attr_linear *a = &k->n->a.linear;
    tn_tensor qkv = tn_call_out(k, 0), table = tn_call_in(k, 3);
    return a->heads ? tn_rope(k->c, &qkv, &table, k->e->g.batch, a->heads, a->skip, 1, k->err) : 0;
}

int tn_exec_linear(const tn_call *k)
{
    const tn_gnode *n = k->n;
    tn_buffer *bias = NULL;
    bool can = joins_w(k) && k->e->g.t[n->in[0]].rows > TN_FEW_ROWS && (n->in[1] < 0 || joins_b(k));
    if (can) TN_TRY(joined_bias(k, &can, &bias));
    if (can) return linear_joined(k, bias);
    for (int i = 0, col = 0; i < n->n_parts; col += n->part[i++].cols) TN_TRY(linear_part(k, i, col));
    return linear_turn(k);
}

/* ---- backward ---- */

int tn_exec_linear_dt(const tn_call *k)
{
    const tn_gnode *n = k->n;
    const tn_gpart *p = n->part;
    tn_tensor dy = tn_call_in(k, 0), dt = tn_call_out(k, 0);
    tn_gemm_args g = {.alpha = p->scale};
    if (joins_b(k)) {
        g.A = tn_cols(dy, 0, p->cols), g.B = operand(k, p->b, p->cols), g.C = tn_cols(dt, 0, p->r);
        g.batch = n->n_parts;
        g.a_step = (size_t)p->cols, g.b_step = (size_t)p->cols * (size_t)p->r, g.c_step = (size_t)p->r;
        return tn_gemm_run(k->c, &g, k->err);
    }
    for (int i = 0, col = 0; i < n->n_parts; col += p[i++].cols) {
        if (p[i].b < 0) continue;
        g.alpha = p[i].scale;
        g.A = tn_cols(dy, col, p[i].cols), g.B = operand(k, p[i].b, p[i].cols), g.C = tn_cols(dt, first_rank(n, i), p[i].r);
        TN_TRY(tn_gemm_run(k->c, &g, k->err));
    }
    return 0;
}

/* dB += scale dy^T t. */
static int linear_db(const tn_call *k, tn_tensor dy, tn_tensor t)
{
    const tn_gnode *n = k->n;
    const tn_gpart *p = n->part;
    tn_gemm_args g = {.ta = true, .alpha = p->scale, .beta = 1};
    if (joins_b(k) && all_trained(k, false)) {
        g.A = tn_cols(dy, 0, p->cols), g.B = tn_cols(t, 0, p->r), g.C = joined_grad(k, p->b, p->cols);
        g.batch = n->n_parts;
        g.a_step = (size_t)p->cols, g.b_step = (size_t)p->r, g.c_step = (size_t)p->cols * (size_t)p->r;
        return tn_grads_add(k->c, &g, k->err);
    }
    for (int i = 0, col = 0; i < n->n_parts; col += p[i++].cols) {
        if (!tn_call_trained(k, p[i].b)) continue;
        g.alpha = p[i].scale;
        g.A = tn_cols(dy, col, p[i].cols), g.B = tn_cols(t, first_rank(n, i), p[i].r), g.C = tn_call_grad(k, p[i].b);
        TN_TRY(tn_grads_add(k->c, &g, k->err));
    }
    return 0;
}

int tn_exec_linear_grad(const tn_call *k)
{
    const tn_gnode *n = k->n;
    tn_tensor x = tn_call_in(k, 0), dy = tn_call_in(k, 1), t = tn_call_in(k, 2), bias[TN_NODE_PARTS];
    int cols[TN_NODE_PARTS];
    bool any_bias = false;
    for (int i = 0, col = 0; i < n->n_parts; col += n->part[i++].cols) {
        const tn_gpart *p = &n->part[i];
        cols[i] = p->cols;
        bias[i] = tn_call_grad(k, p->bias);
        any_bias |= tn_call_trained(k, p->bias);
        const tn_gemm_args g = {
            .ta = true, .alpha = 1, .beta = 1, .A = tn_cols(dy, col, p->cols), .B = x, .C = tn_call_grad(k, p->w)};
        if (tn_call_trained(k, p->w)) TN_TRY(tn_gemm_run(k->c, &g, k->err));
    }
    if (n->in[2] >= 0) TN_TRY(linear_db(k, dy, t));
    return any_bias ? tn_colsum_parts(k->c, &dy, n->n_parts, cols, bias, k->err) : 0;
}

/* dA += dt^T dropout(x). */
static int linear_da(const tn_call *k, tn_tensor x, tn_tensor dt, tn_tensor da)
{
    const tn_attr_lora *l = &k->n->a.linear_t_grad;
    const tn_gemm_args g = {.ta = true, .alpha = 1, .beta = 1, .A = dt, .B = x, .C = da, .mask_b = {l->dropout, l->salt}};
    return tn_grads_add(k->c, &g, k->err);
}

int tn_exec_linear_t_grad(const tn_call *k)
{
    const tn_gnode *n = k->n;
    tn_tensor x = tn_call_in(k, 0), dt = tn_call_in(k, 1);
    if (joins_a(k, x.cols) && all_trained(k, true)) return linear_da(k, x, dt, joined_grad(k, n->part[0].a, dt.cols));
    for (int i = 0; i < n->n_parts; i++) {
        const tn_gpart *p = &n->part[i];
        if (tn_call_trained(k, p->a)) TN_TRY(linear_da(k, x, tn_cols(dt, first_rank(n, i), p->r), tn_call_grad(k, p->a)));
    }
    return 0;
}

/* dx = (onto) + dy W, + mask of dt A and times the slope where fuse.c put them here. */
static int dx_joined(const tn_call *k)
{
    const tn_gnode *n = k->n;
    const tn_attr_linear_dx *a = &n->a.linear_dx;
    tn_gemm_args g = {.alpha = 1, .beta = n->onto >= 0 ? 1 : 0, .A = tn_call_in(k, 0), .C = tn_call_out(k, 0)};
    if (n->in[1] >= 0) {
        g.e.A2 = tn_call_in(k, 1), g.e.B2 = operand(k, n->part[0].a, g.e.A2.cols);
        g.e.parts = 1, g.e.alpha2 = 1;
        g.e.mask = (tn_mask){a->adapters.dropout, a->adapters.salt};
    }
    multiply_by_all(k, &g);
    return tn_gemm_run(k->c, &g, k->err);
}

static int dx_part(const tn_call *k, int i, int col)
{
    const tn_gnode *n = k->n;
    const tn_gpart *p = &n->part[i];
    const tn_attr_linear_dx *a = &n->a.linear_dx;
    tn_gemm_args g = {
        .alpha = 1, .beta = i || n->onto >= 0 ? 1 : 0, .A = tn_cols(tn_call_in(k, 0), col, p->cols), .C = tn_call_out(k, 0)};
    if (n->in[1] >= 0 && p->a >= 0) {
        g.e.A2 = tn_cols(tn_call_in(k, 1), first_rank(n, i), p->r), g.e.B2 = operand(k, p->a, p->r);
        g.e.parts = 1, g.e.alpha2 = 1;
        g.e.mask = (tn_mask){a->adapters.dropout, a->adapters.salt};
    }
    if (n->in[2] >= 0) g.e.slope = tn_call_in(k, 2), g.e.slope_ready = a->slope_kept, g.e.act = a->fn;
    multiply_by(k, p->w, &g);
    return tn_gemm_run(k->c, &g, k->err);
}

int tn_exec_linear_dx(const tn_call *k)
{
    const tn_gnode *n = k->n;
    if (joins_w(k) && (n->in[1] < 0 || joins_a(k, k->e->g.t[n->out[0]].cols))) return dx_joined(k);
    for (int i = 0, col = 0; i < n->n_parts; col += n->part[i++].cols) TN_TRY(dx_part(k, i, col));
    return 0;
}

/* z (+)= dt A. */
static int up(const tn_call *k, tn_tensor dt, tn_tensor a, bool add, tn_tensor z)
{
    const tn_gemm_args g = {.alpha = 1, .beta = add ? 1 : 0, .A = dt, .B = a, .C = z};
    return tn_gemm_run(k->c, &g, k->err);
}

/* The mask falls on the adapters' share alone: beside something to add to, that is made apart first. */
int tn_exec_linear_t_dx(const tn_call *k)
{
    const tn_gnode *n = k->n;
    const tn_attr_lora *a = &n->a.linear_t_dx;
    tn_tensor dt = tn_call_in(k, 0), dx = tn_call_out(k, 0), z = dx;
    const bool drop = a->dropout > 0, add = n->onto >= 0;
    bool started = add && !drop;
    if (drop && add) TN_TRY(tn_ws_take(k->c, &z, dx.dtype, dx.rows, dx.cols, k->err));
    const bool joined = joins_a(k, dx.cols);
    if (joined) TN_TRY(up(k, dt, operand(k, n->part[0].a, dt.cols), started, z));
    for (int i = 0; !joined && i < n->n_parts; i++) {
        const tn_gpart *p = &n->part[i];
        if (p->a < 0) continue;
        TN_TRY(up(k, tn_cols(dt, first_rank(n, i), p->r), operand(k, p->a, p->r), started, z));
        started = true;
    }
    return drop ? tn_dropout(k->c, &z, &dx, (tn_mask){a->dropout, a->salt}, add, false, k->err) : 0;
}
