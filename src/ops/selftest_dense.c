#include "args.h"
#include "ref.h"
#include "selftest.h"

#include <math.h>
#include <string.h>

#define ACT (t->act)
#define ERR (t->err)

/* Mean and reciprocal deviation of each row, where rows of the backward alone are checked. */
static int layernorm_stats(tn_trial *t, const tn_ref_norm *n, const tn_tensor *stats)
{
    float *v = tn_trial_host(t, 2 * (size_t)n->rows);
    if (!v) return tn_oom(ERR);
    for (int r = 0; r < n->rows; r++) {
        const float *x = n->x + (size_t)r * (size_t)n->cols;
        double mean = 0, square = 0;
        for (int c = 0; c < n->cols; c++) mean += x[c];
        mean /= n->cols;
        for (int c = 0; c < n->cols; c++) square += (x[c] - mean) * (x[c] - mean);
        v[2 * r] = (float)mean, v[2 * r + 1] = (float)(1 / sqrt(square / n->cols + (double)n->eps));
    }
    return tn_trial_given(t, stats, v);
}

static int layernorm(tn_trial *t)
{
    static const int sizes[3][2] = {{3, 20}, {137, 112}, {21, 560}};
    const int R = sizes[t->size][0], C = sizes[t->size][1];
    tn_tensor *x, *g, *b, *dy, *y, *st, *dx, *dg, *db, *scaled;
    float *hx, *hg, *hb, *hdy, *hdg, *hdb, *want = tn_trial_host(t, (size_t)R * (size_t)C);
    TN_TRY(tn_trial_in(t, ACT, R, C, &x, &hx));
    TN_TRY(tn_trial_in(t, TN_F32, 1, C, &g, &hg));
    TN_TRY(tn_trial_in(t, TN_F32, 1, C, &b, &hb));
    TN_TRY(tn_trial_in(t, ACT, R, C, &dy, &hdy));
    TN_TRY(tn_trial_out(t, ACT, R, C, &y));
    TN_TRY(tn_trial_out(t, TN_F32, R, 2, &st));
    TN_TRY(tn_trial_out(t, ACT, R, C, &dx));
    TN_TRY(tn_trial_out(t, ACT, R, C, &scaled));
    TN_TRY(tn_trial_in(t, TN_F32, 1, C, &dg, &hdg));
    TN_TRY(tn_trial_in(t, TN_F32, 1, C, &db, &hdb));
    if (!want) return tn_oom(ERR);
    for (int i = 0; i < R * C; i++) hx[i] = tn_rounded(hx[i] + (i / C % 4 == 1 ? 5 : 0), ACT); /* some rows' means far from 0 */
    TN_TRY(tn_trial_given(t, x, hx));
    const tn_layernorm_args args = {.x = *x, .act = ACT}, more = {.x = *x, .act = ACT, .scaled = *scaled};
    const tn_layernorm_back plain = {x, g, st, dy, NULL, NULL}, both = {x, g, st, dy, b, scaled};
    const bool with = tn_trial_wants(t, &tn_layernorm_back_op, &more),
               back = with || tn_trial_wants(t, &tn_layernorm_back_op, &args);
    if (!back && !tn_trial_wants(t, &tn_layernorm_op, &args)) return 0;
    const tn_ref_norm ref = {.x = hx, .gamma = hg, .beta = hb, .eps = 1e-5f, .rows = R, .cols = C};
    const bool alone = tn_trial_is_of(t, &tn_layernorm_back_op);
    if (alone) TN_TRY(layernorm_stats(t, &ref, st));
    else TN_TRY(tn_layernorm_forward(t->c, x, g, b, 1e-5f, y, st, ERR));
    tn_ref_layernorm(&ref, want);
    if (!alone) TN_TRY(tn_trial_compare(t, y, want));
    if (!back) return 0;
    TN_TRY(tn_layernorm_backward(t->c, &plain, dx, false, ERR));
    if (!alone) TN_TRY(tn_layernorm_grad(t->c, x, st, dy, dg, db, ERR));
    tn_ref_layernorm_backward(&ref, hdy, want, hdg, hdb);
    TN_TRY(tn_trial_compare(t, dx, want));
    if (!alone) TN_TRY(tn_trial_compare(t, dg, hdg));
    if (!alone) TN_TRY(tn_trial_compare(t, db, hdb));
    TN_TRY(tn_layernorm_backward(t->c, with ? &both : &plain, dx, true, ERR));
    for (int i = 0; i < R * C; i++) want[i] *= 2;
    TN_TRY(tn_trial_compare(t, dx, want));
    for (int i = 0; i < R * C; i++) want[i] *= hb[i % C];
    return with ? tn_trial_compare(t, scaled, want) : 0;
}

