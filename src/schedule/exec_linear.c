/* Executors of linear layers and their adapters. Parts of one operation (query, key and value) are one product wherever their
 * matrices can lie side by side, and a product each where they cannot. */
#include "exec_adapters.h"
#include "grads.h"
#include "thin_both.h"

#include <string.h>

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
    return k->n->n_parts > 1 && tn_adapters_follow(k, slots, count, k->n->n_parts);
}

static bool all_trained(const tn_call *k, bool a)
{
    bool all = true;
    for (int i = 0; i < k->n->n_parts; i++) all = all && tn_call_trained(k, a ? k->n->part[i].a : k->n->part[i].b);
    return all;
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

int tn_exec_dropout_bits(const tn_call *k)
{
    const tn_attr_bits *a = &k->n->a.dropout_bits;
    tn_tensor out = tn_call_out(k, 0);
    tn_bits b = {.rows = a->rows, .n = a->n, .p = a->p};
    memcpy(b.cols, a->cols, sizeof b.cols);
    memcpy(b.salt, a->salt, sizeof b.salt);
    return tn_dropout_bits(k->c, &b, &out, k->err);
}

int tn_exec_linear_t(const tn_call *k)
{
    tn_tensor x = tn_call_in(k, 0), t = tn_call_out(k, 0);
    return tn_adapters_down(k, &k->n->a.linear_t, &x, &t);
}

int tn_exec_row_sums(const tn_call *k)
{
    tn_tensor x = tn_call_in(k, 0), sums = tn_call_out(k, 0);
    return tn_row_sums(k->c, &x, &sums, k->err);
}

/* The norm of x that the product takes in: its vectors lie in the copies and beside them. */
static void take_norm(const tn_call *k, tn_epilogue *e)
{
    const tn_stored *first = &k->s->store->s[k->n->part[0].w];
    if (k->n->in[4] < 0) return;
    e->norm = (tn_normed){tn_call_in(k, 4), first->sums, k->n->a.linear.eps};
    e->bias = first->shift;
}

/* What fuse.c put behind the product, which has one part then. */
static void ending(const tn_call *k, tn_epilogue *e)
{
    const tn_attr_linear *a = &k->n->a.linear;
    e->has_act = a->act;
    e->act = a->fn;
    if (k->n->out[1] >= 0) e->pre = tn_call_out(k, 1), e->pre_slope = a->keeps_slope;
    if (k->n->out[2] >= 0) e->sums = tn_call_out(k, 2);
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
        g.e.A2 = tn_cols(tn_call_in(k, 1), tn_adapters_rank(n, i), p->r);
        g.e.B2 = tn_adapters_operand(k, p->b, p->cols);
        g.e.tb2 = true, g.e.parts = 1, g.e.alpha2 = p->scale;
    }
    ending(k, &g.e);
    take_norm(k, &g.e);
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
        g.e.B2 = tn_adapters_operand(k, n->part[0].b, g.C.cols);
        g.e.tb2 = true, g.e.parts = n->n_parts, g.e.alpha2 = n->part[0].scale;
    }
    take_norm(k, &g.e);
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
    const bool normed = n->in[4] >= 0; /* its copies lie in one buffer, or a pass would not have it so */
    bool can = joins_w(k) && (normed || k->e->g.t[n->in[0]].rows > TN_FEW_ROWS) && (n->in[1] < 0 || joins_b(k));
    if (can && !normed) TN_TRY(joined_bias(k, &can, &bias));
    if (can) return linear_joined(k, bias);
    if (normed && n->n_parts > 1)
        return tn_fail(k->err, TN_ERR_MEMORY, "'%s' and the matrices behind it do not fit into one buffer of the device",
                       k->s->m->slots[n->part[0].w].name);
    for (int i = 0, col = 0; i < n->n_parts; col += n->part[i++].cols) TN_TRY(linear_part(k, i, col));
    return linear_turn(k);
}

int tn_exec_slots_product(const tn_call *k)
{
    tn_tensor m = tn_call_out(k, 0), a, b;
    TN_TRY(tn_call_matrix(k, k->n->w[0], m.dtype, &a));
    TN_TRY(tn_call_matrix(k, k->n->w[1], m.dtype, &b));
    return tn_gemm_run(k->c, &(tn_gemm_args){.alpha = 1, .A = a, .B = b, .C = m}, k->err);
}

int tn_exec_linear_by(const tn_call *k)
{
    const tn_gemm_args g = {.tb = true,
                            .alpha = 1,
                            .A = tn_call_in(k, 0),
                            .B = tn_call_in(k, 1),
                            .C = tn_call_out(k, 0),
                            .e.residual = tn_call_in(k, 2)};
    return tn_gemm_run(k->c, &g, k->err);
}

/* ---- backward ---- */

int tn_exec_slots_product_grad(const tn_call *k)
{
    const int *w = k->n->w;
    tn_tensor dm = tn_call_in(k, 0), a = tn_call_weight(k, w[0]), b = tn_call_weight(k, w[1]);
    tn_tensor da = tn_call_grad(k, w[0]), db = tn_call_grad(k, w[1]);
    const tn_gemm_args left = {.tb = true, .alpha = 1, .beta = 1, .A = dm, .B = b, .C = da};
    const tn_gemm_args right = {.ta = true, .alpha = 1, .beta = 1, .A = a, .B = dm, .C = db};
    if (da.rows) TN_TRY(tn_gemm_run(k->c, &left, k->err));
    return db.rows ? tn_gemm_run(k->c, &right, k->err) : 0;
}

int tn_exec_linear_by_grad(const tn_call *k)
{
    const tn_gemm_args g = {.ta = true, .alpha = 1, .A = tn_call_in(k, 1), .B = tn_call_in(k, 0), .C = tn_call_out(k, 0)};
    return tn_gemm_run(k->c, &g, k->err);
}

int tn_exec_linear_by_dx(const tn_call *k)
{
    const tn_attr_linear_dx *a = &k->n->a.linear_by_dx;
    tn_gemm_args g = {.alpha = 1, .A = tn_call_in(k, 0), .B = tn_call_in(k, 1), .C = tn_call_out(k, 0)};
    if (k->n->in[2] >= 0) g.e.slope = tn_call_in(k, 2), g.e.slope_ready = a->slope_kept, g.e.act = a->fn;
    return tn_gemm_run(k->c, &g, k->err);
}

/* dt = scale dy B of parts that are alike, as one batch. */
static tn_gemm_args joined_dt(const tn_call *k, tn_tensor dy, const tn_tensor *dt)
{
    const tn_gpart *p = k->n->part;
    tn_gemm_args g = tn_adapters_dt(k, 0, dt);
    g.A = tn_cols(dy, 0, p->cols);
    g.batch = k->n->n_parts;
    g.a_step = (size_t)p->cols, g.b_step = (size_t)p->cols * (size_t)p->r, g.c_step = (size_t)p->r;
    return g;
}

static int linear_dt(const tn_call *k, tn_tensor dy, const tn_tensor *dt)
{
    const tn_gnode *n = k->n;
    const tn_gpart *p = n->part;
    if (joins_b(k)) {
        const tn_gemm_args g = joined_dt(k, dy, dt);
        return tn_gemm_run(k->c, &g, k->err);
    }
    for (int i = 0, col = 0; i < n->n_parts; col += p[i++].cols) {
        if (p[i].b < 0) continue;
        tn_gemm_args g = tn_adapters_dt(k, i, dt);
        g.A = tn_cols(dy, col, p[i].cols);
        TN_TRY(tn_gemm_run(k->c, &g, k->err));
    }
    return 0;
}

/* dB += scale dy^T t of parts that are alike. */
static tn_gemm_args joined_db(const tn_call *k, tn_tensor dy, tn_tensor t)
{
    const tn_gpart *p = k->n->part;
    return (tn_gemm_args){.ta = true,
                          .alpha = p->scale,
                          .beta = 1,
                          .A = tn_cols(dy, 0, p->cols),
                          .B = tn_cols(t, 0, p->r),
                          .C = joined_grad(k, p->b, p->cols),
                          .batch = k->n->n_parts,
                          .a_step = (size_t)p->cols,
                          .b_step = (size_t)p->r,
                          .c_step = (size_t)p->cols * (size_t)p->r};
}

static int linear_db(const tn_call *k, tn_tensor dy, tn_tensor t)
{
    const tn_gnode *n = k->n;
    const tn_gpart *p = n->part;
    if (joins_b(k) && all_trained(k, false)) {
        const tn_gemm_args g = joined_db(k, dy, t);
        return tn_grads_add(k->c, &g, k->err);
    }
    for (int i = 0, col = 0; i < n->n_parts; col += p[i++].cols) {
        if (!tn_call_trained(k, p[i].b)) continue;
        const tn_gemm_args g = {.ta = true,
                                .alpha = p[i].scale,
                                .beta = 1,
                                .A = tn_cols(dy, col, p[i].cols),
                                .B = tn_cols(t, tn_adapters_rank(n, i), p[i].r),
                                .C = tn_call_grad(k, p[i].b)};
        TN_TRY(tn_grads_add(k->c, &g, k->err));
    }
    return 0;
}

/* Gradients of the trained biases. */
static int bias_grads(const tn_call *k, tn_tensor dy)
{
    const tn_gnode *n = k->n;
    tn_tensor bias[TN_NODE_PARTS];
    int cols[TN_NODE_PARTS];
    bool any = false;
    for (int i = 0; i < n->n_parts; i++) {
        cols[i] = n->part[i].cols;
        bias[i] = tn_call_grad(k, n->part[i].bias);
        any |= tn_call_trained(k, n->part[i].bias);
    }
    return any ? tn_colsum_parts(k->c, &dy, n->n_parts, cols, bias, k->err) : 0;
}