typedef struct {
    int batch, n, heads, width;
    int skip;          /* not 0: q and k were turned, but for the first rows */
    float first, last; /* what the first and the last key of the sequence are multiplied by, those between accordingly */
} attention_shape;

static int attention_scale_keys(tn_trial *t, const attention_shape *s, tn_tensor *qkv, float *h)
{
    const int D = qkv->cols / 3;
    if (t->c->dry) return 0;
    for (int r = 0; r < qkv->rows; r++)
        for (int c = D; c < 2 * D; c++) h[r * 3 * D + c] *= s->first + (s->last - s->first) * (float)(r % s->n) / (float)s->n;
    TN_TRY(tn_tensor_set(t->c->dev, qkv, h, ERR));
    return tn_tensor_get(t->c->dev, qkv, h, ERR);
}

/* The forward pass, or what it leaves where rows of the backward alone are checked. */
static int attention_ahead(tn_trial *t, const attention_shape *s, const tn_tensor *qkv, const float *hq, tn_tensor *o,
                           tn_tensor *lse)
{
    float *want = tn_trial_host(t, tn_tensor_count(o)), *sums = tn_trial_host(t, tn_tensor_count(lse));
    if (!want || !sums) return tn_oom(ERR);
    tn_ref_attention(hq, s->batch, s->n, s->heads, o->cols / s->heads, want, sums);
    if (tn_trial_is_of(t, &tn_attention_back_op)) {
        TN_TRY(tn_trial_given(t, o, want));
        return tn_trial_given(t, lse, sums);
    }
    TN_TRY(tn_attention_forward(t->c, qkv, s->batch, s->heads, o, lse, ERR));
    TN_TRY(tn_trial_compare(t, o, want));
    return tn_trial_compare(t, lse, sums);
}

/* Forward, and backward where it is asked for: but not where a row is all but one key's, so that what it subtracts is alike. */
static int attention_of(tn_trial *t, const attention_shape *s)
{
    const int B = s->batch, N = s->n, H = s->heads, W = t->like ? ((const tn_attention_args *)t->like)->hd : s->width, D = H * W;
    const tn_attention_args args = {.act = ACT, .hd = W, .table.rows = s->skip ? N - s->skip : 0};
    const bool back = s->last <= 1 && tn_trial_wants(t, &tn_attention_back_op, &args);
    if (!back && !tn_trial_wants(t, &tn_attention_op, &args)) return 0;
    tn_tensor *qkv, *d_o, *o, *lse, *delta, *dqkv;
    float *hq, *hd, *want = tn_trial_host(t, (size_t)B * (size_t)N * 3 * (size_t)D);
    TN_TRY(tn_trial_in(t, ACT, B * N, 3 * D, &qkv, &hq));
    TN_TRY(tn_trial_in(t, ACT, B * N, D, &d_o, &hd));
    TN_TRY(tn_trial_out(t, ACT, B * N, D, &o));
    TN_TRY(tn_trial_out(t, TN_F32, B * H, N, &lse));
    TN_TRY(tn_trial_out(t, TN_F32, B * H, N, &delta));
    TN_TRY(tn_trial_out(t, ACT, B * N, 3 * D, &dqkv));
    if (!want) return tn_oom(ERR);
    tn_tensor *table = NULL;
    float *turns;
    if (s->skip && back) TN_TRY(tn_trial_turns(t, N - s->skip, W, &table, &turns));
    TN_TRY(attention_scale_keys(t, s, qkv, hq));
    TN_TRY(attention_ahead(t, s, qkv, hq, o, lse));
    if (!back) return 0;
    TN_TRY(tn_attention_backward(t->c, &(tn_attention){qkv, o, lse, B, H, table, s->skip}, d_o, delta, dqkv, ERR));
    tn_ref_attention_backward(hq, hd, B, N, H, W, want);
    if (s->skip) tn_ref_rope(want, turns, B, N, H, W, s->skip, -1);
    return tn_trial_compare(t, dqkv, want);
}

static int attention(tn_trial *t)
{
    static const attention_shape sizes[3] = {{2, 21, 3, 12, 0, 1, 1}, {1, 45, 2, 48, 3, 1, 1}, {2, 70, 2, 64, 0, 1, 1}};
    attention_shape s = sizes[t->size];
    if (tn_trial_is_little(t)) s.batch = 1, s.heads = 2; /* attention_lengths has two of a batch */
    return attention_of(t, &s);
}

/* The width that kernels for matrix units take, and lengths around their tiles: less than one, whole ones, a row more. Keys are
 * small: a row of five tokens is else all but one key's. */
static int attention_lengths(tn_trial *t)
{
    static const int lengths[3][3] = {
        {5}, {16, 64, 129}, {128, 200, 700}}; /* one at a time under oclgrind, which confuses reused memory */
    const bool little = tn_trial_is_little(t);
    for (int i = 0; i < 3 && lengths[t->size][i]; i++) {
        const int mark = t->n, skip = lengths[t->size][i] % 2 ? 3 : 0;
        TN_TRY(attention_of(t, &(attention_shape){2, lengths[t->size][i], little ? 1 : 2, 64, skip, 0.5f, 0.5f}));
        tn_trial_rewind(t, mark);
    }
    return 0;
}

/* Keys so much larger than those before them that the softmax must rescale: where a kernel does so only when its sums outgrow
 * the storage (2^60 in bfloat16, 2^15 in float16), they do. */
static int attention_grown(tn_trial *t)
{
    static const float last[] = {[TN_F32] = 2, [TN_BF16] = 80, [TN_F16] = 12};
    static const int lengths[3] = {21, 200, 257};
    return attention_of(t, &(attention_shape){1, lengths[t->size], 2, 64, 0, 0.2f, last[ACT]});
}

static int rope(tn_trial *t)
{
    static const int widths[3] = {16, 32, 64};
    const int B = 2, N = 7 + 8 * t->size, H = 3, W = widths[t->size], skip = 3, D = H * W;
    tn_tensor *qkv, *table;
    float *h, *ht;
    TN_TRY(tn_trial_in(t, TN_F32, N - skip, W, &table, &ht));
    for (int dir = 1; dir >= -1; dir -= 2) {
        TN_TRY(tn_trial_in(t, ACT, B * N, 3 * D, &qkv, &h));
        TN_TRY(tn_rope(t->c, qkv, table, B, H, skip, dir, ERR));
        tn_ref_rope(h, ht, B, N, H, W, skip, dir);
        TN_TRY(tn_trial_compare(t, qkv, h));
    }
    return 0;
}

static int dense_case_activations(tn_trial *t)
{
    static const int cols[3] = {7, 20, 48};
    const int R = 5, C = cols[t->size], n = R * C;
    for (int f = TN_GELU; f <= TN_SIGMOID; f++) {
        if (tn_trial_skips(t, f)) continue;
        tn_tensor *x, *dy, *y;
        float *hx, *hdy, *want = tn_trial_host(t, (size_t)n);
        TN_TRY(tn_trial_in(t, ACT, R, C, &x, &hx));
        TN_TRY(tn_trial_in(t, ACT, R, C, &dy, &hdy));
        TN_TRY(tn_trial_out(t, ACT, R, C, &y));
        if (!want) return tn_oom(ERR);
        hx[0] = -20, hx[n - 1] = -1000; /* where fits have ended */
        TN_TRY(tn_trial_given(t, x, hx));
        TN_TRY(tn_act_forward(t->c, (tn_fn)f, x, y, ERR));
        for (int i = 0; i < n; i++) want[i] = (float)tn_ref_act(f, hx[i]);
        TN_TRY(tn_trial_compare(t, y, want));
        TN_TRY(tn_act_backward(t->c, (tn_fn)f, x, dy, dy, ERR));
        for (int i = 0; i < n; i++) want[i] = (float)(hdy[i] * tn_ref_act_slope(f, hx[i]));
        TN_TRY(tn_trial_compare(t, dy, want));
        TN_TRY(tn_trial_poison(t, y));
        TN_TRY(tn_act_keep(t->c, (tn_fn)f, x, y, ERR));
        for (int i = 0; i < n; i++) want[i] = (float)tn_ref_act(f, hx[i]);
        TN_TRY(tn_trial_compare(t, y, want));
        for (int i = 0; i < n; i++) want[i] = (float)tn_ref_act_slope(f, hx[i]);
        TN_TRY(tn_trial_compare(t, x, want));
    }
    return 0;
}