int tn_exec_linear_dt(const tn_call *k)
{
    const tn_gnode *n = k->n;
    tn_tensor dy = tn_call_in(k, 0), t = tn_call_in(k, 1), dt = tn_call_out(k, 0);
    if (n->in[1] < 0) return linear_dt(k, dy, &dt);
    if ((n->n_parts == 1 || joins_b(k)) && all_trained(k, false)) {
        const tn_gemm_args to_dt = joined_dt(k, dy, &dt), to_db = joined_db(k, dy, t);
        TN_TRY(tn_thin_both_run(k->c, &to_dt, &to_db, k->err));
    } else {
        TN_TRY(linear_dt(k, dy, &dt));
        TN_TRY(linear_db(k, dy, t));
    }
    return bias_grads(k, dy);
}

int tn_exec_linear_grad(const tn_call *k)
{
    const tn_gnode *n = k->n;
    tn_tensor x = tn_call_in(k, 0), dy = tn_call_in(k, 1), t = tn_call_in(k, 2);
    for (int i = 0, col = 0; i < n->n_parts; col += n->part[i++].cols) {
        const tn_gpart *p = &n->part[i];
        const tn_gemm_args g = {
            .ta = true, .alpha = 1, .beta = 1, .A = tn_cols(dy, col, p->cols), .B = x, .C = tn_call_grad(k, p->w)};
        if (tn_call_trained(k, p->w)) TN_TRY(tn_gemm_run(k->c, &g, k->err));
    }
    if (n->in[2] >= 0) TN_TRY(linear_db(k, dy, t));
    return bias_grads(k, dy);
}

/* dA += dt^T dropout(x). */
static int linear_da(const tn_call *k, tn_tensor x, tn_tensor dt, tn_tensor da)
{
    const tn_attr_lora *l = &k->n->a.linear_t_grad;
    tn_gemm_args g = {.ta = true, .alpha = 1, .beta = 1, .A = dt, .B = x, .C = da, .mask_b = {l->dropout, l->salt}};
    tn_adapters_bits(k, l, 2, &g);
    return tn_grads_add(k->c, &g, k->err);
}

int tn_exec_linear_t_grad(const tn_call *k)
{
    const tn_gnode *n = k->n;
    tn_tensor x = tn_call_in(k, 0), dt = tn_call_in(k, 1);
    if (tn_adapters_join(k, x.cols) && all_trained(k, true)) return linear_da(k, x, dt, joined_grad(k, n->part[0].a, dt.cols));
    for (int i = 0; i < n->n_parts; i++) {
        const tn_gpart *p = &n->part[i];
        if (tn_call_trained(k, p->a)) TN_TRY(linear_da(k, x, tn_cols(dt, tn_adapters_rank(n, i), p->r), tn_call_grad(k, p->a)));
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
        g.e.A2 = tn_call_in(k, 1), g.e.B2 = tn_adapters_operand(k, n->part[0].a, g.e.A2.cols);
        g.e.parts = 1, g.e.alpha2 = 1;
        g.e.mask = (tn_mask){a->adapters.dropout, a->adapters.salt};
        tn_adapters_bits(k, &a->adapters, 3, &g);
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
        g.e.A2 = tn_cols(tn_call_in(k, 1), tn_adapters_rank(n, i), p->r), g.e.B2 = tn_adapters_operand(k, p->a, p->r);
        g.e.parts = 1, g.e.alpha2 = 1;
        g.e.mask = (tn_mask){a->adapters.dropout, a->adapters.salt};
        tn_adapters_bits(k, &a->adapters, 3, &g);
    }
    if (n->in[2] >= 0) g.e.slope = tn_call_in(k, 2), g.e.slope_ready = a->slope_kept, g.e.act = a->fn;
    multiply_by(k, p->w, &g);
    return tn_gemm_run(k->c, &g, k->err);
}

int tn_exec_linear_dx(const tn_call *k)
{
    const tn_gnode *n = k->n;
    if (joins_w(k) && (n->in[1] < 0 || tn_adapters_join(k, k->e->g.t[n->out[0]].cols))) return dx_joined(k);
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
    const bool joined = tn_adapters_join(k, dx.cols);
    if (joined) TN_TRY(up(k, dt, tn_adapters_operand(k, n->part[0].a, dt.cols), started, z));
    for (int i = 0; !joined && i < n->n_parts; i++) {
        const tn_gpart *p = &n->part[i];
        if (p->a < 0) continue;
        TN_TRY(up(k, tn_cols(dt, tn_adapters_rank(n, i), p->r), tn_adapters_operand(k, p->a, p->r), started, z));
        started = true;
    }
    return drop ? tn_dropout(k->c, &z, &dx, (tn_mask){a->dropout, a->salt}, add, false, k->err) : 0;
}