static int glu(tn_trial *t)
{
    static const int cols[3] = {7, 20, 48};
    const int R = 5, C = cols[t->size];
    tn_tensor *u, *dy, *y, *du;
    float *hu, *hdy, *want = tn_trial_host(t, (size_t)R * (size_t)C), *wd = tn_trial_host(t, (size_t)R * (size_t)C * 2);
    TN_TRY(tn_trial_in(t, ACT, R, 2 * C, &u, &hu));
    TN_TRY(tn_trial_in(t, ACT, R, C, &dy, &hdy));
    TN_TRY(tn_trial_out(t, ACT, R, C, &y));
    TN_TRY(tn_trial_out(t, ACT, R, 2 * C, &du));
    if (!want || !wd) return tn_oom(ERR);
    for (int r = 0; r < R; r++)
        for (int c = 0; c < C; c++) {
            const double g = hu[r * 2 * C + c], up = hu[r * 2 * C + C + c], d = hdy[r * C + c];
            want[r * C + c] = (float)(tn_ref_act(2, g) * up);
            wd[r * 2 * C + c] = (float)(d * up * tn_ref_act_slope(2, g));
            wd[r * 2 * C + C + c] = (float)(d * tn_ref_act(2, g));
        }
    TN_TRY(tn_glu_forward(t->c, TN_SILU, u, y, ERR));
    TN_TRY(tn_trial_compare(t, y, want));
    TN_TRY(tn_glu_backward(t->c, TN_SILU, u, dy, du, ERR));
    return tn_trial_compare(t, du, wd);
}

/* The gradient of a single bias. */
static int one_column(tn_trial *t)
{
    const int R = 64 * (1 + 9 * t->size) + t->size % 2;
    tn_tensor *x, *sum;
    float *hx, *hsum;
    TN_TRY(tn_trial_in(t, ACT, R, 1, &x, &hx));
    TN_TRY(tn_trial_in(t, TN_F32, 1, 1, &sum, &hsum));
    TN_TRY(tn_colsum(t->c, x, NULL, sum, ERR));
    for (int i = 0; i < R; i++) hsum[0] += hx[i];
    return tn_trial_compare(t, sum, hsum);
}

static int simple(tn_trial *t)
{
    static const int cols[3] = {7, 20, 48};
    const int B = 3, S = 5, R = B * S, C = cols[t->size], n = R * C;
    tn_tensor *x, *y, *s, *z, *o, *sums, *col;
    float *hx, *hy, *hs, *hz, *hcol, *want = tn_trial_host(t, (size_t)n), *small = tn_trial_host(t, (size_t)(B * C));
    TN_TRY(tn_trial_in(t, ACT, R, C, &x, &hx));
    TN_TRY(tn_trial_in(t, ACT, R, C, &y, &hy));
    TN_TRY(tn_trial_in(t, TN_F32, 1, C, &s, &hs));
    TN_TRY(tn_trial_in(t, TN_F32, B, C, &z, &hz));
    TN_TRY(tn_trial_in(t, TN_F32, 1, C, &col, &hcol));
    TN_TRY(tn_trial_out(t, ACT, R, C, &o));
    TN_TRY(tn_trial_out(t, TN_F32, B, C, &sums));
    if (!want || !small) return tn_oom(ERR);
    TN_TRY(tn_residual(t->c, x, y, s, o, ERR));
    for (int i = 0; i < n; i++) want[i] = hx[i] + hs[i % C] * hy[i];
    TN_TRY(tn_trial_compare(t, o, want));
    TN_TRY(tn_residual(t->c, x, y, NULL, o, ERR));
    for (int i = 0; i < n; i++) want[i] = hx[i] + hy[i];
    TN_TRY(tn_trial_compare(t, o, want));
    TN_TRY(tn_scale_cols(t->c, x, s, o, ERR));
    for (int i = 0; i < n; i++) want[i] = hx[i] * hs[i % C];
    TN_TRY(tn_trial_compare(t, o, want));
    TN_TRY(tn_scale_channels(t->c, x, z, S, o, ERR));
    for (int i = 0; i < n; i++) want[i] = hx[i] * hz[i / C / S * C + i % C];
    TN_TRY(tn_trial_compare(t, o, want));
    TN_TRY(tn_colsum(t->c, x, y, col, ERR));
    for (int i = 0; i < n; i++) hcol[i % C] += hx[i] * hy[i];
    TN_TRY(tn_trial_compare(t, col, hcol));
    TN_TRY(one_column(t));
    TN_TRY(tn_sample_sum(t->c, x, NULL, S, 0.5f, sums, ERR));
    memset(small, 0, sizeof *small * (size_t)(B * C));
    for (int i = 0; i < n; i++) small[i / C / S * C + i % C] += 0.5f * hx[i];
    TN_TRY(tn_trial_compare(t, sums, small));
    TN_TRY(tn_spread_channels(t->c, z, 0.25f, S, o, false, ERR));
    for (int i = 0; i < n; i++) want[i] = 0.25f * hz[i / C / S * C + i % C];
    TN_TRY(tn_trial_compare(t, o, want));
    TN_TRY(tn_spread_channels(t->c, z, 0.25f, S, y, true, ERR));
    for (int i = 0; i < n; i++) want[i] = hy[i] + 0.25f * hz[i / C / S * C + i % C];
    return tn_trial_compare(t, y, want);
}

/* The masks are those of the host's generator, and drop about the share asked for. */
static int dropout(tn_trial *t)
{
    static const int cols[3] = {33, 40, 48};
    const int B = 4, S = 9, R = B * S, C = cols[t->size], n = R * C;
    const float p = 0.3f;
    const uint32_t threshold = tn_drop_threshold((float)p);
    tn_tensor *x, *y;
    float *hx, *hy, *want = tn_trial_host(t, (size_t)n);
    TN_TRY(tn_trial_in(t, ACT, R, C, &x, &hx));
    TN_TRY(tn_trial_in(t, ACT, R, C, &y, &hy));
    if (!want) return tn_oom(ERR);
    const uint32_t seed = tn_hash_u32(TN_TRIAL_SEED, 5);
    int kept = 0;
    for (int i = 0; i < n; i++) {
        const bool keep = tn_keeps(seed, (uint32_t)i, threshold);
        kept += keep;
        want[i] = hy[i] + (keep ? hx[i] / (1 - p) : 0);
    }
    if (fabs(kept / (double)n - 0.7) > 0.06) t->worst = NAN;
    TN_TRY(tn_dropout(t->c, x, y, (tn_mask){p, 5}, true, false, ERR));
    TN_TRY(tn_trial_compare(t, y, want));
    for (int i = 0; i < n; i++) want[i] = tn_keeps(seed, (uint32_t)(i / C / S * C + i % C), threshold) ? hx[i] / (1 - p) : 0;
    TN_TRY(tn_dropout2d(t->c, x, y, (tn_mask){p, 5}, S, ERR));
    return tn_trial_compare(t, y, want);
}

const tn_case tn_cases_dense[] = {
    {"layernorm", layernorm, false, {&tn_layernorm_op, &tn_layernorm_back_op}},
    {"attention", attention, false, {&tn_attention_op, &tn_attention_back_op}},
    {"attention, lengths", attention_lengths, false, {&tn_attention_op, &tn_attention_back_op}},
    {"attention, grown keys", attention_grown, false, {&tn_attention_op}},
    {"rope", rope, false, {NULL}},
    {"activations", dense_case_activations, false, {NULL}},
    {"glu", glu, false, {NULL}},
    {"element-wise", simple, false, {NULL}},
    {"dropout", dropout, false, {NULL}},
    {0},
};
